"""The gate: while it is up others wait for the database, those of the operation do not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from made import MadeProc, finished, heard, in_child, make_bdb, python, until

from interlock.errors import Refused
from interlock.rpmdb import gate as gates
from interlock.rpmdb.backend import Database
from interlock.rpmdb.gate import DRAIN_SECONDS, database_users, gate, is_ours
from interlock.system.clock import ManualClock
from interlock.system.proc import ProcReader

GROUP = "/system.slice/interlock-op-1.service"
READER = (
    "import sys; print('before', flush=True); input(); print(open(sys.argv[1]).read().strip(), flush=True); input()"
)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return make_bdb(tmp_path / "rpm")


@pytest.fixture
def made(tmp_path: Path) -> MadeProc:
    """Return a tree with the engine (100), its child and grandchild, and others."""
    made = MadeProc(tmp_path / "proc")
    made.process(1, parent=0)
    made.process(100, cgroup=GROUP)
    made.process(101, parent=100, cgroup=GROUP)
    made.process(102, parent=101, cgroup=GROUP)
    made.process(200, cgroup="/system.slice/sshd.service")
    made.process(201, parent=200, cgroup="/system.slice/sshd.service")
    return made


@pytest.mark.parametrize(
    ("pid", "answer"), [(100, True), (101, True), (102, True), (200, False), (201, False), (1, False)]
)
@pytest.mark.parametrize("group", [GROUP, "/user.slice/session-1.scope", ""])
def test_descendants_are_ours(made: MadeProc, group: str, pid: int, answer: bool) -> None:
    assert is_ours(made.reader, pid, 100, group) is answer


def test_an_orphan_of_a_scriptlet_is_ours_by_its_control_group(made: MadeProc) -> None:
    made.process(103, parent=1, cgroup=GROUP)
    assert is_ours(made.reader, 103, 100, GROUP)
    assert not is_ours(made.reader, 103, 100, "")


def test_a_scope_that_others_share_decides_nothing(made: MadeProc) -> None:
    scope = "/user.slice/session-1.scope"
    made.process(300, cgroup=scope)
    assert not is_ours(made.reader, 300, 100, scope)


def test_a_process_that_vanished_or_is_its_own_ancestor_is_not_ours(made: MadeProc) -> None:
    made.process(400, parent=401)
    made.process(401, parent=400)
    assert not is_ours(made.reader, 400, 100, GROUP)
    assert not is_ours(made.reader, 999, 100, GROUP)
    assert not is_ours(made.reader, 0, 100, GROUP)


def test_who_has_the_database_open_or_mapped(made: MadeProc) -> None:
    made.process(300, command="rpm -qa", files=["/x/rpm/Packages"])
    made.process(301, command="agent")
    made.put("301/maps", "7f00-7f10 r--p 00000000 fd:01 12   /x/rpm/__db.001\n")
    made.process(302, command="other", files=["/x/rpm2/Packages", "/x/rpm"])
    assert database_users("/x/rpm", made.reader) == {300: "rpm -qa", 301: "agent"}


def test_who_stays_is_named_and_keeps_what_it_uses(database: Database, made: MadeProc) -> None:
    made.process(300, command="rpm -qa", files=[f"{database.path}/Packages"])
    clock = ManualClock()
    began = clock.now()
    with pytest.raises(Refused, match=r"do not end: rpm -qa \(pid 300\)"), gate(database, clock, made.reader):
        pytest.fail("the gate counts as raised")
    assert clock.now() - began > DRAIN_SECONDS
    assert {"__db.001", "__db.002", ".dbenv.lock"} < set(database.files()), "the regions of those who are there"


def test_who_goes_is_waited_for(database: Database, made: MadeProc) -> None:
    made.process(300, command="rpm -qa", files=[f"{database.path}/Packages"])

    class Going(ManualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            (made.root / "300/fd/3").unlink(missing_ok=True)

    with gate(database, Going(), made.reader):
        assert database.files() == [".rpm.lock", "Name", "Packages"]


def keepers() -> list[int]:
    return [pid for pid in ProcReader().children(os.getpid()) if ProcReader().state(pid) != "Z"]


def raised(database: Database, work: Callable[[], None]) -> None:
    with gate(database, ManualClock(), ProcReader()):
        work()


def waits_for_an_answer(pid: int) -> bool:
    return "fanotify" in ProcReader().wait_channel(pid)


def test_others_wait_until_it_is_lowered_and_we_do_not(database: Database) -> None:
    main = f"{database.path}/Packages"
    with python(READER, main) as reader:
        assert heard(reader) == "before"
        assert reader.stdin is not None

        def work() -> None:
            assert reader.stdin is not None
            reader.stdin.write("\n")
            reader.stdin.flush()
            until(lambda: waits_for_an_answer(reader.pid))
            Path(main).write_text("from the transaction\n")
            assert in_child(lambda: Path(main).read_text() == "from the transaction\n") == 0
            Path(f"{database.path}/__db.001").write_text("the transaction's own")
            # An answer to us wakes all who wait, for a moment.
            until(lambda: waits_for_an_answer(reader.pid))

        # The reader is our child, as a test's must be; the gate is raised by another child, which it is no child of.
        assert in_child(lambda: raised(database, work) or True) == 0
        assert heard(reader) == "from the transaction"
    assert database.files() == [".rpm.lock", "Name", "Packages"], "no region that was made under the gate is left"


def test_the_keeper_ends_with_the_gate(database: Database) -> None:
    before = keepers()
    with gate(database, ManualClock(), ProcReader()):
        assert len(keepers()) == len(before) + 1
    assert keepers() == before


def test_a_keeper_that_died_is_noticed_and_nobody_waits(database: Database) -> None:
    before = set(keepers())

    def work() -> None:
        (keeper,) = set(keepers()) - before
        Path(f"{database.path}/__db.001").write_text("made by others")
        os.kill(keeper, signal.SIGKILL)
        os.waitid(os.P_PID, keeper, os.WEXITED | os.WNOWAIT)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if Path(f"{database.path}/Packages").read_text() else 1)
        assert finished(pid) == 0

    with pytest.raises(Refused, match="has ended"):
        raised(database, work)
    assert "__db.001" in database.files(), "others may be using it"


def test_the_keeper_ends_with_the_engine(database: Database) -> None:
    reading, writing = os.pipe()

    def engine() -> None:
        with gate(database, ManualClock(), ProcReader()):
            os.write(writing, str(keepers()[-1]).encode())
            signal.pause()

    pid = os.fork()
    if pid == 0:
        engine()
        os._exit(0)
    keeper = int(os.read(reading, 20))
    os.close(reading)
    os.close(writing)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until(lambda: ProcReader().state(keeper) in (None, "Z"))
    assert Path(f"{database.path}/Packages").read_text() == "Packages from before\n"


def test_more_may_wait_than_a_process_may_have_open_at_first(database: Database) -> None:
    soft, hard = gates.resource.getrlimit(gates.resource.RLIMIT_NOFILE)
    assert soft <= hard
    before = set(keepers())
    with gate(database, ManualClock(), ProcReader()):
        (keeper,) = set(keepers()) - before
        until(lambda: f"Max open files            {hard}" in Path(f"/proc/{keeper}/limits").read_text())


def test_a_host_without_permission_events(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(gates, "OpenGuard", refuse)
    with pytest.raises(Refused, match=r"cannot be held back \(fanotify: .*not permitted"):
        raised(database, lambda: None)
    assert "__db.001" in database.files()
