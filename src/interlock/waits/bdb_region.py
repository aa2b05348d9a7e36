"""The layout of Berkeley DB's shared mutexes, as far as it says who holds one. Pure functions of bytes.

libdb 5.3 with POSIX mutexes, 64 bits: an array of records in one ``__db.NNN`` file, whose place and record size stand
near the file's begin. A record is a ``pthread_mutex_t`` (lock word, count, owner), a ``pthread_cond_t`` of 48 bytes,
and 48 bytes of libdb's own: pid, thread, link, statistics, flags. A mutex that is also waited for by its own holder
(a logical lock) is taken when its flag says so; its waiters sleep in the condition variable, and the pthread mutex is
only held for moments. A shared latch has a ``pthread_rwlock_t`` at the same place.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Optional

HEAD = 4096
LOCKED, SHARED = 0x02, 0x20
CONDITION_SIZE = TRAILER = 48
_SMALLEST, _LARGEST = 128, 256
_WRITE_LOCKED, _PHASE, _READERS = 2, 1, 3
MUTEX, CONDITION, LATCH = "mutex", "condition", "latch"


class Layout(NamedTuple):
    """Where the array of mutexes begins, and the size of one record."""

    first: int
    size: int


class Mutex(NamedTuple):
    """What a record says of the lock that somebody sleeps on: ``owner`` is 0 where it is not recorded."""

    kind: str
    free: bool
    owner: int


def find_layout(head: bytes) -> Optional[Layout]:
    """Return the layout that a region's first bytes give: offset of the array, adjusted offset, size of a record."""
    for at in range(0, len(head) - 23, 8):
        start, first, size = struct.unpack_from("<QQQ", head, at)
        if _SMALLEST <= size <= _LARGEST and size % 8 == 0 and 64 <= start <= first < start + size <= 1 << 20:
            return Layout(first, size)
    return None


def record_of(layout: Layout, offset: int) -> tuple[int, int]:
    """Return where the record begins that an offset lies in, and how far in."""
    inside = (offset - layout.first) % layout.size
    return offset - inside, inside


def read_mutex(record: bytes, inside: int) -> Optional[Mutex]:
    """Return the lock whose word lies at ``inside`` in a record, None where no sleeper is to be expected there."""
    if len(record) < _SMALLEST:
        return None
    condition = len(record) - TRAILER - CONDITION_SIZE
    flags = int(struct.unpack_from("<I", record, len(record) - 4)[0])
    if flags & SHARED:
        return _latch(record) if inside in (8, 12) else None
    if inside == 0:
        word, _, owner = struct.unpack_from("<iIi", record)
        return Mutex(MUTEX, word == 0, owner if word and owner > 0 else 0)
    if condition <= inside < condition + CONDITION_SIZE:
        return _condition(record, flags)
    return None


def _condition(record: bytes, flags: int) -> Mutex:
    """The flag counts, not the pthread mutex: that one is free whenever somebody sleeps in the condition variable."""
    keeper = int(struct.unpack_from("<i", record, len(record) - TRAILER)[0])
    return Mutex(CONDITION, not flags & LOCKED, keeper if flags & LOCKED else 0)


def _latch(record: bytes) -> Mutex:
    """Return a read-write lock (nptl/pthread_rwlock_common.c): readers are counted, only a writer is named."""
    readers, writer = struct.unpack_from("<I20xi", record)
    taken = bool(readers & (_WRITE_LOCKED | _PHASE)) or bool(readers >> _READERS)
    return Mutex(LATCH, not taken, writer if readers & _WRITE_LOCKED and writer > 0 else 0)
