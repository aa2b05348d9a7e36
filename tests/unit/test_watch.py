"""A scriptlet that takes long is reported with whom it waits for; one that can never end is broken, and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made import MadeProc, Programs, finished, host_at, until

from interlock.events import check_fields
from interlock.system.clock import ManualClock
from interlock.system.proc import ProcReader
from interlock.upgrade.ending import GRACE, Ending
from interlock.upgrade.nested import missing, nested_commands
from interlock.upgrade.watch import FIRST_REPORT, ScriptWatch
from interlock.waits import read_terminals
from interlock.waits.below import below, in_words, innermost, look_below, way_of_no_return
from interlock.waits.facts import Database, Facts, FileLock, Pipe, Process
from interlock.waits.graph import build_graph
from interlock.waits.look import Place

WAIT, SETLKW, POLL = "61 0x65 0x0 0x0", "72 0x3 0x7 0x0", "7 0x1 0x3 0xffffffff"
PACKAGE = "a-1-1.noarch"


class Told:
    """Takes events, only such as the schema has."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def emit(self, kind: str, **fields: Any) -> None:
        check_fields(kind, fields)
        self.rows.append({"type": kind, **fields})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["type"] == kind]


class Watched:
    """A watch over process 100 of a made ``/proc``."""

    def __init__(self, folder: Path, limit: float = 0.0) -> None:
        self.made = MadeProc(folder / "proc")
        self.made.process(100, command="interlock engine", name="python3")
        self.host = host_at(folder, self.made.reader)
        assert isinstance(self.host.clock, ManualClock)
        self.clock, self.told = self.host.clock, Told()
        self.records: list[tuple[str, str]] = []
        self.watch = ScriptWatch(
            self.host, self.told, 100, limit=limit, record=lambda what, why: self.records.append((what, why))
        )

    def begin(self, script: str = "%post", at: float = 0.0) -> None:
        self.watch.started(PACKAGE, script, at)

    def after(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self.watch.tick()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_reports_come_at_ten_seconds_and_when_the_age_has_doubled(watched: Watched) -> None:
    watched.begin()
    for _ in range(100):
        watched.after(1)
    rows = watched.told.rows
    assert [row["seconds"] for row in rows] == [10, 20, 40, 80]
    assert {(row["package"], row["script"], row["waits"]) for row in rows} == {
        (PACKAGE, "%post", "no process of it is left")
    }


def test_a_quick_one_is_not_reported_and_the_next_starts_anew(watched: Watched) -> None:
    watched.watch.tick()
    watched.begin("%pre")
    watched.after(FIRST_REPORT - 0.1)
    watched.watch.ended(1.0)
    watched.after(100)
    watched.begin()
    watched.after(FIRST_REPORT)
    assert [(row["script"], row["seconds"]) for row in watched.told.rows] == [("%post", FIRST_REPORT)]


def nest(made: MadeProc) -> None:
    """Make a scriptlet whose rpm waits for the lock of the transaction that runs it."""
    made.put("100/syscall", WAIT)
    made.process(101, command="/bin/sh /var/tmp/rpm-tmp.x", name="sh", parent=100)
    made.put("101/syscall", "61 0x66 0x0 0x0")
    made.process(102, command="rpm -i b.rpm", name="rpm", parent=101)
    made.put("102/syscall", SETLKW)
    made.put("102/wchan", "fcntl_setlk")
    made.put("locks", "1: POSIX  ADVISORY  WRITE 100 00:8e:5 0 EOF\n1: -> POSIX  ADVISORY  WRITE 102 00:8e:5 0 EOF\n")


def test_its_processes_are_named_with_whom_they_wait_for(watched: Watched) -> None:
    nest(watched.made)
    # Somebody else's lock is in the way: nothing of it is ours, and nothing is proven.
    watched.made.process(200, command="rpm -U c.rpm", name="rpm")
    watched.made.put(
        "locks",
        "1: POSIX  ADVISORY  WRITE 200 00:8e:5 0 EOF\n1: -> POSIX  ADVISORY  WRITE 102 00:8e:5 0 EOF\n",
    )
    watched.begin()
    for _ in range(12):
        watched.after(1)
    (row,) = watched.told.rows
    assert row["waits"] == (
        "/bin/sh /var/tmp/rpm-tmp.x (pid 101, S); rpm -i b.rpm (pid 102, S in fcntl_setlk), "
        "waits for the lock on inode 5 (with rpm -U c.rpm (pid 200))"
    )


def test_a_deadlock_is_broken_at_its_innermost_process_after_a_second_look(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    nest(watched.made)
    watched.begin()
    watched.after(1)
    assert (watched.told.rows, sent) == ([], [])
    watched.after(1)
    assert sent == [(102, signal.SIGTERM)]
    (deadlock,), (ended,) = watched.told.of("script.deadlock"), watched.told.of("script.ended")
    assert deadlock["ends"] == ended["processes"] == "rpm -i b.rpm (pid 102)"
    assert "rpm -i b.rpm (pid 102) waits for the lock on inode 5" in deadlock["cycle"]
    assert watched.records == [
        ("rpm -i b.rpm (pid 102), of %post of a-1-1.noarch", "it waited for its own transaction and could never end")
    ]
    assert watched.watch.ended_ones
    # It is not asked twice; whoever does not listen is killed after a while.
    watched.after(GRACE)
    assert sent == [(102, signal.SIGTERM), (102, signal.SIGKILL)]


def test_a_wait_that_has_changed_between_two_looks_is_no_deadlock(watched: Watched) -> None:
    nest(watched.made)
    watched.begin()
    watched.after(1)
    watched.made.put("locks", "")
    watched.after(1)
    nest(watched.made)
    watched.after(1)
    assert watched.told.of("script.deadlock") == []


def test_at_the_limit_all_of_a_scriptlet_is_ended_outermost_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, sent = Watched(tmp_path, limit=2.0), []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    nest(watched.made)
    watched.made.put("locks", "")
    watched.begin()
    watched.after(1.9)
    assert sent == []
    watched.after(0.2)
    assert sent == [(101, signal.SIGTERM), (102, signal.SIGTERM)]
    assert watched.told.of("script.ended")[0]["why"] == "the limit for a scriptlet is 2 s"
    # Inside a shared environment of Berkeley DB nobody is killed.
    watched.made.put("102/maps", "7f00-7f01 rw-s 00000000 08:01 12 /var/lib/rpm/__db.002\n")
    watched.after(GRACE)
    assert sent[2:] == [(101, signal.SIGKILL)]


def test_a_limit_without_a_process_to_end(tmp_path: Path) -> None:
    watched = Watched(tmp_path, limit=2.0)
    watched.begin("%pretrans")
    watched.after(3)
    watched.after(3)
    (note,) = watched.told.rows
    assert (
        note["text"] == "%pretrans of a-1-1.noarch has reached its limit of 2 s; it has no process that could be ended"
    )


def test_which_scriptlet_ran_when_a_process_was_started(watched: Watched) -> None:
    for script, began, until_then in (("%pre", 10.0, 20.0), ("%post", 30.005, 40.0)):
        watched.begin(script, began)
        watched.watch.ended(until_then)
    named = {at: watched.watch.begun_by(at) for at in (9.0, 10.0, 20.0, 25.0, 30.0, 41.0)}
    assert {at for at, name in named.items() if name} == {10.0, 20.0, 30.0}
    assert named[30.0] == "%post of a-1-1.noarch"


@pytest.fixture
def stubborn() -> Iterator[int]:
    """Yield a process that does not listen when it is asked to end."""
    text = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    yield child.pid
    child.kill()
    child.communicate()


def test_who_does_not_listen_is_killed_and_a_pid_of_another_is_not(stubborn: int) -> None:
    proc, clock = ProcReader(), ManualClock()
    ending = Ending(proc, clock, [stubborn])
    ending.ask()
    assert ending.tick() == []
    clock.sleep(GRACE)
    other = Ending(proc, clock, [stubborn])
    other.targets = [one._replace(id=one.id._replace(started=one.id.started + 1)) for one in other.targets]
    clock.sleep(GRACE)
    assert other.tick() == []
    assert [target.id.pid for target in ending.tick()] == [stubborn]
    until(lambda: proc.state(stubborn) == "Z")
    assert ending.tick() == []


def place(made: MadeProc) -> Place:
    return Place(made.reader, made.root.parent, Programs({}), ManualClock(), "", live=False)


def test_who_is_below_outermost_first(tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    for pid, parent in ((10, 1), (30, 10), (20, 30), (25, 30), (40, 1)):
        made.process(pid, parent=parent)
    assert below(made.reader, 10) == [30, 20, 25]


def test_a_lock_of_an_open_file_belongs_to_who_shows_it(tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    made.process(10, command="top")
    made.process(20, command="rpm -i x", parent=10, files=["/x/lock"])
    made.process(5, command="engine", files=["/x/lock"])
    made.put("5/fdinfo/3", "pos:\t0\nlock:\t1: OFDLCK ADVISORY  WRITE -1 00:27:77 0 EOF\n")
    made.put("20/fdinfo/3", "pos:\t0\n")
    made.put("locks", "4: OFDLCK ADVISORY  WRITE -1 00:27:77 0 EOF\n4: -> POSIX  ADVISORY  WRITE 20 00:27:77 0 EOF\n")
    facts = look_below(place(made), 10, waiter=(5, -1))
    assert {(lock.pid, lock.waits) for lock in facts.locks} == {(5, False), (20, True)}


def process(pid: int, parent: int, *call: int) -> Process:
    return Process(pid, f"p{pid}", f"p{pid}", parent, "S", 1, 5.0, call=call)


def facts_with(terminal: tuple[int, ...]) -> Facts:
    """Return a scriptlet that runs rpm behind a terminal, others having it open too."""
    found = [process(1, 0, 61, 2), process(2, 1, 61, 3), process(3, 2, 7, 1, 3, 0xFFFFFFFF), process(4, 3, 72, 3, 7)]
    found.append(process(9, 0, 0))
    locks = tuple(FileLock(1, "POSIX", True, pid, "/l", (0, 1), 5, 0, None, pid == 4) for pid in (1, 4))
    pipes = (Pipe(0, 3, 4, True, terminal, "the terminal /dev/pts/0"),)
    return Facts(0.0, Database("/d", "sqlite", ()), {one.pid: one for one in found}, locks, pipes=pipes)


def test_a_terminal_that_is_passed_on_is_part_of_the_way() -> None:
    graph = build_graph(facts_with((4,)))
    way = way_of_no_return(graph, 1)
    assert innermost(graph, way, [2, 3, 4]) == 4
    assert "the terminal /dev/pts/0" in in_words(graph, way)


def test_where_somebody_else_may_still_write_nothing_is_proven() -> None:
    graph = build_graph(facts_with((4, 9)))
    assert way_of_no_return(graph, 1) == []


@pytest.mark.parametrize(
    ("call", "machine", "sleeps"),
    [
        ((7, 1, 3, 0xFFFFFFFF), "x86_64", True),
        ((7, 1, 3, 500), "x86_64", False),
        ((23, 4, 1, 0, 0, 0), "x86_64", True),
        ((23, 4, 1, 0, 0, 0x7FFC), "x86_64", False),
        ((0, 3, 1, 1), "x86_64", True),
        ((61, 3), "x86_64", False),
        ((73, 1, 1, 0), "aarch64", True),
        ((73, 1, 1, 0), "x86_64", False),
        ((), "x86_64", False),
    ],
)
def test_only_a_sleep_without_limit_counts(call: tuple[int, ...], machine: str, sleeps: bool) -> None:
    assert read_terminals.sleeps_for_ever(process(1, 0, *call), machine) is sleeps


def test_the_users_of_a_terminal_are_found(tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    made.process(10, command="top")
    made.process(20, command="script", parent=10, files=["/dev/pts/ptmx", "/dev/pts/3"])
    made.put("20/fdinfo/3", "pos:\t0\ntty-index:\t3\n")
    made.put("20/syscall", POLL if os.uname().machine == "x86_64" else "63 0x3 0x0 0x1")
    made.process(30, command="rpm", parent=20, files=["/dev/pts/3"])
    made.process(40, command="other", files=["/dev/pts/4"])
    (pipe,) = look_below(place(made), 10).pipes
    assert (pipe.pid, pipe.others, pipe.name) == (20, (30,), "the terminal /dev/pts/3")


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("rpm -i /a/b.rpm || true", [("rpm -i /a/b.rpm", ("/a/b.rpm",))]),
        ("script -qec 'rpm -U /a.rpm' /dev/null; x", [("rpm -U /a.rpm", ("/a.rpm",))]),
        ("if x; then\n dnf -y install foo >/dev/null 2>&1\nfi\nrpm -q foo", [("dnf -y install foo", ("foo",))]),
        ("x=$(rpm -U --nodeps /x/*.rpm)", [("rpm -U --nodeps /x/*.rpm", ("/x/*.rpm",))]),
        ("echo it's; rpm -ivh a.rpm&", [("rpm -ivh a.rpm", ("a.rpm",))]),
        ("# rpm -i foo", []),
        ("what=a; rpm -i $what", []),
        ("rpm --import /k; rpm -qi foo; rpm -e foo; rpm -V x; dnf clean all", []),
    ],
)
def test_commands_that_install_are_found(text: str, commands: list[tuple[str, tuple[str, ...]]]) -> None:
    assert [(one.command, one.wanted) for one in nested_commands(PACKAGE, "%post", text)] == commands


def test_what_is_missing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "b.rpm"
    path.touch()
    runner = Programs({"rpm": "b-2-1.noarch\n"})
    installed = ["b-1-1.noarch", "c-1-1.noarch", "d-e-1-1.noarch"]
    assert missing(runner, [str(path)], installed) == ["b-2-1.noarch"]
    assert missing(runner, [str(path)], [*installed, "b-2-1.noarch"]) == []
    wanted = ["c", "d-e", "c-1-1", "x", "/no/such.rpm", "/no/*.rpm", "http://h/f.rpm"]
    assert missing(runner, wanted, installed) == ["x", "/no/such.rpm"]


def test_a_real_child_is_found_below_us() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        assert pid in below(ProcReader(), os.getpid())
    finally:
        os.kill(pid, signal.SIGKILL)
        assert finished(pid) == -signal.SIGKILL


@pytest.mark.parametrize(("other", "held"), [(False, True), (True, False)])
def test_who_waits_for_leave_waits_for_the_gate_where_nobody_else_gives_leave(
    tmp_path: Path, other: bool, held: bool
) -> None:
    made = MadeProc(tmp_path / "proc")
    made.process(5, command="engine")
    made.process(6, command="keeper", parent=5, files=["anon_inode:[fanotify]"])
    made.process(10, command="worker", parent=5)
    made.process(70, command="rpm -q a", parent=1)
    made.put("70/wchan", "fanotify_handle_event")
    if other:
        made.process(80, command="scanner", files=["anon_inode:[fanotify]"])
    pipes = look_below(place(made), 10, thorough=True, gate=5).pipes
    assert [(pipe.pid, pipe.others) for pipe in pipes] == ([(70, (5,))] if held else [])
    assert look_below(place(made), 10, thorough=True).pipes == ()
