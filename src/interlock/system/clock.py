"""The one door to time. Passed in, so that tests own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of the program may ask of time."""

    def now(self) -> float:
        """Seconds since the epoch; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow; comparable only within one boot."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The host's own clocks."""

    def now(self) -> float:
        """Seconds since the epoch, from the host's clock."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment of this boot."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for real."""
        time.sleep(seconds)


class ManualClock:
    """A clock that stands still until told: for tests."""

    def __init__(self, at: float = 1_700_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        """Return the set time."""
        return self.at

    def monotonic(self) -> float:
        """Return the set time."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """Move the time on, at once."""
        self.at += seconds


def age(seconds: float) -> str:
    """Say a span of seconds as a person would: ``45 s``, ``3 min``, ``2 h 5 min``, ``4 d 2 h``."""
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if whole >= 3600:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if whole >= 120 else f"{whole} s"
