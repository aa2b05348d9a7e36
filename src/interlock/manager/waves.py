"""How a rollout is cut into waves, and when it stops. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_AMOUNT = re.compile(r"(\d{1,6})(%?)\Z")


@dataclass(frozen=True)
class Amount:
    """A number of hosts, or a share of those of the rollout in percent."""

    number: int
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Amount:
        """Read ``5`` or ``25%``; ValueError otherwise."""
        found = _AMOUNT.match(text.strip())
        if found is None or int(found[1]) == 0 or (found[2] and int(found[1]) > 100):
            raise ValueError(f"{text[:20]!r} is neither a number of hosts nor a percentage")
        return cls(int(found[1]), bool(found[2]))

    def of(self, total: int) -> int:
        """Return how many hosts of ``total`` that is, one at least; a share is rounded up."""
        return max(1, math.ceil(total * self.number / 100)) if self.percent else self.number

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)


def cut(hosts: Sequence[str], canary: int, wave: Amount) -> list[list[str]]:
    """Return the waves: ``canary`` hosts alone first (0 for none), then as many at a time as ``wave`` says of all."""
    waves = [list(hosts[:canary])] if canary and hosts else []
    rest, size = hosts[canary:], wave.of(len(hosts))
    waves += [list(rest[start : start + size]) for start in range(0, len(rest), size)]
    return waves


@dataclass(frozen=True)
class Budget:
    """How many hosts may fail before a rollout stops: it stops when that many have. Unreachable ones have failed."""

    amount: Amount

    def spent(self, failed: int, total: int) -> bool:
        """Say whether the rollout stops."""
        return failed >= self.amount.of(total)

    def arithmetic(self, failed: int, unreachable: int, total: int) -> str:
        """Say how the budget stands, and of what a percentage is."""
        limit = self.amount.of(total)
        share = f"{self.amount} of the {total} hosts of this rollout = {limit}" if self.amount.percent else f"{limit}"
        parts = f"{failed} failed, {unreachable} could not be reached"
        return f"{failed + unreachable} ({parts}) of a failure budget of {share}"
