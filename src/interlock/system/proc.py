"""Reads ``/proc``. Any tree can be read, so that a captured one is a test case.

A process may vanish between two reads; that is normal, and answers None or leaves it out. What is read of one file
is bounded, and a file that is no file (a pipe in a captured tree) does not stop the reader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional, Union

if TYPE_CHECKING:
    from pathlib import Path
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

# The largest of these files are the maps of a big process: some MiB.
LARGEST = 16 * 1024 * 1024
_USUAL = 1024 * 1024
_CHUNK = 64 * 1024
_AGES = 1e12
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_bytes(path: str, largest: int = LARGEST) -> Optional[bytes]:
    """Return a file's content, or as much as ``largest`` of it; None where it cannot be read."""
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError):
        return None
    try:
        return _all_of(descriptor, largest)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _all_of(descriptor: int, largest: int) -> bytes:
    found = [os.read(descriptor, min(_CHUNK, largest))]
    size = len(found[0])
    while found[-1] and size < largest:
        found.append(os.read(descriptor, min(_CHUNK, largest - size)))
        size += len(found[-1])
    return found[0] if size == len(found[0]) else b"".join(found)


def read_text(path: str, largest: int = LARGEST) -> str:
    """Return a file's content as text; empty where it cannot be read."""
    return (read_bytes(path, largest) or b"").decode("utf-8", "replace")


class ProcessId(NamedTuple):
    """Names one process for ever: a pid is reused, a pid with its start time and boot id is not.

    ``started`` is in clock ticks since boot (proc_pid_stat(5), field 22).
    """

    pid: int
    started: int
    boot: str


class FileLock(NamedTuple):
    """One line of ``/proc/locks``. ``pid`` is -1 for open-file-description locks; ``waits`` marks a ``->`` line."""

    kind: str
    write: bool
    pid: int
    device: tuple[int, int]
    inode: int
    waits: bool


