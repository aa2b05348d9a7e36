"""Several mirrors of one depot: what one does not give is asked of the next.

A file that a mirror stops sending in the middle goes on from another one, at the same byte; the digest that the
metadata has for the file says whether both had the same. A mirror that could not be reached is not asked again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Callable, Optional, TypeVar

from interlock.depot.errors import DepotMissing, DepotUnreadable, FileMissing
from interlock.depot.source import Source, Stream
from interlock.errors import BadDepot

T = TypeVar("T")


@dataclass(frozen=True)
class MirrorSource(Source):
    """The first of ``mirrors`` that gives a file gives it; each opens one when it is asked for the first time."""

    mirrors: Sequence[Callable[[], Source]]
    _opened: dict[int, Optional[Source]] = field(default_factory=dict, compare=False)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[Stream]:
        """Open a file at the first mirror that has it."""
        with contextlib.ExitStack() as stack:
            yield self._first(lambda source: stack.enter_context(source.open(path)))

    def share(self, path: str, target: int, limit: int) -> bool:
        """Share with the first mirror that has the file."""
        return self._first(lambda source: source.share(path, target, limit))

    def chunks(self, path: str, limit: int) -> Iterator[bytes]:
        """Yield a file's bytes, from another mirror where one stops."""
        received = 0
        problems: list[BadDepot] = []
        for number in range(len(self.mirrors)):
            source = self._source(number, problems)
            if source is None:
                continue
            try:
                for chunk in _from(source.chunks(path, limit), received):
                    received += len(chunk)
                    yield chunk
                return
            except BadDepot as error:
                self._failed(number, error, problems)
        raise self._worst(problems)

    def _first(self, ask: Callable[[Source], T]) -> T:
        problems: list[BadDepot] = []
        for number in range(len(self.mirrors)):
            source = self._source(number, problems)
            if source is not None:
                try:
                    return ask(source)
                except BadDepot as error:
                    self._failed(number, error, problems)
        raise self._worst(problems)

    def _source(self, number: int, problems: list[BadDepot]) -> Optional[Source]:
        if number not in self._opened:
            try:
                self._opened[number] = self.mirrors[number]()
            except BadDepot as error:
                self._failed(number, error, problems)
        return self._opened[number]

    def _failed(self, number: int, error: BadDepot, problems: list[BadDepot]) -> None:
        problems.append(error)
        if not isinstance(error, FileMissing):
            self._opened[number] = None

    def _worst(self, problems: Sequence[BadDepot]) -> BadDepot:
        """Return a missing file as such only where every mirror that answered lacks it, and none failed to answer."""
        missing = [one for one in problems if isinstance(one, FileMissing)]
        if missing and len(missing) == len(self.mirrors):
            return FileMissing(depot=self.location, file=missing[0].fields["file"])
        if problems and all(isinstance(one, DepotMissing) for one in problems):
            return DepotMissing(depot=f"{self.location} ({problems[0].fields['depot']})")
        said = "; ".join(str(one) for one in problems) or "none of its mirrors can be reached any more"
        return DepotUnreadable(depot=self.location, detail=said)


def _from(chunks: Iterator[bytes], start: int) -> Iterator[bytes]:
    """Yield what comes after the first ``start`` bytes."""
    left = start
    for chunk in chunks:
        if left >= len(chunk):
            left -= len(chunk)
            continue
        yield chunk[left:]
        left = 0
