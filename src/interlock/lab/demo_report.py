"""What a demo finds out, and who may listen while it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Protocol

from interlock.lab.evidence import Answers, DatabaseState
from interlock.lab.waiting import Waiting


@dataclass(frozen=True)
class Upgrade:
    """One upgrade of one host, and what is known of it afterwards. ``seconds`` is its own time, start to end."""

    host: str
    by: str
    before: str
    after: str
    agent: str
    command: str
    outcome: str
    status: Optional[int]
    seconds: float
    said: str
    answers: Answers
    database: DatabaseState
    files_changed: int
    processes: tuple[Waiting, ...] = ()
    output: tuple[str, ...] = ()
    slowest_before: float = 0.0
    query: str = ""
    query_processes: tuple[Waiting, ...] = ()
    reboot_by: str = ""
    reboot_seconds: Optional[float] = None
    query_after_reboot: str = ""

    @property
    def between(self) -> bool:
        """Say whether it left the host between two states."""
        return self.outcome == "hung" or (self.outcome == "failed" and self.files_changed > 0)


@dataclass(frozen=True)
class Result:
    """All of a demo."""

    plain: tuple[Upgrade, ...]
    interlock: tuple[Upgrade, ...]
    seconds: float

    @property
    def good(self) -> bool:
        """Say whether Interlock did what it promises, whatever became of plain rpm."""
        return all(
            one.outcome == "committed" and not one.database.twice and one.reboot_seconds is not None
            for one in self.interlock
        )


class Listener(Protocol):
    """Whoever shows the demo while it runs."""

    def act(self, title: str) -> None:
        """Another part begins."""
        ...

    def command(self, host: str, command: str) -> None:
        """A command begins on a host."""
        ...

    def note(self, text: str) -> None:
        """Something happened."""
        ...

    def ended(self, upgrade: Upgrade) -> None:
        """An upgrade has ended."""
        ...

    def aftermath(self, upgrade: Upgrade) -> None:
        """It is known whether the host answers, and whether it comes back from a reboot."""
        ...