class ProcReader:
    """Reads one ``/proc`` tree."""

    def __init__(self, root: Union[str, Path] = "/proc") -> None:
        self.folder = str(root)

    @property
    def root(self) -> Path:
        """The tree's directory."""
        from pathlib import Path  # noqa: PLC0415 - a look at a host starts faster without it

        return Path(self.folder)

    def _text(self, *parts: str) -> Optional[str]:
        found = read_bytes("/".join((self.folder, *parts)), _USUAL)
        return None if found is None else found.decode("utf-8", "replace")

    def boot_id(self) -> str:
        """Return this boot's id, or an empty string where the kernel has none to say."""
        return (self._text("sys", "kernel", "random", "boot_id") or "").strip()

    def uptime(self) -> Optional[float]:
        """Return the seconds since boot that start times count from."""
        words = (self._text("uptime") or "").split()
        try:
            seconds = float(words[0])
        except (IndexError, ValueError):
            return None
        return seconds if 0 <= seconds < _AGES else None

    def available_memory(self) -> int:
        """Return the bytes that can be used without swapping (``MemAvailable``), 0 where the kernel does not say."""
        for line in (self._text("meminfo") or "").splitlines():
            words = line.split()
            if words[:1] == ["MemAvailable:"] and len(words) > 1 and words[1].isdecimal():
                return int(words[1]) * 1024
        return 0

    def pids(self) -> list[int]:
        """Return the processes that are there now, in order."""
        try:
            return sorted(int(name) for name in os.listdir(self.folder) if name.isascii() and name.isdigit())
        except OSError:
            return []

    def start_time(self, pid: int) -> Optional[int]:
        """Return when ``pid`` started, in clock ticks since boot."""
        text = self._text(str(pid), "stat")
        fields = text.rpartition(")")[2].split() if text else []
        return _number(fields, 19)

    def state(self, pid: int) -> Optional[str]:
        """Return the state letter of ``pid``: ``R``, ``S``, ``D``, ``Z``..."""
        text = self._text(str(pid), "stat")
        fields = text.rpartition(")")[2].split() if text else []
        return fields[0] if fields else None

    def identify(self, pid: int) -> Optional[ProcessId]:
        """Return the lasting identity of ``pid``, or None if there is no such process."""
        started = self.start_time(pid)
        return None if started is None else ProcessId(pid, started, self.boot_id())

    def alive(self, process: ProcessId) -> bool:
        """Say whether that very process still runs (a zombie does not)."""
        return (
            self.boot_id() == process.boot
            and self.start_time(process.pid) == process.started
            and self.state(process.pid) not in ("Z", "X", None)
        )

    def parent(self, pid: int) -> Optional[int]:
        """Return the parent of ``pid``."""
        text = self._text(str(pid), "stat")
        fields = text.rpartition(")")[2].split() if text else []
        return _number(fields, 1)

    def children(self, pid: int) -> list[int]:
        """Return the processes whose parent is ``pid``."""
        return [other for other in self.pids() if self.parent(other) == pid]

    def wait_channel(self, pid: int) -> str:
        """Return the kernel function that ``pid`` sleeps in, or an empty string."""
        text = (self._text(str(pid), "wchan") or "").strip()
        return "" if text == "0" else text

    def mapped_files(self, pid: int) -> list[str]:
        """Return the files that ``pid`` has mapped, each once."""
        rows = (line.split(maxsplit=5) for line in read_text(f"{self.folder}/{pid}/maps").splitlines())
        return list(dict.fromkeys(row[5] for row in rows if len(row) == 6 and row[5].startswith("/")))

    def command(self, pid: int) -> str:
        """Return the command line of ``pid``, or its short name in brackets, or an empty string."""
        line = self._text(str(pid), "cmdline")
        if line:
            return line.replace("\0", " ").strip()
        name = (self._text(str(pid), "comm") or "").strip()
        return f"[{name}]" if name else ""

    def cgroup(self, pid: int) -> str:
        """Return the control group of ``pid`` that systemd gave it, in its own or the unified hierarchy.

        Where both are mounted the one that names a unit counts: in a container the other may be the outside's.
        """
        found = [""]
        for line in (self._text(str(pid), "cgroup") or "").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if controllers == "name=systemd" or (number == "0" and not controllers):
                found.append(path)
        return max(found, key=lambda path: (_names_unit(path), len(path)))

    def unit(self, pid: int) -> str:
        """Return the systemd unit that ``pid`` belongs to, or an empty string."""
        for part in reversed(self.cgroup(pid).split("/")):
            if part.endswith((".service", ".scope")):
                return part
        return ""

    def open_files(self, pid: int) -> Iterator[tuple[int, str]]:
        """Yield descriptor and target of each file that ``pid`` has open."""
        folder = f"{self.folder}/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            return
        for name in names:
            try:
                yield int(name), os.readlink(f"{folder}/{name}")
            except (OSError, ValueError):
                continue

    def locks(self) -> list[FileLock]:
        """Return the locks the kernel lists; a line that is not understood is left out."""
        found = (_parse_lock(line) for line in (self._text("locks") or "").splitlines())
        return [lock for lock in found if lock is not None]


def _number(fields: list[str], position: int) -> Optional[int]:
    try:
        return int(fields[position])
    except (IndexError, ValueError):
        return None


def _names_unit(path: str) -> bool:
    return any(part.endswith((".service", ".scope", ".slice")) for part in path.split("/"))


def _parse_lock(line: str) -> Optional[FileLock]:
    words = line.split()[1:]
    waits = words[:1] == ["->"]
    words = words[1:] if waits else words
    try:
        major, minor, inode = words[4].split(":")
        device = (int(major, 16), int(minor, 16))
        return FileLock(words[0], words[2] == "WRITE", int(words[3]), device, int(inode), waits)
    except (IndexError, ValueError):
        return None
