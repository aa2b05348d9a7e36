"""Fetches the trees that the lab's releases are made from: debootstrap, from the archive that apt is set up for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from interlock.lab.cache import Cache, Progress, delete_subvolume, make_subvolume
from interlock.lab.errors import NoMirror
from interlock.lab.releases import Release
from interlock.system.run import Runner

RECIPE = "1"

# A small server: systemd, ssh, rpm with its bindings, and what an administrator would miss first.
PACKAGES = (
    "systemd", "systemd-sysv", "libpam-systemd", "dbus", "openssh-server", "iproute2", "iputils-ping", "rpm",
    "dnf", "zypper", "python3", "python3-rpm", "procps", "psmisc", "e2fsprogs", "kmod", "less", "gzip", "xz-utils",
    "zstd", "strace",
)  # fmt: skip

_LISTS = ("var/cache/apt/archives", "var/lib/apt/lists", "var/log")


def find_mirror(runner: Runner, environment: Mapping[str, str]) -> str:
    """Return the address of the archive, from apt's own configuration."""
    named = environment.get("INTERLOCK_LAB_MIRROR")
    if named:
        return named
    form = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    argv = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    mirror = pick_mirror(runner.run(argv).stdout)
    if not mirror:
        raise NoMirror(detail="`apt-get indextargets` names no main archive")
    return mirror


def pick_mirror(targets: str) -> str:
    """Return the first archive that carries a whole release: its name has no suffix such as ``-security``."""
    for line in targets.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] == "main" and "-" not in words[0] and "/" not in words[0]:
            return words[2]
    return ""


def ensure_tree(cache: Cache, release: Release, mirror: str, runner: Runner, progress: Progress) -> Path:
    """Return the tree of ``release``, fetching it where it is not there yet."""
    tree = cache.trees / release.name
    recipe = f"{RECIPE} {release.suite} {' '.join(PACKAGES)}"
    if tree.exists() and cache.made("tree", release.name, recipe):
        return tree
    progress(f"{release.name}: fetching {release.suite}")
    cache.unstamp("tree", release.name)
    half_made = cache.work / f"tree-{release.name}"
    delete_subvolume(half_made, runner)
    make_subvolume(half_made, runner)
    _debootstrap(half_made, release, mirror, runner)
    delete_subvolume(tree, runner)
    os.rename(half_made, tree)
    runner.run(["btrfs", "property", "set", str(tree), "ro", "true"])
    cache.stamp("tree", release.name, recipe)
    progress(f"{release.name}: fetched")
    return tree


def _debootstrap(target: Path, release: Release, mirror: str, runner: Runner) -> None:
    packages = ",".join(PACKAGES)
    _spare_syncs(target)
    # Namespaces of its own: when it is killed, its children and its mounts go with it.
    argv = ["unshare", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
    argv += ["debootstrap", "--merged-usr", "--variant=minbase", f"--include={packages}"]
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    runner.run([*argv, release.suite, str(target), mirror], timeout=1800, env=environment)
    for folder in _LISTS:
        for path in (target / folder).iterdir():
            if path.is_dir() and folder != "var/log":
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()


def _spare_syncs(target: Path) -> None:
    # A tree that is cut short is fetched again, so nothing is gained by syncing every file of it.
    folder = target / "etc/dpkg/dpkg.cfg.d"
    folder.mkdir(parents=True)
    (folder / "lab").write_text("force-unsafe-io\n")
