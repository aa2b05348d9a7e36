"""What the manager needs of a way to a host. Behind it is ssh, or a simulated host that speaks the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Answer:
    """What a command came to."""

    status: int
    stdout: str
    stderr: str


class Link(Protocol):
    """A connection to one host. Raises HostError."""

    @property
    def name(self) -> str:
        """The host's name in the inventory."""

    async def run(self, words: Sequence[str], timeout: float) -> Answer:
        """Run a command as root; ``timeout`` in seconds."""

    async def put(self, content: bytes, path: str, timeout: float) -> None:
        """Write a file that only root can write, whole or not at all."""
