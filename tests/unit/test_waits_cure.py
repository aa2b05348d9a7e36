"""The frame of a cure: never against progress, recorded, copied first, and taken back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made import host_at, make_bdb

from interlock.host.context import Host
from interlock.waits import plan_cure as planning
from interlock.waits import treat
from interlock.waits.cure import Cure, Step
from interlock.waits.facts import Database, Facts, FileLock, Process
from interlock.waits.finding import PROVEN, Finding
from interlock.waits.hands import StepFailed, Treatment

FINDING = Finding("sqlite-malformed", PROVEN, ("integrity_check says so",))
LOCK = "/var/lib/rpm/.rpm.lock"


def facts(moving: frozenset[int] = frozenset(), path: str = "/var/lib/rpm") -> Facts:
    rpm = Process(7, "rpm", "rpm -U x", 1, "S", 100, 3.0)
    lock = FileLock(1, "POSIX", True, 7, LOCK, (8, 1), 99, 0, None, False)
    return Facts(0.0, Database(path, "bdb", (), LOCK), {7: rpm}, (lock,), moving=moving)


def planned(monkeypatch: pytest.MonkeyPatch, step: Step, now: Facts) -> Cure:
    monkeypatch.setitem(planning.CURES, FINDING.id, lambda finding, _: Cure(finding.id, (step,)))  # type: ignore[misc]
    return planning.plan_cure(FINDING, now)


def test_the_database_is_not_written_beside_a_transaction_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step("rebuild", "rebuild it", writes=True)
    assert planned(monkeypatch, step, facts()).steps == (step,)
    refused = planned(monkeypatch, step, facts(frozenset({7})))
    assert (refused.steps, "pid 7" in refused.decide) == ((), True)


def test_a_transaction_that_moves_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step("end", "end it", {"pids": [7]})
    assert planned(monkeypatch, step, facts()).steps == (step,)
    assert planned(monkeypatch, step, facts(frozenset({7}))).steps == ()


def test_others_may_be_ended_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step("end", "end it", {"pids": [8]})
    assert planned(monkeypatch, step, facts(frozenset({7}))).steps == (step,)


@pytest.fixture
def treatment(tmp_path: Path) -> Treatment:
    database = make_bdb(tmp_path / "rpm")
    Path(database.path, "__db.001").write_bytes(b"region")
    return treat.begin(host_at(tmp_path), facts(path=database.path), [FINDING], ["a-1-1.noarch"])


def record(treatment: Treatment) -> Any:
    return json.loads(Path(treatment.folder, "record.json").read_text())


def test_every_file_is_copied_as_it_is_before_the_first_step(treatment: Treatment) -> None:
    copy, source = Path(treatment.folder, "database"), Path(treatment.database)
    assert {path.name for path in copy.iterdir()} == {path.name for path in source.iterdir() if path.is_file()}
    assert (copy / "__db.001").read_bytes() == b"region"
    assert record(treatment)["packages"] == ["a-1-1.noarch"]


def hand(said: str) -> treat.Hand:
    def act(_treatment: Treatment, data: Mapping[str, Any]) -> str:
        if data.get("fails"):
            raise StepFailed(detail="it does not work")
        return said

    return act


def test_the_first_step_that_fails_ends_the_cure(treatment: Treatment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(treat.HANDS, "act", hand("acted"))  # type: ignore[misc]
    steps = (Step("act", "first"), Step("act", "second", {"fails": True}), Step("act", "third"))
    said: list[str] = []
    outcome = treat.carry_out(treatment, Cure(FINDING.id, steps), said.append)
    assert (outcome.done, said) == (["acted"], ["acted"])
    assert outcome.error == "second: it does not work."
    assert [note.get("text") for note in record(treatment)["notes"] if "text" in note] == ["first", "second"]


def test_missing_packages_are_those_that_no_step_meant_to_remove() -> None:
    assert treat.lost_packages(["a-1", "b-1", "b-2"], ["a-1", "b-2"], ["b-1"]) == []
    assert treat.lost_packages(["a-1", "b-1"], ["b-1", "c-1"], []) == ["a-1"]


def test_an_unknown_cure_is_named_with_those_that_there_are(treatment: Treatment) -> None:
    host: Host = treatment.host
    with pytest.raises(treat.UnknownCure, match=os.path.basename(treatment.folder)):
        treat.undo(host, "20200101-000000-1")
