"""The engine's side of a worker: what it says is heard, and its end is seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from made import finished

from interlock.system.trace import Trace
from interlock.upgrade import worker as workers
from interlock.upgrade.process import WorkerEnded, WorkerProcess
from interlock.upgrade.worker import Job, Worker


@pytest.fixture
def job(tmp_path: Path) -> Job:
    for name in ("database", "shadow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    return Job(
        elements=(), removed={"gone": "gone-1-1.noarch"}, database=str(tmp_path / "database"),
        shadow=str(tmp_path / "shadow"), lock="", output=str(tmp_path / "output"), nice=3,
    )  # fmt: skip


def working(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    """Let the worker do something instead of loading packages."""
    monkeypatch.setattr(Worker, "_load", work)
    monkeypatch.setattr(Worker, "_wait_for_go", lambda _self: False)


def said(worker: WorkerProcess) -> dict[str, Any]:
    message = worker.message(20)
    assert message is not None, "the worker says nothing"
    return message


def test_it_sees_the_shadow_in_the_place_of_the_database_and_others_do_not(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(worker: Worker) -> None:
        shown = Path(job.database, "name").read_text()
        worker._tell("seen", shown=shown, nice=os.nice(0))
        os.write(1, b"from a scriptlet\n")
        worker._tell("output", text=worker._new_output())

    working(monkeypatch, look)
    nice = os.nice(0)
    with WorkerProcess(job, Trace({})) as worker:
        assert said(worker) == {"kind": "seen", "shown": "shadow", "nice": nice + 3}
        assert said(worker)["text"] == "from a scriptlet"
        assert Path(job.database, "name").read_text() == "database"
        with pytest.raises(WorkerEnded, match="ended with status 0"):
            worker.message(20)


def test_names_that_are_no_text_come_through(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    name = b"/srv/\xff\n".decode("utf-8", "surrogateescape")
    working(monkeypatch, lambda worker: worker._tell("package", files=[name] * 20_000))
    with WorkerProcess(job, Trace({})) as worker:
        assert said(worker)["files"] == [name] * 20_000


def test_without_bindings_it_says_so(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("No module named 'rpm'")

    monkeypatch.setattr(workers, "load_bindings", missing)
    with WorkerProcess(job, Trace({})) as worker:
        assert said(worker) == {"kind": "failed", "detail": "ImportError: No module named 'rpm'"}
        with pytest.raises(WorkerEnded, match="ended with status 1"):
            worker.message(20)


def test_a_worker_that_is_killed_is_named_by_its_signal(job: Job) -> None:
    with WorkerProcess(job, Trace({"worker.started": "kill"})) as worker, pytest.raises(WorkerEnded, match="SIGKILL"):
        worker.message(20)


def test_silence_is_no_message(job: Job) -> None:
    with WorkerProcess(job, Trace({"worker.started": "stop"})) as worker:
        assert worker.message(0.0) is None
        os.kill(worker.pid, 9)


def test_an_error_of_the_engine_ends_the_worker(job: Job) -> None:
    pids: list[int] = []

    def fail() -> None:
        with WorkerProcess(job, Trace({"worker.started": "stop"})) as worker:
            pids.append(worker.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with pytest.raises(ChildProcessError):
        finished(pids[0])


def test_an_engine_that_lets_go_ends_the_worker_without_a_transaction(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "_load", lambda worker: worker._tell("checked", problems=[]))
    monkeypatch.setattr(Worker, "_run", lambda worker: worker._tell("ran"))
    before = sorted(os.listdir("/proc/self/fd"))
    with WorkerProcess(job, Trace({})) as worker:
        assert said(worker)["kind"] == "checked"
    assert sorted(os.listdir("/proc/self/fd")) == before
    with WorkerProcess(job, Trace({})) as worker:
        assert said(worker)["kind"] == "checked"
        worker.go()
        assert said(worker)["kind"] == "ran"
