"""The boot check on systems that boot and on systems that do not, made of real hosts, kernels and packages.

The kernel, its modules, the boot loaders' settings and the initramfs are put onto the hosts' trees by the tests: the
lab's hosts are containers and have none. User space, packages and package databases are the hosts' own.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import boot_trees
import pytest
from boot_trees import MACHINE, ROOT, Kernel, bls, grub_script, no_loader, systemd_boot
from conftest import Host

from interlock.boot.check import check_boot
from interlock.boot.verdict import Verdict
from interlock.host.context import Host as Engine
from interlock.host.context import this_host
from interlock.host.paths import Paths
from interlock.lab import verbs
from interlock.lab.hosts import Lab

RELEASES = ("classic", "current", "next")
# A host is made with the first.
UPDATES = (1, 2, 3)
LAYOUTS = (no_loader, bls, grub_script, systemd_boot)
SECONDS = 2.0
LIBRARIES = "usr/lib/x86_64-linux-gnu"
LOADER = f"{LIBRARIES}/ld-linux-x86-64.so.2"
# Run on a host, of the program that is installed there.
INSIDE = """\
import json, sys
sys.path.insert(0, "/usr/local/bin/interlock")
from interlock.boot.check import check_boot
from interlock.host.context import this_host
print(json.dumps(check_boot(this_host()).to_json()))
"""


@dataclass(frozen=True)
class System:
    """A system's tree, to be broken, with the trees of the other releases."""

    root: Path
    kernel: Kernel
    others: dict[str, Path]

    @property
    def image(self) -> Path:
        return self.root / f"boot/vmlinuz-{self.kernel.release}"

    @property
    def initramfs(self) -> Path:
        return self.root / f"boot/initramfs-{self.kernel.release}.img"

    @property
    def modules(self) -> Path:
        return self.root / "usr/lib/modules" / self.kernel.release

    @property
    def entry(self) -> Path:
        return self.root / f"boot/loader/entries/{MACHINE}-{self.kernel.release}.conf"


@pytest.fixture(scope="module")
def kernel(lab: Lab) -> Kernel:
    return boot_trees.unpacked_kernel(lab.cache, lab.runner)


@pytest.fixture(scope="module")
def hosts(new_host: Callable[..., Host], lab: Lab, kernel: Kernel) -> Iterator[dict[str, Host]]:
    """Return one host of each release, with a kernel in /boot."""
    made: dict[str, Host] = {}
    try:
        for release in RELEASES:
            made[release] = new_host(release)
            boot_trees.install_kernel(made[release].root, kernel)
        yield made
    finally:
        verbs.down(lab, [host.name for host in made.values()], False)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return replace(this_host(), paths=Paths(str(tmp_path)))


def ids(verdict: Verdict) -> set[str]:
    return {reason.id for reason in verdict.reasons}


@pytest.mark.parametrize("release", RELEASES)
def test_healthy(hosts: dict[str, Host], kernel: Kernel, engine: Engine, release: str) -> None:
    """Twelve of each release, 36 in all: as installed and after each update, with every kind of boot loader."""
    host, looked = hosts[release], 0
    for update in UPDATES:
        if update > 1:
            host.shell(f"rpm -U /srv/depots/{release}-updates-{update}/*.rpm")
        for layout in LAYOUTS:
            with boot_trees.copy_of(host.root, host.lab.runner) as root:
                layout(root, kernel.release)
                begun = time.monotonic()
                verdict = check_boot(engine, str(root))
                assert time.monotonic() - begun < SECONDS
            assert verdict.reasons == (), f"{release}, update {update}, {layout.__name__}"
            assert any(kernel.release in line for line in verdict.looked_at), verdict.looked_at
            looked += 1
    assert looked == len(UPDATES) * len(LAYOUTS)


Break = Callable[[System], None]


def cut(path: Path, share: float = 0.5) -> None:
    """Keep the first part of a file."""
    os.truncate(path, int(path.stat().st_size * share))


def zeros_at_end(path: Path, size: int = 20_000) -> None:
    """Leave a file as a power cut does: its size is there, its last blocks are not."""
    whole = path.stat().st_size
    os.truncate(path, whole - size)
    os.truncate(path, whole)


