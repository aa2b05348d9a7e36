"""How a rollout is cut into waves, when its budget is spent, and what it says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from interlock.manager import rollouts
from interlock.manager.rollouts import RolloutThere, Spec, Tally, UnknownRollout
from interlock.manager.store import open_store
from interlock.manager.waves import Amount, Budget, cut

HOSTS = [f"h{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("canary", "wave", "sizes"),
    [(1, "25%", [1, 3, 3, 3]), (1, "50%", [1, 5, 4]), (0, "4", [4, 4, 2]), (2, "100%", [2, 8]), (10, "1", [10]),
     (1, "1%", [1] * 10), (20, "5", [10])],
)  # fmt: skip
def test_waves_have_every_host_once(canary: int, wave: str, sizes: list[int]) -> None:
    waves = cut(HOSTS, canary, Amount.parse(wave))
    assert [len(one) for one in waves] == sizes
    assert [host for one in waves for host in one] == HOSTS
    assert cut([], 1, Amount.parse(wave)) == []


@pytest.mark.parametrize("text", ["", "0", "0%", "-1", "101%", "1.5", "x", "5 %", "%", "9" * 9])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number"):
        Amount.parse(text)


@pytest.mark.parametrize(
    ("budget", "total", "limit"), [("1", 20, 1), ("3", 20, 3), ("10%", 100, 10), ("10%", 15, 2), ("1%", 10, 1)]
)
def test_a_budget_is_spent_when_so_many_have_failed(budget: str, total: int, limit: int) -> None:
    one = Budget(Amount.parse(budget))
    assert not one.spent(limit - 1, total)
    assert one.spent(limit, total)


def test_the_arithmetic_says_of_what_a_percentage_is() -> None:
    said = Budget(Amount.parse("10%")).arithmetic(7, 3, 100)
    assert (
        said == "10 (7 failed, 3 could not be reached) of a failure budget of 10% of the 100 hosts of this rollout = 10"
    )


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_store(f"sqlite:///{tmp_path / 'manager.db'}")


def test_a_rollout_is_written_down_and_counts_who_failed(engine: Engine) -> None:
    spec = Spec("r", "/d", cut(HOSTS, 1, Amount.parse("50%")), budget="30%")
    rollouts.create(engine, spec, 1.0)
    assert rollouts.read_spec(engine, "r") == spec
    with pytest.raises(RolloutThere):
        rollouts.create(engine, spec, 2.0)
    rows = {"h0": "done", "h1": "rolled-back", "h2": "unreachable", "h3": "nothing-to-do", "h4": "running"}
    for host, outcome in rows.items():
        rollouts.note(engine, "r", {"host": host, "outcome": outcome, "detail": "d", "operation": "o"}, 3.0)
    standing = rollouts.standing(engine, "r")
    assert (standing.failed, standing.named("unreachable")) == (["h1"], ["h2"])
    assert rollouts.tally(engine, "r") == Tally("active", "", 1, 1)
    assert rollouts.tally(engine, "r").verdict("30%", 10) == ""
    rollouts.note(engine, "r", {"host": "h5", "outcome": "unhealthy"}, 4.0)
    assert rollouts.tally(engine, "r").verdict("30%", 10).startswith("3 (2 failed, 1 could not be reached) of")
    for action in (lambda: rollouts.read_spec(engine, "x"), lambda: rollouts.standing(engine, "x"),
                   lambda: rollouts.set_state(engine, "x", "paused")):  # fmt: skip
        with pytest.raises(UnknownRollout):
            action()
