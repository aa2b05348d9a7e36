"""What one look at a host found: values only, no door to anything.

Everything that is said about waits later is a function of these. Numbers are the kernel's: pids as the reader's
``/proc`` numbers them, times in seconds, byte ranges of locks inclusive with ``last`` None for "to the end".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from typing import NamedTuple

    from interlock.waits.conditions import LeftDatabase, Lost, SqliteUser, State, Stray, System
else:
    from interlock.system.record import NamedTuple


class Process(NamedTuple):
    """One process. ``call`` is the system call that it sleeps in: its number and arguments; empty where unknown.

    ``asleep`` is how long ago it last ran, in seconds, where the kernel says so; ``inner`` is the pid that the
    process itself knows (another one in a container). ``switches`` is how often it gave up the processor: where that
    is the same twice, it slept in between.
    """

    pid: int
    name: str
    command: str
    parent: int
    state: str
    started: int
    age: float
    unit: str = ""
    channel: str = ""
    call: tuple[int, ...] = ()
    asleep: Optional[float] = None
    inner: int = 0
    switches: int = 0


class FileLock(NamedTuple):
    """One lock of ``/proc/locks``: held, or waited for. ``kind`` is POSIX, OFDLCK or FLOCK.

    ``number`` joins a waiter to the lock that it waits behind. ``pid`` of an open-file-description lock is found by
    who has the file open, one FileLock for each; -1 where nobody is seen. ``path`` may end in `` (deleted)``.
    """

    number: int
    kind: str
    write: bool
    pid: int
    path: str
    device: tuple[int, int]
    inode: int
    first: int
    last: Optional[int]
    waits: bool


class Region(NamedTuple):
    """A process that has a Berkeley DB environment mapped. ``libc`` names the C library it runs with, and its inode."""

    pid: int
    files: tuple[str, ...]
    libc: str


class Futex(NamedTuple):
    """A process that sleeps on a futex in a shared region of a Berkeley DB environment.

    ``file`` and ``offset`` say where the word lies. ``owner`` is the pid that the lock at this place names, as its
    own namespace numbers it, 0 where it names none; ``owner_alive`` whether that process is there and has the
    environment mapped; ``confirmed`` whether a second look, a moment later, found all of this the same. ``free``
    says that the lock is held by nobody although somebody sleeps on it: a wake-up was lost. ``kind`` is mutex,
    condition or latch; ``stale`` says that the word has changed since the process fell asleep, so that it goes on
    as soon as it looks again.
    """

    pid: int
    file: str
    offset: int
    owner: int = 0
    owner_alive: bool = True
    confirmed: bool = False
    free: bool = False
    kind: str = ""
    stale: bool = False


class PidFile(NamedTuple):
    """A lock file whose content is a pid (dnf 4, yum, zypp). ``pid`` is None where the content is no number.

    ``holder_matches`` says whether the process with that number is such a program and as old as the file: if not,
    the file is stale, or its number was given to somebody else. ``waiters`` are programs that poll this file.
    """

    path: str
    content: str
    pid: Optional[int]
    alive: bool
    holder_matches: bool
    age: float
    waiters: tuple[int, ...] = ()


class Job(NamedTuple):
    """A job of systemd that is not done. ``pids`` are the processes of its unit, ``clients`` who waits for the job."""

    number: int
    unit: str
    kind: str
    state: str
    pids: tuple[int, ...]
    clients: tuple[int, ...]


class Pipe(NamedTuple):
    """A pipe with a process asleep on it. ``reading`` says on which end it sleeps; the others hold the other end.

    ``name`` is for what works like a pipe and is none: a terminal that a process passes on. ``left`` are those of
    the others that a scriptlet left behind when its transaction had ended.
    """

    inode: int
    pid: int
    descriptor: int
    reading: bool
    others: tuple[int, ...]
    name: str = ""
    left: tuple[int, ...] = ()


class Opened(NamedTuple):
    """A process that has a file of the package database open or mapped; ``deleted`` if no path leads there now."""

    pid: int
    path: str
    deleted: bool = False


class DatabaseFile(NamedTuple):
    """A file of the database's directory, as ``lstat`` gives it."""

    name: str
    device: int
    inode: int
    size: int
    mode: int
    owner: int
    modified: float


class Database(NamedTuple):
    """The package database: ``backend`` is sqlite, ndb, bdb, or empty where there is none."""

    path: str
    backend: str
    files: tuple[DatabaseFile, ...]
    lock: str = ""
    wanted: str = ""


class Scriptlet(NamedTuple):
    """A process that runs a scriptlet of an rpm transaction. ``kind`` and ``package`` are empty where unknown."""

    pid: int
    transaction: int
    kind: str = ""
    package: str = ""


class Facts(NamedTuple):
    """All of one look. ``complete`` is false where processes of other users could not be asked (not root).

    ``ran`` are processes that ran while the look went on: what they were seen to wait for may have ended already.
    """

    at: float
    database: Database
    processes: Mapping[int, Process]
    locks: tuple[FileLock, ...] = ()
    regions: tuple[Region, ...] = ()
    futexes: tuple[Futex, ...] = ()
    pid_files: tuple[PidFile, ...] = ()
    jobs: tuple[Job, ...] = ()
    pipes: tuple[Pipe, ...] = ()
    opened: tuple[Opened, ...] = ()
    scriptlets: tuple[Scriptlet, ...] = ()
    moving: frozenset[int] = frozenset()
    state: Optional[State] = None
    system: Optional[System] = None
    sqlite_users: tuple[SqliteUser, ...] = ()
    strays: tuple[Stray, ...] = ()
    write_ahead: bool = False
    left: tuple[LeftDatabase, ...] = ()
    lost: tuple[Lost, ...] = ()
    complete: bool = True
    ran: frozenset[int] = frozenset()