def give(system: System, release: str, name: str) -> None:
    """Take a file from another release, with all that its name leads to."""
    target = system.root / name
    target.unlink()
    shutil.copyfile(os.path.realpath(system.others[release] / name), target)
    target.chmod(0o755)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def unclosed_history(system: System) -> None:
    """Leave dnf's history as dnf does when it is killed within a transaction."""
    (system.root / "var/lib/dnf").mkdir(exist_ok=True)
    with sqlite3.connect(system.root / "var/lib/dnf/history.sqlite") as connection:
        connection.execute("CREATE TABLE trans (id INTEGER PRIMARY KEY, dt_begin INTEGER, dt_end INTEGER)")
        connection.executemany("INSERT INTO trans VALUES (?, ?, ?)", [(1, 100, 200), (2, 300, None)])
    connection.close()


BROKEN: dict[str, tuple[str, Callable[[Path, str], None], Break]] = {
    "the saved default has been removed": (
        "default-entry-missing", bls, lambda it: boot_trees.environment(it.root, saved_entry=f"{MACHINE}-5.10.0-9")),
    "the next boot alone is set to nothing": (
        "default-entry-missing", bls, lambda it: boot_trees.environment(it.root, saved_entry="0", next_entry="old")),
    "the default's submenu has another name": (
        "default-entry-missing", grub_script, lambda it: boot_trees.environment(it.root, saved_entry="more>0")),
    "no entry fits systemd-boot's pattern": (
        "default-entry-missing", systemd_boot,
        lambda it: rewrite(it.root / "boot/efi/loader/loader.conf", "lab-*", "fedora-*")),
    "the default is the firmware's menu": (
        "entry-kernel-missing", bls, lambda it: boot_trees.environment(it.root, saved_entry="uefi-firmware")),
    "the saved default's entry has gone": ("default-entry-missing", bls, lambda it: it.entry.unlink()),
    "grub.cfg has gone": ("boot-entry-missing", grub_script, lambda it: (it.root / "boot/grub2/grub.cfg").unlink()),
    "grub.cfg is empty": ("boot-entry-missing", grub_script, lambda it: cut(it.root / "boot/grub2/grub.cfg", 0)),
    "the kernel has gone": ("entry-kernel-missing", bls, lambda it: it.image.unlink()),
    "the entry has a wrong path": (
        "entry-kernel-missing", grub_script, lambda it: rewrite(it.root / "boot/grub2/grub.cfg", "/boot/vml", "/xvml")),
    "the kernel is cut off": ("kernel-truncated", grub_script, lambda it: cut(it.image, 0.9)),
    "the kernel is empty": ("kernel-empty", bls, lambda it: cut(it.image, 0)),
    "the kernel's end was not written": ("kernel-broken", bls, lambda it: zeros_at_end(it.image)),
    "the kernel is something else": ("kernel-broken", bls, lambda it: it.image.write_text("none\n" * 9999) and None),
    "the initramfs has gone": ("initramfs-missing", bls, lambda it: it.initramfs.unlink()),
    "the entry names no initramfs": (
        "initramfs-missing", bls, lambda it: rewrite(it.entry, f"initrd /initramfs-{it.kernel.release}.img", "#")),
    "the initramfs is empty": ("initramfs-broken", grub_script, lambda it: cut(it.initramfs, 0)),
    "the initramfs is cut off": ("initramfs-broken", bls, lambda it: cut(it.initramfs)),
    "the initramfs has microcode alone": ("initramfs-broken", bls, lambda it: cut(it.initramfs, 0.003)),
    "the initramfs in xz is cut off": (
        "initramfs-broken", bls,
        lambda it: it.initramfs.write_bytes(boot_trees.xz_initramfs(it.kernel.release)[:-500]) and None),
    "the initramfs's end was not written": ("initramfs-broken", bls, lambda it: zeros_at_end(it.initramfs)),
    "the initramfs is for another kernel": (
        "initramfs-for-another-kernel", bls,
        lambda it: it.initramfs.write_bytes(boot_trees.initramfs("5.10.0-9-cloud-amd64")) and None),
    "the kernel's modules have gone": ("modules-missing", bls, lambda it: shutil.rmtree(it.modules)),
    "modules.dep is empty": ("modules-missing", bls, lambda it: cut(it.modules / "modules.dep", 0)),
    "a module has gone": (
        "modules-missing", bls, lambda it: next(it.modules.rglob("btrfs.ko")).unlink()),
    "a module is empty": ("modules-broken", bls, lambda it: cut(next(it.modules.rglob("btrfs.ko")), 0)),
    "the arguments are in a variable that is not set": (
        "root-argument-missing", bls, lambda it: boot_trees.environment(it.root, saved_entry="0")),
    "the arguments have no root": (
        "root-argument-missing", systemd_boot,
        lambda it: rewrite(next((it.root / "boot/efi/loader/entries").iterdir()), ROOT, "quiet")),
    "the loader has gone": ("loader-missing", bls, lambda it: (it.root / LOADER).unlink()),
    "the loader's link has gone": (
        "loader-missing", bls, lambda it: (it.root / "usr/lib64/ld-linux-x86-64.so.2").unlink()),
    "the loader is cut off": ("loader-broken", bls, lambda it: cut(it.root / LOADER)),
    "the loader is empty": ("loader-broken", bls, lambda it: cut(it.root / LOADER, 0)),
    "a newer libc": ("libc-loader-mismatch", bls, lambda it: give(it, "next", f"{LIBRARIES}/libc.so.6")),
    "an older libc": ("libc-loader-mismatch", bls, lambda it: give(it, "classic", f"{LIBRARIES}/libc.so.6")),
    "a newer loader": ("libc-loader-mismatch", bls, lambda it: give(it, "next", LOADER)),
    "an older loader": ("libc-loader-mismatch", bls, lambda it: give(it, "classic", LOADER)),
    "libc is cut off": ("library-broken", bls, lambda it: cut(it.root / f"{LIBRARIES}/libc.so.6")),
    "libc has gone": ("library-missing", bls, lambda it: (it.root / f"{LIBRARIES}/libc.so.6").unlink()),
    "a library of init has gone": (
        "library-missing", bls, lambda it: next((it.root / "usr/lib").rglob("libsystemd-shared-*.so")).unlink()),
    "a library of mount is too old": (
        "library-version-missing", bls, lambda it: give(it, "classic", f"{LIBRARIES}/libmount.so.1")),
    "init has gone": ("init-missing", bls, lambda it: (it.root / "usr/lib/systemd/systemd").unlink()),
    "init may not be executed": (
        "init-not-executable", bls, lambda it: (it.root / "usr/lib/systemd/systemd").chmod(0o644)),
    "init is cut off": ("init-broken", bls, lambda it: cut(it.root / "usr/lib/systemd/systemd")),
    "the shell has gone": ("shell-missing", bls, lambda it: (it.root / "usr/bin/dash").unlink()),
    "the shell is empty": ("shell-broken", bls, lambda it: cut(it.root / "usr/bin/dash", 0)),
    "a merged directory leads nowhere": ("directory-link-broken", bls, lambda it: link(it.root / "lib64", "usr/lib63")),
    "no account of root": (
        "root-account-missing", bls, lambda it: rewrite(it.root / "etc/passwd", "root:x:0:0:", "admin:x:1000:0:")),
    "accounts are empty": ("root-account-missing", bls, lambda it: cut(it.root / "etc/passwd", 0)),
    "no name of the system": ("os-release-missing", bls, lambda it: (it.root / "usr/lib/os-release").unlink()),
    "nothing to boot into": (
        "default-target-broken", bls,
        lambda it: link(it.root / "usr/lib/systemd/system/default.target", "workstation.target")),
    "SELinux's policy has gone": (
        "selinux-policy-missing", bls,
        lambda it: boot_trees.put(it.root, "etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n") and None),
    "the next boot is an update": (
        "offline-update-pending", bls, lambda it: (it.root / "system-update").symlink_to("/var/lib/system-update")),
    "fstab shows a directory that is not there": (
        "fstab-source-missing", bls,
        lambda it: boot_trees.put(it.root, "etc/fstab", "/srv/old /var/www none bind 0 0\n") and None),
    "a line of fstab is cut off": (
        "fstab-line-broken", bls, lambda it: boot_trees.put(it.root, "etc/fstab", "UUID=0a1b /\n") and None),
    "rpm was cut off within a file": (
        "transaction-unfinished", bls,
        lambda it: boot_trees.put(it.root, "usr/lib/systemd/systemd;65a1b2c3", "half") and None),
    "dnf was killed within a transaction": ("transaction-unfinished", bls, unclosed_history),
    "no package database": ("packages-unreadable", bls, lambda it: shutil.rmtree(it.root / "var/lib/rpm")),
}  # fmt: skip


