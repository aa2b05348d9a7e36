"""The program of the lab's agents, with other commands in place of rpm."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from interlock.lab import agents


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    source = Path(agents.__file__).parent / "data" / "lab_agent.py"
    loaded = importlib.util.spec_from_file_location("lab_agent", source)
    assert loaded is not None
    assert loaded.loader is not None
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    yield module
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_storm_kills_what_still_runs_and_reaps_it(program: ModuleType, tmp_path: Path) -> None:
    program.QUERY = ("/bin/sleep", "60")
    killer = program.Killer(str(tmp_path / "storm"))
    killer.once()
    assert (killer.counts["runs"], killer.counts["kills"], killer.stuck) == (1, 1, [])
    assert '"kills": 1' in (tmp_path / "storm.json").read_text()


def test_storm_survives_that_rpm_is_gone_for_a_moment(program: ModuleType, tmp_path: Path) -> None:
    program.QUERY = ("/nonexistent/rpm", "-qa")
    killer = program.Killer(str(tmp_path / "storm"))
    killer.once()
    assert (killer.counts["runs"], killer.counts["failed"]) == (0, 1)


def test_reader_records_each_answer(program: ModuleType, tmp_path: Path) -> None:
    program.QUERY = ("/bin/sh", "-c", "echo one; echo two; echo careful >&2; exit 3")
    program.Reader(str(tmp_path / "reader")).once()
    heading, row = (tmp_path / "reader.tsv").read_text().splitlines()
    assert f"{heading}\n" == program.HEADER
    assert row.split("\t")[3:] == ["3", "2", "careful"]


def test_reader_records_a_query_without_an_answer_and_leaves_it_alone(program: ModuleType, tmp_path: Path) -> None:
    program.QUERY, program.HUNG_AFTER = ("/bin/sleep", "60"), 0.05
    reader = program.Reader(str(tmp_path / "reader"))
    reader.once()
    (pid,) = reader.left
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert "\thung\t0\t" in (tmp_path / "reader.tsv").read_text()
