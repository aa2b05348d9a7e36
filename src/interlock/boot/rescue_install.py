"""Puts the rescue in place on a host: the unit that recovers at boot, and what an initramfs is made with.

An initramfs that is made from now on carries the rescue: a kernel's own scriptlets make one in most upgrades. The one
that the host has now is made anew only when somebody asks for it (``rebuild_initramfs``), for that takes a minute, and
a fault in it is a host that does not boot. Doing it again changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import pkgutil
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.system import durable

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

UNIT = "interlock-recover.service"
DRACUT, INITRAMFS_TOOLS = "usr/lib/dracut/modules.d", "etc/initramfs-tools"
MODULE = f"{DRACUT}/90interlock-rescue"
UNITS = "etc/systemd/system"
SCRIPT = f"{INITRAMFS_TOOLS}/interlock/rescue.sh"
PROGRAM = "program/interlock.pyz"
# What the last initramfs was made with: kernel and digest of the script.
BUILT = "var/lib/interlock/initramfs"
REBUILD_LIMIT = 900.0


class NoInitramfsMaker(InterlockError):
    """No program that makes an initramfs is on this host."""

    hint = "Install dracut or initramfs-tools, or rely on the recovery at boot, which needs a working Python."


def own_paths() -> tuple[str, ...]:
    """Return every path that ``install_rescue`` may make outside of Interlock's own folders."""
    hooks = ("hooks/interlock-rescue", "scripts/local-bottom/interlock-rescue")
    return (
        f"/{UNITS}/{UNIT}", f"/{UNITS}/sysinit.target.wants", f"/{UNITS}/sysinit.target.wants/{UNIT}",
        f"/{INITRAMFS_TOOLS}/interlock", f"/{SCRIPT}", f"/{MODULE}", *(f"/{MODULE}/{name}" for name in _MODULE_FILES),
        *(f"/{INITRAMFS_TOOLS}/{name}" for name in hooks),
    )  # fmt: skip


_MODULE_FILES = {"module-setup.sh": "dracut/module-setup.sh", "pre-pivot.sh": "dracut/pre-pivot.sh",
                 "rescue.sh": "rescue.sh"}  # fmt: skip


def install_rescue(host: Host) -> list[str]:
    """Put unit and hooks in place, durably; return the paths that were made or changed (none, mostly).

    The unit is for the next boot; systemd need not be told of it now.
    """
    changed = list(_keep_program(host.paths))
    changed += [path for path, text, mode in _files(host.paths) if _put(path, text, mode)]
    wants = _under(host.paths, UNITS, "sysinit.target.wants", UNIT)
    if not os.path.islink(wants):
        os.makedirs(os.path.dirname(wants), exist_ok=True)
        os.symlink(f"../{UNIT}", wants)
        durable.sync_directory(os.path.dirname(wants))
        changed.append(wants)
    return changed


def _files(paths: Paths) -> Iterator[tuple[str, str, int]]:
    command = " ".join(_command(paths))
    yield _under(paths, UNITS, UNIT), read_data(UNIT).replace("{command}", command), 0o644
    if os.path.isdir(_under(paths, DRACUT)):
        for name, source in _MODULE_FILES.items():
            yield _under(paths, MODULE, name), read_data(source), 0o755
    if os.path.isdir(_under(paths, INITRAMFS_TOOLS)):
        yield _under(paths, SCRIPT), read_data("rescue.sh"), 0o755
        yield _under(paths, INITRAMFS_TOOLS, "hooks/interlock-rescue"), read_data("initramfs-tools/hook"), 0o755
        bottom = _under(paths, INITRAMFS_TOOLS, "scripts/local-bottom/interlock-rescue")
        yield bottom, read_data("initramfs-tools/local-bottom"), 0o755


def _under(paths: Paths, *parts: str) -> str:
    return os.path.join(paths.root, *parts)


def _put(path: str, text: str, mode: int) -> bool:
    try:
        with open(path, encoding="utf-8") as stream:
            if stream.read() == text:
                return False
    except OSError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    durable.write_file(path, text, mode)
    os.chmod(path, mode)
    return True


def _archive() -> str:
    """Return the file that this program was started from where it is one file, else an empty string."""
    path = os.path.abspath(__file__)
    while path != "/" and not os.path.exists(path):
        path = os.path.dirname(path)
    return path if os.path.isfile(path) and path != os.path.abspath(__file__) else ""


def _command(paths: Paths) -> list[str]:
    """Return how the unit starts this program: by a copy of its own where it came as one file, for that may go."""
    if not _archive():
        return [sys.executable, "-m", "interlock"]
    usual = shutil.which("python3") or sys.executable
    # A version in the name is gone after the upgrade that replaces it.
    same = os.path.realpath(usual) == os.path.realpath(sys.executable)
    return [usual if same else sys.executable, os.path.join(paths.state, PROGRAM)]


def _keep_program(paths: Paths) -> Iterator[str]:
    source, target = _archive(), os.path.join(paths.state, PROGRAM)
    if not source or source == target or _same(source, target):
        return
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    durable.copy_file(source, f"{target}.new")
    durable.sync_file(f"{target}.new")
    os.rename(f"{target}.new", target)
    durable.sync_directory(os.path.dirname(target))
    yield target


def _same(first: str, second: str) -> bool:
    try:
        with open(first, "rb") as one, open(second, "rb") as other:
            return one.read() == other.read()
    except OSError:
        return False


def read_data(name: str) -> str:
    """Return a file that travels with the program."""
    content = pkgutil.get_data("interlock.boot", f"data/{name}")
    if content is None:
        raise FileNotFoundError(f"interlock/boot/data/{name}")
    return content.decode()


def rebuild_initramfs(host: Host) -> str:
    """Make the initramfs of the running kernel anew, with the rescue; return the command. NoInitramfsMaker."""
    install_rescue(host)
    for argv in (["dracut", "--force"], ["update-initramfs", "-u"]):
        if shutil.which(argv[0]):
            host.runner.run(argv, timeout=REBUILD_LIMIT)
            os.makedirs(host.paths.state, exist_ok=True)
            durable.write_file(_under(host.paths, BUILT), f"{os.uname().release}\n{digest_of_script()}\n")
            return " ".join(argv)
    raise NoInitramfsMaker


class Cover(NamedTuple):
    """What is in place: the unit, the hooks, and an initramfs of this very kernel that was made with them."""

    unit: bool
    hooks: bool
    initramfs: bool


def cover(host: Host) -> Cover:
    """Return what is in place, by what Interlock has done itself; the initramfs is not opened."""
    hooks = (f"{MODULE}/module-setup.sh", f"{INITRAMFS_TOOLS}/hooks/interlock-rescue")
    try:
        with open(_under(host.paths, BUILT), encoding="utf-8") as stream:
            built = stream.read().split() == [os.uname().release, digest_of_script()]
    except OSError:
        built = False
    return Cover(
        os.path.exists(_under(host.paths, UNITS, UNIT)),
        any(os.path.exists(_under(host.paths, path)) for path in hooks),
        built,
    )


def digest_of_script() -> str:
    """Return what tells this version of the script from others."""
    return hashlib.sha256(read_data("rescue.sh").encode()).hexdigest()
