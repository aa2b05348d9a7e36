"""Time that is passed in, and spans of it as people say them."""

from __future__ import annotations

import pytest

from interlock.system.clock import ManualClock, SystemClock, age


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"), (0, "0 s"), (0.9, "0 s"), (119, "119 s"), (120, "2 min"), (3599, "59 min"), (3600, "1 h 0 min"),
        (7500, "2 h 5 min"), (86399, "23 h 59 min"), (86400, "1 d 0 h"), (4 * 86400 + 7200, "4 d 2 h"),
    ],
)  # fmt: skip
def test_a_span(seconds: float, said: str) -> None:
    assert age(seconds) == said


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(at=5.0)
    assert (clock.now(), clock.monotonic()) == (5.0, 5.0)
    clock.sleep(2.5)
    assert (clock.now(), clock.monotonic()) == (7.5, 7.5)


def test_the_real_clock_moves_on_by_itself() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(0.002)
    assert clock.monotonic() - before >= 0.002
    assert clock.now() > 1_700_000_000
