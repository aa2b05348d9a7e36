"""What only the doctor asks for: states of the database, of its users and of the rest of the host. Values only.

They stand apart from the facts of a wait because a quick look needs none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple


class State(NamedTuple):
    """What a private copy of the database, and the files it speaks of, were found to be. Only ``doctor`` asks.

    ``trial`` is what the host's own rpm said when it queried the copy (with the shared regions of a Berkeley DB
    environment copied too), ``hung`` that it said nothing within its limit. Packages are NEVRAs.

    ``duplicates`` have one package in several versions, the last to come first. ``damaged`` are record number and
    package, ``not_indexed`` packages that the index by name lacks, ``dangling`` names that it has of no package.
    ``empty_files`` are package and path; ``unlike`` are paths whose content is not that of the last to come of a
    duplicate. ``leftovers`` are rpm's temporary files, ``arrived`` the suffix of one and a package of its transaction.
    ``unmet`` are package, requirement, and who has the name in another version (or nobody). ``nested`` are package,
    scriptlet, command, the package that it did not install, or did not remove, its file (or empty) and the verb.
    ``crowded`` are file systems without room. ``settled`` says that no transaction was at work meanwhile.
    """

    readable: bool = True
    trial: str = ""
    hung: bool = False
    integrity: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    damaged: tuple[tuple[int, str], ...] = ()
    not_indexed: tuple[str, ...] = ()
    empty_files: tuple[tuple[str, str], ...] = ()
    leftovers: tuple[str, ...] = ()
    unmet: tuple[tuple[str, str, str], ...] = ()
    nested: tuple[tuple[str, ...], ...] = ()
    dangling: tuple[str, ...] = ()
    unlike: tuple[tuple[str, str], ...] = ()
    arrived: tuple[tuple[str, str], ...] = ()
    crowded: tuple[str, ...] = ()
    settled: bool = True


class Mount(NamedTuple):
    """A file system. ``free`` and ``size`` in bytes.

    ``bound`` says that only this mount is read-only, not the file system itself; ``meant`` that the host's fstab, or
    the way it is built, wants it read-only; ``faults`` what the kernel has counted against the file system.
    """

    path: str
    kind: str
    writable: bool
    free: int
    size: int
    bound: bool = False
    meant: bool = False
    faults: str = ""


class System(NamedTuple):
    """What of the rest of the host bears on its packages. Only ``doctor`` asks.

    ``kernels`` are the versions in /boot that have modules, the oldest first; ``initramfs`` says of some of them what
    is wrong with theirs. ``images`` is what each takes in /boot, ``owners`` the package of each, ``keep`` the versions
    that run or are the default. ``tools`` are the programs that make an initramfs here.
    """

    mounts: tuple[Mount, ...] = ()
    kernels: tuple[str, ...] = ()
    initramfs: Mapping[str, str] = {}
    loader: str = ""
    offline_update: str = ""
    fapolicyd: str = ""
    images: Mapping[str, int] = {}
    owners: Mapping[str, str] = {}
    keep: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()


class SqliteUser(NamedTuple):
    """A process that has the SQLite database open that is in place now, with what SQLite locked for it.

    ``writes`` says that it opened the main file for writing; ``locks`` are its lines of ``/proc/PID/fdinfo``,
    ``snapshot`` is the byte of its read mark, 0 without one. ``active`` says that it ran while somebody else kept the
    writer's lock. The last three were seen again and again for a second:
    ``holds`` that it kept the writer's lock and was not emptying the log, ``stalled`` that it kept its read mark and
    did not run (for four seconds, unless it is stopped), ``unlocked`` that it used the shared index without the locks
    that every user of it has.
    """

    pid: int
    writes: bool
    locks: tuple[str, ...]
    snapshot: int = 0
    checkpoints: bool = False
    active: bool = False
    holds: bool = False
    stalled: bool = False
    unlocked: bool = False


class Stray(NamedTuple):
    """A process with a file of a package database that is not in place any more: deleted, or moved away.

    ``path`` is what the kernel calls it now; ``lock`` says that it is rpm's lock file, ``held`` that it is locked.
    """

    pid: int
    path: str
    lock: bool
    held: bool = False


class Lost(NamedTuple):
    """A transaction whose terminal is gone. ``output`` is what its descriptor leads to."""

    pid: int
    descriptor: int
    output: str


class LeftDatabase(NamedTuple):
    """A database that a rebuild left beside the one in place, which has no packages at all. Only ``doctor`` asks."""

    path: str
    packages: tuple[str, ...]
