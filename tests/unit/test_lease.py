"""The lease: one owner at a time, named, and free at once when it dies."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from made import heard, host_at, python

from interlock.errors import Busy
from interlock.host.context import Host
from interlock.host.lease import Lease, Owner, busy, current_owner, read_owner

OWNER = (
    "import sys\nfrom interlock.host.lease import Lease\nfrom interlock.host.paths import Paths\n"
    "from interlock.system.clock import ManualClock\nfrom interlock.system.proc import ProcReader\n"
    "with Lease(Paths(sys.argv[1]), 'op-1', ManualClock(), ProcReader()):\n"
    "    print('held', flush=True)\n    sys.stdin.readline()\n"
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_at(tmp_path)


def lease(host: Host, operation: str = "op-2") -> Lease:
    return Lease(host.paths, operation, host.clock, host.proc)


def test_nobody_owns_a_new_host(host: Host) -> None:
    assert current_owner(host.paths) is None
    with lease(host):
        pass
    assert current_owner(host.paths) is None


def test_another_process_is_refused_and_told_who_has_it_since_when(host: Host) -> None:
    with python(OWNER, host.paths.root) as owner:
        assert heard(owner) == "held"
        host.clock.sleep(300)
        with pytest.raises(Busy) as caught, lease(host):
            pass
        assert f"operation op-1 ({host.proc.command(owner.pid)}, pid {owner.pid})" in str(caught.value)
        assert caught.value.fields["age"] == "5 min ago"
        found = current_owner(host.paths)
        assert found is not None
        assert (found.operation, found.pid) == ("op-1", owner.pid)


def test_a_dead_owner_has_nothing(host: Host) -> None:
    with python(OWNER, host.paths.root) as owner:
        assert heard(owner) == "held"
    assert current_owner(host.paths) is None
    left = read_owner(host.paths)
    assert left is not None, "the content stays, the lock is what counts"
    assert left.operation == "op-1"
    with lease(host):
        found = current_owner(host.paths)
        assert found is not None
        assert (found.operation, found.pid, found.since) == ("op-2", os.getpid(), host.clock.now())


def test_the_file_is_never_replaced(host: Host) -> None:
    with lease(host, "a-long-name-of-an-operation"):
        inode = os.stat(host.paths.lease).st_ino
    with lease(host, "b"):
        assert os.stat(host.paths.lease).st_ino == inode
        assert json.loads(Path(host.paths.lease).read_text())["operation"] == "b"


def test_a_second_lease_of_the_same_process_is_refused_and_takes_nothing_away(host: Host) -> None:
    with lease(host):
        with pytest.raises(Busy), lease(host, "op-3"):
            pass
        found = current_owner(host.paths)
        assert found is not None
        assert found.operation == "op-2"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"operation": "x"}', '{"unknown": 1}', "\udcff"])
def test_a_name_that_cannot_be_read_is_busy_all_the_same(host: Host, content: str) -> None:
    with lease(host):
        Path(host.paths.lease).write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(Busy, match="has not written its name yet"), lease(host):
            pass


def test_the_age_in_the_message(host: Host) -> None:
    error = busy(Owner("op-9", "interlock engine op-9", 77, host.clock.now() - 7500), host.clock)
    assert str(error) == (
        "Another owner is at work: operation op-9 (interlock engine op-9, pid 77), since 2 h 5 min ago."
    )
