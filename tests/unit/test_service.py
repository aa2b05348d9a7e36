"""Following an engine from outside: to its end, or to the moment when it is gone without a word."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from made import MadeProc, host_at

from interlock.errors import RolledBack
from interlock.events import EventWriter
from interlock.host.context import Host
from interlock.system.clock import ManualClock
from interlock.upgrade import service
from interlock.upgrade import state as states
from interlock.upgrade.journal import Journal
from interlock.upgrade.operation import Operation, Request, create_operation
from interlock.upgrade.service import START_LIMIT, EngineVanished, follow, launch, own_command, running, unit_name

END = {"state": "done", "exit_status": 0, "message": "well", "hint": "", "error": None}


@pytest.fixture
def made(tmp_path: Path) -> MadeProc:
    made = MadeProc(tmp_path / "proc")
    made.process(os.getpid(), command="interlock engine")
    return made


@pytest.fixture
def host(tmp_path: Path, made: MadeProc) -> Host:
    return host_at(tmp_path, made.reader)


@pytest.fixture
def operation(host: Host) -> Operation:
    return create_operation(host, Request("/d", []), {}, {})


def engine_begins(host: Host, operation: Operation, *reached: states.State) -> None:
    journal = Journal(operation.journal, host.clock, host.proc)
    journal.intent("engine", version="1")
    for state in reached:
        journal.state(state)
    journal.close()


def engine_dies(made: MadeProc) -> None:
    os.unlink(made.root / str(os.getpid()) / "stat")


class Script(ManualClock):
    """A clock that does the next thing whenever somebody waits."""

    def __init__(self, *steps: Any) -> None:
        super().__init__()
        self.steps = list(steps)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        assert self.steps, "it waits for something that does not come"
        self.steps.pop(0)()


def with_clock(host: Host, clock: ManualClock) -> Host:
    return Host(host.paths, host.runner, clock, host.proc, host.trace)


def tell(host: Host, operation: Operation, first: int, *events: tuple[str, dict[str, Any]]) -> None:
    with open(operation.events, "a", encoding="utf-8") as stream:
        writer = EventWriter(stream, operation.id, host.clock, first)
        for kind, fields in events:
            writer.emit(kind, **fields)


def test_each_event_is_told_once_until_the_end(host: Host, operation: Operation) -> None:
    engine_begins(host, operation)
    clock = Script(
        lambda: tell(host, operation, 1, ("note", {"text": "a"})),
        lambda: None,
        lambda: tell(host, operation, 2, ("note", {"text": "b"}), ("operation.ended", END)),
    )
    told: list[int] = []
    end = follow(with_clock(host, clock), operation, lambda event: told.append(event["seq"]))
    assert told == [1, 2, 3]
    assert (end["type"], end["message"]) == ("operation.ended", "well")


def test_an_end_that_came_just_before_the_engine_went_is_not_missed(
    host: Host, operation: Operation, made: MadeProc
) -> None:
    engine_begins(host, operation)

    def last_words() -> None:
        tell(host, operation, 1, ("operation.ended", END))
        engine_dies(made)

    assert follow(with_clock(host, Script(last_words)), operation, lambda _event: None)["exit_status"] == 0


def test_an_engine_that_is_gone_before_anything_was_changed(host: Host, operation: Operation, made: MadeProc) -> None:
    engine_begins(host, operation)
    engine_dies(made)
    with pytest.raises(RolledBack, match="ended before it changed anything"):
        follow(host, operation, lambda _event: None)


def test_an_engine_that_is_gone_in_the_middle(host: Host, operation: Operation, made: MadeProc) -> None:
    engine_begins(host, operation, states.Applying(worker=7))
    engine_dies(made)
    with pytest.raises(EngineVanished, match="in the state applying") as caught:
        follow(host, operation, lambda _event: None)
    assert caught.value.exit_status == 5


def test_who_asked_is_not_the_engine(host: Host, operation: Operation, made: MadeProc) -> None:
    assert not running(host, operation)
    engine_begins(host, operation)
    assert running(host, operation)
    engine_dies(made)
    assert not running(host, operation)


@pytest.mark.parametrize("systemd", [True, False])
def test_an_engine_that_never_says_anything(
    host: Host, operation: Operation, systemd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.os.path, "isdir", lambda path: systemd and path == "/run/systemd/system")
    monkeypatch.setattr(type(host.runner), "start", lambda _self, argv, **_more: host.runner.run(argv))
    began = host.clock.now()
    with pytest.raises(RolledBack):
        launch(host, operation)
    assert host.clock.now() - began > START_LIMIT
    (argv,) = host.runner.asked  # type: ignore[attr-defined]
    assert argv[-2:] == ("engine", operation.id)
    assert (argv[0] == "systemd-run") is systemd
    assert (f"--unit={unit_name(operation)}" in argv) is systemd


def test_it_returns_when_the_engine_has_begun(host: Host, operation: Operation) -> None:
    clock = Script(lambda: None, lambda: engine_begins(host, operation))
    launch(with_clock(host, clock), operation)
    assert clock.steps == []


@pytest.mark.parametrize(
    ("started", "again"),
    [
        ("/usr/local/bin/interlock", ["/usr/local/bin/interlock"]),
        ("/x/interlock/__main__.py", ["-m", "interlock"]),
        ("/x/interlock.pyz", ["/x/interlock.pyz"]),
    ],
)
def test_how_it_is_started_again(started: str, again: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [started, "update"])
    assert own_command() == [sys.executable, *again]
