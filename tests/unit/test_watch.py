"""A scriptlet that takes long is reported, with what its processes are doing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made import MadeProc

from interlock.events import check_fields
from interlock.system.clock import ManualClock
from interlock.upgrade.watch import FIRST_REPORT, ScriptWatch, descendants


class Told:
    """Takes events, only such as the schema has."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def emit(self, kind: str, **fields: Any) -> None:
        check_fields(kind, fields)
        self.rows.append(fields)


@pytest.fixture
def made(tmp_path: Path) -> MadeProc:
    made = MadeProc(tmp_path / "proc")
    made.process(100, command="interlock engine")
    return made


@pytest.fixture
def told() -> Told:
    return Told()


def test_reports_come_at_ten_seconds_and_when_the_age_has_doubled(made: MadeProc, told: Told) -> None:
    clock = ManualClock()
    watch = ScriptWatch(told, clock, made.reader, 100)
    watch.started("a-1-1.noarch", "%post")
    for _ in range(100):
        clock.sleep(1)
        watch.tick()
    assert [row["seconds"] for row in told.rows] == [10, 20, 40, 80]
    assert {(row["package"], row["script"]) for row in told.rows} == {("a-1-1.noarch", "%post")}


def test_a_quick_one_is_not_reported_and_the_next_starts_anew(made: MadeProc, told: Told) -> None:
    clock = ManualClock()
    watch = ScriptWatch(told, clock, made.reader, 100)
    watch.tick()
    watch.started("a-1-1.noarch", "%pre")
    clock.sleep(FIRST_REPORT - 0.1)
    watch.tick()
    watch.ended()
    clock.sleep(100)
    watch.tick()
    watch.started("a-1-1.noarch", "%post")
    clock.sleep(FIRST_REPORT)
    watch.tick()
    assert [(row["script"], row["seconds"]) for row in told.rows] == [("%post", FIRST_REPORT)]


def test_its_processes_are_named_with_where_they_sleep(made: MadeProc, told: Told) -> None:
    made.process(101, command="/bin/sh /var/tmp/rpm-tmp.x", parent=100)
    made.process(102, command="rpm -q a", parent=101, state="D")
    made.put("102/wchan", "futex_wait")
    made.process(103, name="gone", parent=101)
    made.process(200, command="other", parent=1)
    expected = [
        "/bin/sh /var/tmp/rpm-tmp.x (pid 101, S)", "rpm -q a (pid 102, D in futex_wait)", "[gone] (pid 103, S)",
    ]  # fmt: skip
    assert descendants(made.reader, 100) == expected
    clock = ManualClock()
    watch = ScriptWatch(told, clock, made.reader, 100)
    watch.started("a-1-1.noarch", "%post")
    clock.sleep(60)
    watch.tick()
    assert told.rows[0]["waits"] == "; ".join(expected)


def test_a_scriptlet_without_a_process(made: MadeProc, told: Told) -> None:
    clock = ManualClock()
    watch = ScriptWatch(told, clock, made.reader, 100)
    watch.started("a-1-1.noarch", "%post")
    clock.sleep(60)
    watch.tick()
    assert told.rows[0]["waits"] == "no process of it is left"
