"""The pre-flight: the worst reason decides, and what is unknown never counts as allowed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from made import MadeProc, host_at, make_bdb

from interlock.host.context import Host
from interlock.host.hold import Hold, put_on_hold
from interlock.host.lease import Lease
from interlock.package import Nevra, Package
from interlock.rpmdb import shadow
from interlock.rpmdb.backend import Database, NoDatabase
from interlock.rpmdb.lock import RpmLock
from interlock.system.proc import ProcReader
from interlock.upgrade import preflight as preflights
from interlock.upgrade.operation import Request, create_operation
from interlock.upgrade.preflight import Reason, Verdict, preflight


@pytest.fixture
def made(tmp_path: Path) -> MadeProc:
    made = MadeProc(tmp_path / "proc")
    made.process(os.getpid(), command="interlock check")
    return made


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return make_bdb(tmp_path / "lib/rpm")


@pytest.fixture
def host(tmp_path: Path, made: MadeProc, database: Database, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = host_at(tmp_path, made.reader)
    os.makedirs(host.paths.state)
    holds(monkeypatch, database)
    return host


def holds(monkeypatch: pytest.MonkeyPatch, database: Database, *nevras: str) -> None:
    """Let the host's database hold some packages."""
    packages = tuple(Package(Nevra.parse(one)) for one in (nevras or ("a-1-1.noarch",)))
    monkeypatch.setattr(preflights, "read_installed", lambda _host: (database, packages))


def reason(verdict: Verdict, subject: str) -> Reason:
    (found,) = [one for one in verdict.reasons if one.subject == subject]
    return found


def test_a_host_in_order(host: Host) -> None:
    verdict = preflight(host)
    assert (verdict.answer, verdict.exit_status) == ("allow", 0)
    assert {one.level for one in verdict.reasons} <= {"ok", "note"}
    assert {one.subject for one in verdict.reasons} == {
        "user", "hold", "lease", "operations", "systemd", "package database", "duplicates", "rpm's lock", "isolation",
        "space", "agents",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "answer", "status"),
    [
        ([], "allow", 0), (["ok", "note"], "allow", 0), (["unknown"], "unknown", 3), (["unknown", "deny"], "deny", 6),
        (["note", "deny", "deny"], "deny", 5),
    ],
)  # fmt: skip
def test_the_worst_decides(levels: Sequence[str], answer: str, status: int) -> None:
    statuses = {"ok": 0, "note": 0, "unknown": 3, "deny": 6 if "unknown" in levels else 5}
    verdict = Verdict([Reason("x", level, "", statuses[level]) for level in levels])
    assert (verdict.answer, verdict.exit_status) == (answer, status)


def test_the_first_that_denies_gives_the_status() -> None:
    verdict = Verdict([Reason("a", "unknown", "", 3), Reason("b", "deny", "", 5), Reason("c", "deny", "", 6)])
    assert verdict.exit_status == 5


def test_a_database_that_cannot_be_read_is_unknown(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_host: Host) -> None:
        raise NoDatabase(path="/var/lib/rpm")

    monkeypatch.setattr(preflights, "read_installed", fail)
    verdict = preflight(host)
    assert (verdict.answer, verdict.exit_status) == ("unknown", 3)
    assert "/var/lib/rpm" in reason(verdict, "package database").detail


def test_a_host_on_hold(host: Host) -> None:
    put_on_hold(host.paths, Hold("op-1", "its engine died", 1.0))
    verdict = preflight(host)
    assert (verdict.answer, verdict.exit_status) == ("deny", 5)
    assert reason(verdict, "hold").detail == "operation op-1: its engine died"


def test_a_host_that_somebody_works_on(host: Host) -> None:
    with Lease(host.paths, "op-1", host.clock, host.proc):
        verdict = preflight(host)
    assert (verdict.answer, verdict.exit_status) == ("deny", 6)
    assert "operation op-1 (interlock check" in reason(verdict, "lease").detail
    assert reason(verdict, "operations").detail == "one is running"


def test_an_operation_that_was_cut_off_is_no_obstacle(host: Host, made: MadeProc) -> None:
    operation = create_operation(host, Request("/d", []), {}, {})
    made.process(os.getpid(), started=99)
    verdict = preflight(host)
    assert verdict.answer == "allow"
    assert reason(verdict, "operations").detail == f"{operation.id} was cut off; the next update settles it first"


def test_rpm_at_work(host: Host, made: MadeProc, database: Database) -> None:
    made.process(50, command="rpm -Uvh a.rpm")
    made.put("locks", f"1: POSIX  ADVISORY  WRITE 50 fd:01:{os.stat(database.lock).st_ino} 0 EOF\n")
    verdict = preflight(host)
    assert (verdict.answer, verdict.exit_status) == ("deny", 6)
    assert "rpm -Uvh a.rpm (pid 50) holds" in reason(verdict, "rpm's lock").detail


def test_a_lock_of_our_own_kind_is_seen_and_looking_takes_none(host: Host, database: Database) -> None:
    real = Host(host.paths, host.runner, host.clock, ProcReader(), host.trace)
    with RpmLock(database, real.proc):
        verdict = preflight(real)
        assert (verdict.answer, verdict.exit_status) == ("deny", 6)
        assert f"(pid {os.getpid()}) holds" in reason(verdict, "rpm's lock").detail
    assert reason(preflight(real), "rpm's lock").level == "ok"


def test_another_format_than_rpm_writes(host: Host, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    holds(monkeypatch, Database(database.path, database.path, "bdb", "sqlite", database.lock))
    verdict = preflight(host)
    assert verdict.answer == "deny"
    assert "this rpm writes sqlite" in reason(verdict, "package database").detail


def test_a_name_in_two_versions(host: Host, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    holds(monkeypatch, database, "a-1-1.x86_64", "b-1-1.x86_64", "a-2-1.x86_64")
    verdict = preflight(host)
    assert (verdict.answer, verdict.exit_status) == ("deny", 3)
    assert reason(verdict, "duplicates").detail == "installed twice: a-1-1.x86_64 and a-2-1.x86_64"


def test_kernels_and_two_architectures_are_in_order(
    host: Host, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    nevras = ["kernel-1-1.x86_64", "kernel-2-1.x86_64", "kernel-core-1-1.x86_64", "kernel-core-2-1.x86_64"]
    holds(monkeypatch, database, *nevras, "glibc-1-1.i686", "glibc-1-1.x86_64")
    assert reason(preflight(host), "duplicates").level == "ok"


def test_no_space(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "free_space", lambda _path: 3 << 20)
    verdict = preflight(host)
    assert verdict.answer == "deny"
    assert reason(verdict, "space").detail == "3 MiB free beside the database, 16 MiB needed for the shadow"


def test_where_no_shadow_works_it_says_that_others_will_wait(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "obstacle", lambda _database: "it is a mount point")
    verdict = preflight(host)
    assert verdict.answer == "allow"
    assert reason(verdict, "isolation").detail == "gate: others will wait, because it is a mount point"


def test_agents_are_named_and_may_stay(host: Host, made: MadeProc) -> None:
    made.process(50, command="osqueryd", cgroup="/system.slice/osqueryd.service")
    verdict = preflight(host)
    assert verdict.answer == "allow"
    assert reason(verdict, "agents").detail == "osquery: unit osqueryd.service; it need not be stopped"


def test_not_root(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    verdict = preflight(host)
    assert (verdict.answer, verdict.exit_status) == ("deny", 3)
    assert reason(verdict, "user").level == "deny"
