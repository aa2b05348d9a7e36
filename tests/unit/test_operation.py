"""An operation's folder: made before anything is changed, read back as it was asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made import host_at

from interlock.errors import Refused, UsageError
from interlock.host.context import Host
from interlock.system.trace import Trace, TracePointRaised
from interlock.upgrade import state as states
from interlock.upgrade.journal import Journal
from interlock.upgrade.operation import Operation, Request, create_operation, find_operation, list_operations, summary

REQUEST = Request("/srv/depot", ["LAB-1", "LAB-2"], isolation="gate", allow_unsigned=True, nice=5)
STAGED = {"files": {"a-1-1.noarch": "/c/a.rpm"}, "directory": "/c", "installed": []}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_at(tmp_path)


def create(host: Host) -> Operation:
    return create_operation(host, REQUEST, {"plan": 1}, STAGED)


def test_created_and_read_back(host: Host) -> None:
    operation = create(host)
    assert operation.id.startswith("20231114-221320-")
    assert operation.request() == REQUEST
    assert operation.read_json("plan.json") == {"plan": 1}
    assert operation.read_json("staged.json") == STAGED
    assert operation.state() == states.Staged(directory="/c")
    assert find_operation(host.paths, operation.id) == operation


def test_its_files_are_for_root_alone(host: Host) -> None:
    operation = create(host)
    folders = (host.paths.operations, operation.folder)
    assert [os.stat(folder).st_mode & 0o777 for folder in folders] == [0o700, 0o700]
    assert {os.stat(operation.path(name)).st_mode & 0o777 for name in ("request.json", "plan.json")} == {0o600}


def test_without_a_journal_nothing_is_changed(host: Host) -> None:
    Path(host.paths.root, "var/lib").mkdir(parents=True)
    Path(host.paths.state).write_text("a file where the folder must be")
    with pytest.raises(Refused, match=r"the journal in .* cannot be written"):
        create(host)


def test_the_trace_point_comes_when_all_is_there(host: Host) -> None:
    failing = Host(host.paths, host.runner, host.clock, host.proc, Trace({"operation.created": "raise"}))
    with pytest.raises(TracePointRaised):
        create(failing)
    (operation,) = list_operations(host.paths)
    assert operation.state() == states.Staged(directory="/c")


def test_operations_of_one_second_have_names_of_their_own(host: Host) -> None:
    made = {create(host).id for _ in range(5)}
    assert len(made) == 5
    assert [one.id for one in list_operations(host.paths)] == sorted(made)


def test_a_host_without_operations(host: Host) -> None:
    assert list_operations(host.paths) == []
    with pytest.raises(UsageError, match="no operation op-9"):
        find_operation(host.paths, "op-9")


def test_summaries(host: Host) -> None:
    operation = create(host)
    began = host.clock.now()
    assert summary(operation) == {"id": operation.id, "state": "staged", "detail": "", "began": began, "ended": None}
    host.clock.sleep(60)
    journal = Journal(operation.journal, host.clock, host.proc)
    journal.state(states.RolledBack(reason="a conflict"))
    journal.close()
    row = summary(operation)
    assert (row["state"], row["detail"], row["ended"]) == ("rolled-back", "a conflict", began + 60)


def test_a_damaged_journal_is_shown_as_such(host: Host) -> None:
    operation = create(host)
    Path(operation.journal).write_text("garbage\n")
    row = summary(operation)
    assert row["state"] == "unreadable"
    assert "damaged at line 1" in row["detail"]
    Path(operation.journal).write_text("")
    assert summary(operation)["state"] == "empty"


def test_operations_stay_in_order_when_the_clock_is_set_back(host: Host) -> None:
    names = [create(host).id]
    host.clock.sleep(-3600)
    names += [create(host).id, create(host).id]
    host.clock.sleep(7200)
    names.append(create(host).id)
    assert [one.id for one in list_operations(host.paths)] == names
    assert [name[:15] for name in names] == [
        "20231114-221320", "20231114-221321", "20231114-221322", "20231114-231320",
    ]  # fmt: skip


def test_when_it_began_is_not_a_time_of_day(host: Host) -> None:
    operation = create(host)
    maker = operation.records()[0].writer
    assert operation.began(maker.boot) == maker.started > 0
    assert operation.began("another boot") == 0