# What is wrong with programs shows by running them: each of these denials is held against that.
RUN = (["/usr/lib/systemd/systemd", "--version"], ["/bin/sh", "-c", "exit 0"], ["/usr/bin/mount", "--version"])
OF_PROGRAMS = ("init-", "shell-", "loader-", "libc-", "library-", "directory-")


def failures(root: Path) -> list[str]:
    """Return which programs of a tree do not run."""
    ended = {words[0]: subprocess.run(["chroot", root, *words], capture_output=True, timeout=20, check=False).returncode
             for words in RUN}  # fmt: skip
    return [program for program, status in ended.items() if status]


@pytest.mark.parametrize("what", BROKEN)
def test_broken(hosts: dict[str, Host], kernel: Kernel, engine: Engine, what: str) -> None:
    """Each broken system is denied for its own reason, and for no other."""
    expected, layout, damage = BROKEN[what]
    host = hosts["current"]
    with boot_trees.copy_of(host.root, host.lab.runner) as root:
        layout(root, kernel.release)
        damage(System(root, kernel, {release: hosts[release].root for release in RELEASES}))
        verdict = check_boot(engine, str(root))
        failed = failures(root)
    assert ids(verdict) == {expected}, verdict
    assert bool(failed) == expected.startswith(OF_PROGRAMS)
    assert all(reason.subject and reason.detail and reason.advice for reason in verdict.reasons)


