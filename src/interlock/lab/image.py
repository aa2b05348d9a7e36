"""Makes a bootable image of a release: a tree whose every package is an RPM in a real package database.

A snapshot of the fetched tree loses its old package manager and gets the lab's settings; its packages are built from
it and signed; then rpm, the tree's own, is told of them. What half-made work a kill leaves is in ``work/``; the stamp
is written last.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from interlock.lab import settings
from interlock.lab.cache import Cache, Progress, delete_subvolume, snapshot
from interlock.lab.debs import read_debs
from interlock.lab.depots import make_depot, publish, read_packages, release_bulletin, release_depot
from interlock.lab.packaging import Before, Tree, build_packages, plan_specs
from interlock.lab.releases import Release, predecessor
from interlock.lab.signing import SigningKey, sign
from interlock.lab.strip import strip_tree
from interlock.lab.tools import ensure_updates
from interlock.system.run import Completed, Runner

RECIPE = "3"


@dataclass(frozen=True)
class Builder:
    """What building an image needs."""

    cache: Cache
    key: SigningKey
    runner: Runner
    progress: Progress
    jobs: int = 2


def image_is_made(cache: Cache, release: Release) -> bool:
    """Say whether the image of ``release`` is there and of this recipe."""
    depot = cache.depots / release_depot(release)
    image = cache.images / release.name
    return image.exists() and depot.exists() and cache.made("image", release.name, RECIPE)


def build_image(builder: Builder, release: Release) -> None:
    """Build the image of ``release`` and the depot of its packages; its tree and the one before are there."""
    cache, runner = builder.cache, builder.runner
    cache.unstamp("image", release.name)
    root = cache.work / f"image-{release.name}"
    delete_subvolume(root, runner)
    snapshot(cache.trees / release.name, root, runner)
    strip_tree(root)
    released = settings.write_settings(root, release, builder.key)
    run_inside(root, ["systemctl", "enable", "systemd-networkd.service"], runner)
    packages = _make_packages(builder, release, root, released)
    tools = ensure_updates(cache, release, 1, builder.key, runner=runner, progress=builder.progress)
    builder.progress(f"{release.name}: filling the package database")
    _register(root, release, packages, tools, builder)
    _put_in_place(builder, release, root)
    cache.stamp("image", release.name, RECIPE)
    for version in (2, 3):
        ensure_updates(cache, release, version, builder.key, runner=runner, progress=builder.progress)
    builder.progress(f"{release.name}: ready")


def _make_packages(builder: Builder, release: Release, root: Path, released: Sequence[str]) -> Path:
    cache, runner = builder.cache, builder.runner
    tree = Tree(root, read_debs(cache.trees / release.name), release, released, _before(cache, release))
    specs = plan_specs(tree)
    builder.progress(f"{release.name}: building {len(specs)} packages")
    work = cache.work / f"packages-{release.name}"
    shutil.rmtree(work, ignore_errors=True)
    packages = build_packages(specs, root, work / "packages", work / "rpmbuild", runner, jobs=builder.jobs)
    builder.progress(f"{release.name}: signing {len(packages)} packages")
    sign(packages, builder.key, runner, builder.jobs)
    bulletin = release_bulletin(release, read_packages(work / "packages", runner))
    make_depot(work / "packages", [bulletin], runner, builder.key)
    depot = cache.depots / release_depot(release)
    publish(work / "packages", depot)
    shutil.rmtree(work)
    return depot


def _before(cache: Cache, release: Release) -> Optional[Before]:
    old = predecessor(release)
    return Before(cache.trees / old.name, read_debs(cache.trees / old.name)) if old else None


def _register(root: Path, release: Release, packages: Path, tools: Path, builder: Builder) -> None:
    binds = [f"{packages}:/mnt", f"{tools}:/media"]
    lines = [
        f"rpm --import {settings.KEY_PATH}",
        "rpm -i --justdb --nodeps --noscripts --notriggers --ignoresize /mnt/*.rpm",
        "rpm -i --noscripts /media/*.rpm",
        "rm -f /var/lib/rpm/__db.* /var/lib/rpm/.rpm.lock",
    ]
    run_inside(root, ["/bin/sh", "-ec", "\n".join(lines)], builder.runner, binds)


def _put_in_place(builder: Builder, release: Release, root: Path) -> None:
    image = builder.cache.images / release.name
    settings.forget_identity(root)
    delete_subvolume(image, builder.runner)
    os.rename(root, image)
    builder.runner.run(["btrfs", "property", "set", str(image), "ro", "true"])


_ENTER = """
root=$1; shift
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
while [ "$1" != -- ]; do
    mount --bind "${1%%:*}" "$root${1##*:}"
    shift
done
shift
exec chroot "$root" "$@"
"""


def run_inside(root: Path, argv: Sequence[str], runner: Runner, binds: Sequence[str] = ()) -> Completed:
    """Run a program of a tree inside it, with /dev and /proc, no network, and ``outside:inside`` directories."""
    # Namespaces of its own: when it is killed, its children and its mounts go with it.
    enter = ["unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child=SIGKILL"]
    words = [*enter, "sh", "-ec", _ENTER, "run-inside", str(root), *binds, "--", *argv]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "SYSTEMD_OFFLINE": "1"}
    return runner.run(words, timeout=300, env=environment)
