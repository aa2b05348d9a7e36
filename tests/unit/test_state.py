"""The table of states: every pair of states is either listed or refused."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import pytest

from interlock.upgrade import state as states

DESIGN = Path(__file__).resolve().parents[2] / "docs" / "design.md"


def example(kind: type[states.State]) -> states.State:
    values = {"str": "x", "int": 1, "Tuple[str, ...]": ("%post of a",), "tuple[str, ...]": ("%post of a",)}
    return kind(**{field.name: values[str(field.type)] for field in dataclasses.fields(kind)})


ALL = [example(kind) for kind in states.STATES.values()]


@pytest.mark.parametrize(("one", "other"), list(itertools.product(ALL, ALL)), ids=lambda state: state.name)
def test_every_pair(one: states.State, other: states.State) -> None:
    if (type(one), type(other)) in states.TRANSITIONS:
        assert states.advance(one, other) is other
    else:
        with pytest.raises(states.IllegalTransition, match=f"{one.name} to {other.name}"):
            states.advance(one, other)


@pytest.mark.parametrize("state", ALL, ids=lambda state: state.name)
def test_a_state_survives_the_journal(state: states.State) -> None:
    assert states.restore(state.name, state.data()) == state


def test_there_is_a_way_back_from_every_state_forward() -> None:
    for kind in states.FORWARD:
        assert (kind, states.RollingBack) in states.TRANSITIONS
        assert (kind, states.OnHold) in states.TRANSITIONS


def test_ends_have_no_way_forward() -> None:
    assert not [pair for pair in states.TRANSITIONS if pair[0] is states.RolledBack]
    assert {state.name for state in ALL if states.final(state)} == {"done", "rolled-back", "held"}


def test_the_diagram_in_the_documentation_is_current() -> None:
    found = re.search(r"```mermaid\n(stateDiagram-v2.*?)\n```", DESIGN.read_text(), re.DOTALL)
    assert found is not None
    assert found.group(1) == states.diagram()
