"""Trace points: the list and the sources agree, and each action does what it says."""

from __future__ import annotations

import ast
import os
import signal
from pathlib import Path

import pytest
from made import SOURCE, in_child

from interlock.errors import UsageError
from interlock.system.trace import POINTS, VARIABLE, Trace, TracePointRaised


def used_points() -> dict[str, list[str]]:
    """Return each point that the sources name with the files that do."""
    found: dict[str, list[str]] = {}
    for path in sorted((SOURCE / "interlock").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "point":
                argument = node.args[0]
                assert isinstance(argument, ast.Constant), f"{path} names a trace point that cannot be looked up"
                found.setdefault(str(argument.value), []).append(path.name)
    return found


def test_every_point_is_used_and_every_use_is_listed() -> None:
    assert sorted(used_points()) == sorted(POINTS)


def test_a_point_stands_at_one_place() -> None:
    assert {name: files for name, files in used_points().items() if len(files) > 1} == {}


def test_every_point_says_where_it_is() -> None:
    assert all(POINTS.values())


def test_unknown_points_are_refused() -> None:
    with pytest.raises(UsageError, match=r"INTERLOCK_TRACE names unknown trace points: aplied, none"):
        Trace.from_environment({VARIABLE: "applied=kill,aplied=kill,none=raise"})


@pytest.mark.parametrize("action", ["kil", "", "run", "raise "])
def test_unknown_actions_are_refused(action: str) -> None:
    with pytest.raises(UsageError, match="unknown action at applied"):
        Trace.from_environment({VARIABLE: f"applied={action}"})


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}])
def test_without_settings_nothing_happens(environment: dict[str, str]) -> None:
    trace = Trace.from_environment(environment)
    for point in POINTS:
        trace.point(point)
    assert trace.actions == {}


def test_only_the_named_point_raises() -> None:
    trace = Trace.from_environment({VARIABLE: "verified=raise,prepared=kill"})
    trace.point("applied")
    with pytest.raises(TracePointRaised, match="verified"):
        trace.point("verified")


def test_kill() -> None:
    assert in_child(lambda: Trace({"done": "kill"}).point("done")) == -signal.SIGKILL


def test_stop() -> None:
    pid = os.fork()
    if pid == 0:
        Trace({"done": "stop"}).point("done")
        os._exit(0)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert os.WSTOPSIG(status) == signal.SIGSTOP
    os.kill(pid, signal.SIGCONT)
    assert os.waitpid(pid, 0)[1] == 0


def test_run_is_run_to_its_end_whatever_its_status(tmp_path: Path) -> None:
    target = tmp_path / "there"
    Trace({"done": f"run:echo a=b > {target}; exit 3"}).point("done")
    assert target.read_text() == "a=b\n"
