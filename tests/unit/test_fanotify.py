"""Permission events for real: who opens a file in a guarded directory waits for our answer."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from made import finished

from interlock.system.fanotify import OpenGuard, OpenRequest


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[OpenGuard]:
    (tmp_path / "file").write_text("content")
    guard = OpenGuard(str(tmp_path))
    yield guard
    guard.close()


def opening(path: Path) -> int:
    """Start a child that opens a file: its status is 0 if it could read it, 3 if it was refused."""
    pid = os.fork()
    if pid == 0:
        status = 9
        # The guard's descriptor, too: with it open, its events would outlive the guard.
        os.closerange(3, 1024)
        try:
            status = 0 if os.read(os.open(path, os.O_RDONLY), 100) == b"content" else 8
        except PermissionError:
            status = 3
        finally:
            os._exit(status)
    return pid


def next_request(guard: OpenGuard) -> OpenRequest:
    ready, _, _ = select.select([guard.descriptor], [], [], 20)
    assert ready, "nobody opens anything"
    (request,) = guard.read()
    return request


@pytest.mark.parametrize(("allow", "status"), [(True, 0), (False, 3)])
def test_the_answer_decides(guard: OpenGuard, tmp_path: Path, allow: bool, status: int) -> None:
    pid = opening(tmp_path / "file")
    request = next_request(guard)
    assert request.pid == pid
    assert os.readlink(f"/proc/self/fd/{request.descriptor}") == str(tmp_path / "file")
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    guard.answer(request, allow)
    assert finished(pid) == status
    with pytest.raises(OSError):
        os.fstat(request.descriptor)


def test_several_wait_and_are_answered_in_any_order(guard: OpenGuard, tmp_path: Path) -> None:
    pids = [opening(tmp_path / "file") for _ in range(3)]
    requests: dict[int, OpenRequest] = {}
    while len(requests) < 3:
        ready, _, _ = select.select([guard.descriptor], [], [], 20)
        assert ready
        requests.update({request.pid: request for request in guard.read()})
    statuses = {}
    for pid, allow in zip(reversed(pids), (True, False, True)):
        guard.answer(requests[pid], allow)
        statuses[pid] = finished(pid)
    assert [statuses[pid] for pid in reversed(pids)] == [0, 3, 0]


def test_nobody_waits_nothing_to_read(guard: OpenGuard) -> None:
    assert guard.read() == []


def test_a_process_that_was_killed_while_it_waited(guard: OpenGuard, tmp_path: Path) -> None:
    pid = opening(tmp_path / "file")
    request = next_request(guard)
    os.kill(pid, 9)
    assert finished(pid) == -9
    guard.answer(request, True)
    later = opening(tmp_path / "file")
    guard.answer(next_request(guard), True)
    assert finished(later) == 0


def test_who_waits_is_let_through_when_the_guard_goes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    guard = OpenGuard(str(tmp_path))
    pid = opening(tmp_path / "file")
    request = next_request(guard)
    guard.close()
    assert finished(pid) == 0
    os.close(request.descriptor)


def test_other_directories_are_left_alone(guard: OpenGuard, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/file").write_text("content")
    assert finished(opening(tmp_path / "inner/file")) == 0
    assert guard.read() == []


def test_a_directory_that_is_not_there_leaves_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        OpenGuard(str(tmp_path / "none"))
    assert os.listdir("/proc/self/fd") == before