def test_a_package_in_two_versions(hosts: dict[str, Host], kernel: Kernel, engine: Engine) -> None:
    """What rpm leaves that is killed between installing the new version and removing the old one."""
    host = hosts["current"]
    with boot_trees.copy_of(host.root, host.lab.runner) as root:
        bls(root, kernel.release)
        packages = host.lab.cache.depots / "current-updates-9"
        words = ["rpm", "--dbpath", str(root / "var/lib/rpm"), "-i", "--justdb", "--nodeps", "--noscripts", "--force"]
        host.lab.runner.run([*words, *map(str, packages.glob("lab-tool-01-*.rpm"))])
        verdict = check_boot(engine, str(root))
    assert ids(verdict) == {"packages-twice"}
    assert "lab-tool-01" in verdict.reasons[0].detail


def test_no_room_in_boot(hosts: dict[str, Host], kernel: Kernel, engine: Engine) -> None:
    """A /boot of its own that is full to its last block."""
    host = hosts["current"]
    with boot_trees.copy_of(host.root, host.lab.runner) as root:
        bls(root, kernel.release)
        kept = root / "srv/boot"
        (root / "boot").rename(kept)
        (root / "boot").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "boot", root / "boot"], check=True, timeout=20)
        try:
            shutil.copytree(kept, root / "boot", dirs_exist_ok=True)
            healthy = check_boot(engine, str(root))
            with pytest.raises(OSError, match="No space"), open(root / "boot/full", "wb") as stream:
                stream.write(b"x" * (25 << 20))
            full = check_boot(engine, str(root))
        finally:
            subprocess.run(["umount", root / "boot"], check=True, timeout=20)
    assert healthy.reasons == ()
    assert ids(full) == {"boot-space"}


def inside(host: Host) -> dict[str, object]:
    """Return the verdict that a host gives on itself."""
    program = host.root / "root/check.py"
    program.write_text(INSIDE)
    verdict: dict[str, object] = json.loads(host.run("python3", "/root/check.py").stdout)
    return verdict


@pytest.mark.parametrize("release", RELEASES)
def test_on_the_host_itself(hosts: dict[str, Host], release: str) -> None:
    """A host looks at itself, with its own Python and rpm; it is a container with a kernel that nothing starts."""
    host = hosts[release]
    assert inside(host)["reasons"] == []
    target = host.root / "usr/lib/systemd/systemd-logind"
    os.chmod(target, 0o644)
    unit = boot_trees.put(host.root, "usr/lib/systemd/system;65a1b2c3", "")
    try:
        verdict = inside(host)
    finally:
        os.chmod(target, 0o755)
        unit.unlink()
    assert [reason["id"] for reason in verdict["reasons"]] == [  # type: ignore[attr-defined]
        "program-not-executable", "transaction-unfinished",
    ]  # fmt: skip
    assert verdict["allowed"] is False
