"""Rollouts as they are written down: what was asked for, and how far each host is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Engine, func, insert, select, update

from interlock.errors import UsageError
from interlock.manager.drive import BACK, GOOD, UNREACHABLE
from interlock.manager.tables import ROLLOUT_HOSTS, ROLLOUTS
from interlock.manager.waves import Amount, Budget

WAITING, RUNNING, SKIPPED = "waiting", "running", "skipped"
NOT_FAILED = (WAITING, RUNNING, SKIPPED, UNREACHABLE, BACK, *GOOD)
ACTIVE, PAUSED, STOPPED, ABORTED, COMPLETE = "active", "paused", "stopped", "aborted", "complete"


class UnknownRollout(UsageError):
    """No rollout has the name {rollout}."""

    hint = "`interlock rollouts list` has the names."


class RolloutThere(UsageError):
    """A rollout has the name {rollout} already."""

    hint = "Give it another name; `interlock rollouts resume {rollout}` goes on with that one."


@dataclass(frozen=True)
class Spec:
    """What a rollout is to do. ``soak`` is how long to wait after each wave, ``patience`` for a host, in seconds."""

    name: str
    depot: str
    waves: list[list[str]]
    bulletins: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    health: str = ""
    budget: str = "1"
    soak: float = 0.0
    patience: float = 1800.0
    take_back: bool = True
    reboot: bool = False

    @property
    def total(self) -> int:
        """How many hosts it is about."""
        return sum(map(len, self.waves))


@dataclass(frozen=True)
class Standing:
    """How a rollout stands: its hosts by outcome."""

    state: str
    reason: str
    hosts: Sequence[dict[str, Any]]

    def named(self, *outcomes: str) -> list[str]:
        """Return the hosts of these outcomes."""
        return [str(one["host"]) for one in self.hosts if one["outcome"] in outcomes]

    @property
    def failed(self) -> list[str]:
        """The hosts that could be reached, and failed."""
        return [str(one["host"]) for one in self.hosts if one["outcome"] not in NOT_FAILED]


@dataclass(frozen=True)
class Tally:
    """How a rollout stands, counted."""

    state: str
    reason: str
    failed: int
    unreachable: int

    def verdict(self, budget: str, total: int) -> str:
        """Return the arithmetic where the failure budget is spent, else nothing."""
        limit = Budget(Amount.parse(budget))
        spent = limit.spent(self.failed + self.unreachable, total)
        return limit.arithmetic(self.failed, self.unreachable, total) if spent else ""


def create(engine: Engine, spec: Spec, now: float) -> None:
    """Write a rollout down. Raises RolloutThere."""
    with engine.begin() as connection:
        if connection.execute(select(ROLLOUTS.c.name).where(ROLLOUTS.c.name == spec.name)).scalar():
            raise RolloutThere(rollout=spec.name)
        connection.execute(insert(ROLLOUTS).values(
            name=spec.name, spec=asdict(spec), state=ACTIVE, reason="", created_at=now))  # fmt: skip
        rows = [{"rollout": spec.name, "host": host, "wave": number, "outcome": WAITING, "detail": "", "operation": ""}
                for number, wave in enumerate(spec.waves) for host in wave]  # fmt: skip
        connection.execute(insert(ROLLOUT_HOSTS), rows)


def read_spec(engine: Engine, name: str) -> Spec:
    """Return what a rollout is to do. Raises UnknownRollout."""
    with engine.connect() as connection:
        row = connection.execute(select(ROLLOUTS.c.spec).where(ROLLOUTS.c.name == name)).scalar()
    if row is None:
        raise UnknownRollout(rollout=name)
    return Spec(**row)


def standing(engine: Engine, name: str) -> Standing:
    """Return how a rollout stands. Raises UnknownRollout."""
    with engine.connect() as connection:
        row = connection.execute(select(ROLLOUTS).where(ROLLOUTS.c.name == name)).first()
        if row is None:
            raise UnknownRollout(rollout=name)
        hosts = connection.execute(
            select(ROLLOUT_HOSTS)
            .where(ROLLOUT_HOSTS.c.rollout == name)
            .order_by(ROLLOUT_HOSTS.c.wave, ROLLOUT_HOSTS.c.host)
        )
        return Standing(row.state, row.reason, [dict(one._mapping) for one in hosts])


def tally(engine: Engine, name: str) -> Tally:
    """Count how a rollout stands, whatever its size. Raises UnknownRollout."""
    column = ROLLOUT_HOSTS.c.outcome
    with engine.connect() as connection:
        row = connection.execute(select(ROLLOUTS.c.state, ROLLOUTS.c.reason).where(ROLLOUTS.c.name == name)).first()
        if row is None:
            raise UnknownRollout(rollout=name)
        rows = connection.execute(
            select(column, func.count(column)).where(ROLLOUT_HOSTS.c.rollout == name).group_by(column)
        ).all()
    counts: dict[str, int] = {str(one[0]): one[1] for one in rows}
    failed = sum(number for outcome, number in counts.items() if outcome not in NOT_FAILED)
    return Tally(str(row.state), str(row.reason), failed, counts.get(UNREACHABLE, 0))


def names(engine: Engine) -> list[tuple[str, str, float]]:
    """Return name, state and time of each rollout, oldest first."""
    with engine.connect() as connection:
        rows = connection.execute(select(ROLLOUTS).order_by(ROLLOUTS.c.created_at)).all()
    return [(str(row.name), str(row.state), float(row.created_at)) for row in rows]


def set_state(engine: Engine, name: str, state: str, reason: str = "") -> None:
    """Write down the state of a rollout. Raises UnknownRollout."""
    with engine.begin() as connection:
        done = connection.execute(
            update(ROLLOUTS).where(ROLLOUTS.c.name == name).values(state=state, reason=reason)
        ).rowcount
        if not done:
            raise UnknownRollout(rollout=name)


def note(engine: Engine, rollout: str, row: dict[str, Any], now: float) -> None:
    """Write down how far a host is."""
    values = {name: row[name] for name in ("outcome", "detail", "operation") if name in row}
    with engine.begin() as connection:
        connection.execute(
            update(ROLLOUT_HOSTS)
            .where(ROLLOUT_HOSTS.c.rollout == rollout, ROLLOUT_HOSTS.c.host == row["host"])
            .values(**values, changed_at=now)
        )
