"""The states of an operation and the one table of allowed transitions. Pure.

States are values that carry what is known once they are reached. ``advance`` is the only way from one to the next;
every pair that the table does not list raises. ``diagram`` draws the table for the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from interlock.errors import InterlockError


class IllegalTransition(InterlockError):
    """An operation cannot go from {previous} to {following}."""

    hint = "This is a defect of Interlock; the journal of the operation shows how it came about."


@dataclass(frozen=True)
class State:
    """One state of an operation."""

    name: ClassVar[str] = ""

    def data(self) -> dict[str, Any]:
        """Return what this state knows, for the journal."""
        return asdict(self)


@dataclass(frozen=True)
class Planned(State):
    """The changes are known and agreed to."""

    name: ClassVar[str] = "planned"
    packages: int


@dataclass(frozen=True)
class Staged(State):
    """Every package lies on the host, its digest and signature checked."""

    name: ClassVar[str] = "staged"
    directory: str


@dataclass(frozen=True)
class Prepared(State):
    """The lock is held, the shadow made (or the gate raised), everything needed later loaded."""

    name: ClassVar[str] = "prepared"
    isolation: str
    database: str
    shadow: str


@dataclass(frozen=True)
class Applying(State):
    """rpm changes files."""

    name: ClassVar[str] = "applying"
    worker: int


@dataclass(frozen=True)
class Applied(State):
    """rpm has returned."""

    name: ClassVar[str] = "applied"
    failed_scripts: tuple[str, ...]


@dataclass(frozen=True)
class Verified(State):
    """The new state was looked at and is the planned one."""

    name: ClassVar[str] = "verified"
    files: int
    packages: int


@dataclass(frozen=True)
class Committed(State):
    """Everybody sees the new database; the old one is kept at ``previous``."""

    name: ClassVar[str] = "committed"
    previous: str


@dataclass(frozen=True)
class Done(State):
    """Nothing is left to do."""

    name: ClassVar[str] = "done"


@dataclass(frozen=True)
class RollingBack(State):
    """What was done is being undone."""

    name: ClassVar[str] = "rolling-back"
    reason: str


@dataclass(frozen=True)
class RolledBack(State):
    """The host is as before."""

    name: ClassVar[str] = "rolled-back"
    reason: str


@dataclass(frozen=True)
class OnHold(State):
    """A person is needed."""

    name: ClassVar[str] = "held"
    reason: str
    kept: str


FORWARD: list[type[State]] = [Planned, Staged, Prepared, Applying, Applied, Verified, Committed, Done]
ALL: list[type[State]] = [*FORWARD, RollingBack, RolledBack, OnHold]
STATES: Mapping[str, type[State]] = {state.name: state for state in ALL}
Edge = tuple[type[State], type[State]]
_EDGES: list[Edge] = [
    *zip(FORWARD, FORWARD[1:]),
    *((state, RollingBack) for state in FORWARD),
    *((state, OnHold) for state in FORWARD),
    (RollingBack, RolledBack),
    (RollingBack, OnHold),
    (OnHold, RollingBack),
]
TRANSITIONS: frozenset[Edge] = frozenset(_EDGES)


def advance(previous: State, following: State) -> State:
    """Return ``following`` if the table lists the pair, else raise IllegalTransition."""
    if (type(previous), type(following)) not in TRANSITIONS:
        raise IllegalTransition(previous=previous.name, following=following.name)
    return following


def final(state: State) -> bool:
    """Say whether an operation in this state has ended (a held one waits for a person)."""
    return isinstance(state, (Done, RolledBack, OnHold))


def restore(name: str, data: Mapping[str, Any]) -> State:
    """Return the state that ``State.data`` described; KeyError or TypeError where there is none such."""
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return STATES[name](**fields)


def diagram() -> str:
    """Return the table as a Mermaid state diagram, in a stable order."""
    order = {name: number for number, name in enumerate(STATES)}
    pairs = sorted(
        ((one.name, other.name) for one, other in TRANSITIONS), key=lambda pair: [order[name] for name in pair]
    )
    lines = ["stateDiagram-v2", "    [*] --> planned"]
    lines += [f"    {_label(one)} --> {_label(other)}" for one, other in pairs]
    lines += ["    done --> [*]", "    rolled_back --> [*]"]
    return "\n".join(lines)


def _label(name: str) -> str:
    return name.replace("-", "_")
