"""Thin wrapper of fanotify (fanotify(7)): who opens a file waits for our answer; who closes one is told."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass

from interlock.system.linux import AT_FDCWD

_LIBC = ctypes.CDLL(None, use_errno=True)
FAN_CLOEXEC, FAN_NONBLOCK, FAN_CLASS_CONTENT = 0x1, 0x2, 0x4
FAN_MARK_ADD = 0x1
FAN_CLOSE = 0x8 | 0x10
FAN_OPEN_PERM, FAN_EVENT_ON_CHILD = 0x10000, 0x08000000
FAN_ALLOW, FAN_DENY = 0x1, 0x2
_EVENT = struct.Struct("IBBHQii")
READ_SIZE = 1 << 16


@dataclass(frozen=True)
class OpenRequest:
    """``pid`` wants to open the file behind ``descriptor``, which is ours to close with the answer.

    Or it has ``closed`` it, and waits for no answer.
    """

    pid: int
    descriptor: int
    closed: bool = False


class OpenGuard:
    """Permission events for opens of the files in one directory; OSError (EPERM) without CAP_SYS_ADMIN.

    With ``closes`` it also tells who closes them.
    """

    def __init__(self, directory: str, closes: bool = False) -> None:
        flags = FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK
        self.descriptor = _check(_LIBC.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC))
        mask = ctypes.c_uint64(FAN_OPEN_PERM | FAN_EVENT_ON_CHILD | (FAN_CLOSE if closes else 0))
        try:
            _check(_LIBC.fanotify_mark(self.descriptor, FAN_MARK_ADD, mask, AT_FDCWD, os.fsencode(directory)))
        except OSError:
            os.close(self.descriptor)
            raise

    def read(self) -> list[OpenRequest]:
        """Return the requests that wait now, perhaps none."""
        try:
            content = os.read(self.descriptor, READ_SIZE)
        except BlockingIOError:
            return []
        found, offset = [], 0
        while offset + _EVENT.size <= len(content):
            length, _, _, _, mask, descriptor, pid = _EVENT.unpack_from(content, offset)
            found.append(OpenRequest(pid, descriptor, not mask & FAN_OPEN_PERM))
            offset += length
        return found

    def answer(self, request: OpenRequest, allow: bool) -> None:
        """Let one request through, or refuse it; harmless when the process has ended meanwhile."""
        try:
            if not request.closed:
                os.write(self.descriptor, struct.pack("iI", request.descriptor, FAN_ALLOW if allow else FAN_DENY))
        except OSError:
            pass
        os.close(request.descriptor)

    def close(self) -> None:
        """Stop guarding; the kernel lets through what still waits."""
        os.close(self.descriptor)


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
