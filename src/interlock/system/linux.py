"""Thin wrappers of system calls that Python's library lacks. No policy; errors are ``OSError`` with errno.

Everything here is loaded at import, so that it still works when the interpreter's files and glibc have been
replaced under us: the C library handle is the one this process was started with.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct
from dataclasses import dataclass
from typing import Optional

_LIBC = ctypes.CDLL(None, use_errno=True)

AT_FDCWD = -100
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
CLONE_NEWNS = 0x00020000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 1 << 19
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
F_OFD_GETLK = 36
F_OFD_SETLK = 37
FICLONE = 0x40049409
BTRFS_SNAPSHOT = 0x50009417
BTRFS_DELETE = 0x5000940F
_BTRFS_READ_ONLY = 2
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
# struct flock on 64-bit Linux: l_type, l_whence, padding, l_start, l_len, l_pid, padding
_FLOCK = "hhxxxxqqixxxx"
_SYS_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "ppc64le": 357, "s390x": 347}


def _check(result: int, first: Optional[str] = None, second: Optional[str] = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), first, None, second)
    return result


def rename_exchange(first: str, second: str) -> None:
    """Exchange two directory entries in one atomic step (renameat2, RENAME_EXCHANGE)."""
    _renameat2(first, second, RENAME_EXCHANGE)


def rename_noreplace(source: str, target: str) -> None:
    """Rename ``source`` to ``target``, failing with EEXIST where ``target`` exists."""
    _renameat2(source, target, RENAME_NOREPLACE)


def _renameat2(first: str, second: str, flags: int) -> None:
    number = _SYS_RENAMEAT2.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, "renameat2 is not known for this machine")
    result = _LIBC.syscall(
        ctypes.c_long(number), ctypes.c_int(AT_FDCWD), os.fsencode(first),
        ctypes.c_int(AT_FDCWD), os.fsencode(second), ctypes.c_uint(flags),
    )  # fmt: skip
    _check(result, first, second)


def unshare_mounts() -> None:
    """Give this process a mount namespace of its own."""
    _check(_LIBC.unshare(CLONE_NEWNS))


def mount(source: str, target: str, flags: int, kind: str = "none", data: str = "") -> None:
    """Call mount(2)."""
    _check(
        _LIBC.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()),
        source,
        target,
    )


def unmount(target: str, flags: int = 0) -> None:
    """Call umount2(2)."""
    _check(_LIBC.umount2(os.fsencode(target), flags), target)


def make_mounts_slave() -> None:
    """Let mounts of the outer namespace come in, and none of ours go out."""
    mount("none", "/", MS_REC | MS_SLAVE)


def bind_mount(source: str, target: str) -> None:
    """Show ``source`` at ``target``."""
    mount(source, target, MS_BIND)


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Ask the kernel to end this process when the one that started it ends (PR_SET_PDEATHSIG)."""
    _check(_LIBC.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signum), 0, 0, 0))


@dataclass(frozen=True)
class LockHolder:
    """Who stands in the way of a lock: ``pid`` is -1 for an open-file-description lock."""

    pid: int
    exclusive: bool


def lock_whole_file(descriptor: int) -> None:
    """Take an open-file-description write lock on the whole file, or raise BlockingIOError.

    It conflicts with the POSIX locks that rpm takes, belongs to the open file and not to the process, and so
    is not dropped when some other descriptor of the same file is closed (fcntl(2), F_OFD_SETLK).
    """
    request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(descriptor, F_OFD_SETLK, request)


def unlock_whole_file(descriptor: int) -> None:
    """Give an open-file-description lock back."""
    fcntl.fcntl(descriptor, F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


def lock_holder(descriptor: int) -> Optional[LockHolder]:
    """Return who would refuse us a write lock on the whole file, taking none (F_OFD_GETLK)."""
    request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, F_OFD_GETLK, request))
    if answer[0] == fcntl.F_UNLCK:
        return None
    return LockHolder(pid=answer[4], exclusive=answer[0] == fcntl.F_WRLCK)


def clone_file(source: int, target: int) -> bool:
    """Share ``source``'s blocks with ``target`` (reflink); False where the file system cannot."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS):
            return False
        raise
    return True


def syncfs(descriptor: int) -> None:
    """Write back the file system that ``descriptor`` lies on."""
    _check(_LIBC.syncfs(descriptor))


def snapshot_subvolume(source: str, folder: str, name: str) -> None:
    """Make ``folder``/``name`` a read-only btrfs snapshot of the subvolume ``source`` (BTRFS_IOC_SNAP_CREATE_V2)."""
    from_descriptor = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    try:
        request = struct.pack("qQQ32x4040s", from_descriptor, 0, _BTRFS_READ_ONLY, os.fsencode(name))
        _ioctl_directory(folder, BTRFS_SNAPSHOT, request)
    finally:
        os.close(from_descriptor)


def delete_subvolume(folder: str, name: str) -> None:
    """Delete the btrfs subvolume ``folder``/``name`` (BTRFS_IOC_SNAP_DESTROY)."""
    _ioctl_directory(folder, BTRFS_DELETE, struct.pack("q4088s", 0, os.fsencode(name)))


def _ioctl_directory(folder: str, code: int, request: bytes) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, code, bytearray(request))
    finally:
        os.close(descriptor)
