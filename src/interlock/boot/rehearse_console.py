"""Follows a system that boots: its console goes to a file, and somebody looks whether it is up, stuck or dead."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Callable, Optional, Protocol

from interlock.boot import panics
from interlock.host.context import Host

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

LARGEST = 8 << 20
COLUMNS = 240
TICK = 0.02
# After a text that nothing can follow, the lines around it are still waited for.
AFTERWARDS = 1.0
_TAIL = 64 * 1024


class Followed(NamedTuple):
    """How it went: ``report`` is the sentinel's, empty where there was none; ``status`` the program's, if it ended."""

    console: str
    report: str
    status: Optional[int]
    seconds: float


class Child(Protocol):
    """A program that was started."""

    pid: int

    def poll(self) -> Optional[int]:
        """Return its status, or None while it runs."""
        ...


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Yield the two ends of a new terminal: ours, and the system's."""
    ours, theirs = os.openpty()
    # Wide, so that systemd cuts no names short.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


class Follower:
    """Reads a console until ``report`` returns the sentinel's text, the program ends, or ``limit`` seconds are over."""

    def __init__(self, host: Host, path: str, source: int) -> None:
        self.host, self.path, self.source = host, path, source
        self.kept = bytearray()
        self.looked = 0

    def follow(self, child: Child, report: Callable[[Follower], str], limit: float) -> Followed:
        """Follow to the end; the program is not ended here."""
        begun = self.host.clock.monotonic()
        with open(self.path, "wb", buffering=0) as sink:
            found = self._follow(child, report, begun + limit, sink)
            while self._read(sink, 0.0):
                pass
        return Followed(self.text(), found or report(self), child.poll(), self.host.clock.monotonic() - begun)

    def _follow(self, child: Child, report: Callable[[Follower], str], end: float, sink: IO[bytes]) -> str:
        doomed, found = False, ""
        while not found and child.poll() is None and self.host.clock.monotonic() < end:
            if self._read(sink, TICK) and not doomed and self._is_last_word():
                doomed, end = True, min(end, self.host.clock.monotonic() + AFTERWARDS)
            found = report(self)
        return found

    def text(self) -> str:
        """Return what the console has said."""
        return self.kept.decode("utf-8", "replace")

    def says(self, word: str) -> bool:
        """Say whether a word is among the last that came."""
        return word.encode() in self.kept[-_TAIL:]

    def _is_last_word(self) -> bool:
        # Each line once, and the one that is not yet whole again.
        seen = panics.recognise(self.kept[self.looked :].decode("utf-8", "replace"))
        self.looked = self.kept.rfind(b"\n") + 1
        return seen is not None and seen.panic.last

    def _read(self, sink: IO[bytes], seconds: float) -> bool:
        ready, _, _ = select.select([self.source], [], [], seconds)
        if not ready:
            return False
        try:
            piece = os.read(self.source, 1 << 16)
        except OSError:
            piece = b""
        room = LARGEST - len(self.kept)
        self.kept += piece[:room]
        sink.write(piece[:room])
        return bool(piece)
