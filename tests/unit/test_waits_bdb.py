"""Berkeley DB: mutexes read from real shared memory of real sleepers, what is said of them, and what is done."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from made import MadeProc, dead_pid, heard, host_at, python, until

from interlock.system.clock import ManualClock, SystemClock
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.waits import bdb_region, hands_regions, read_trial
from interlock.waits.bdb_region import Layout, find_layout, read_mutex, record_of
from interlock.waits.conditions import State
from interlock.waits.cure_bdb import CURES
from interlock.waits.facts import Database, DatabaseFile, Facts, FileLock, Futex, Opened, Pipe, Process, Region
from interlock.waits.find_bdb import BRINGS, DETECTORS
from interlock.waits.finding import LIKELY, PROVEN, WAITS, Finding
from interlock.waits.graph import build_graph
from interlock.waits.hands import StepFailed, Treatment
from interlock.waits.look import Place
from interlock.waits.read_futexes import read_futexes
from interlock.waits.read_processes import read_process

FIRST, SIZE = 0x1D8, 0x88
NUMBER = {"x86_64": 202, "aarch64": 98}.get(os.uname().machine, 0)
SLEEPER = """
import ctypes, mmap, os, sys
path, offset, value, number = sys.argv[1], *map(int, sys.argv[2:])
memory = mmap.mmap(os.open(path, os.O_RDWR), 0)
word = ctypes.addressof(ctypes.c_char.from_buffer(memory, offset))
print('ready', flush=True)
ctypes.CDLL(None).syscall(ctypes.c_long(number), ctypes.c_void_p(word), 0, ctypes.c_uint(value), None)
print('woken', flush=True)
sys.stdin.readline()
"""
USER = """
import mmap, os, sys
kept = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)
print('ready', flush=True)
sys.stdin.readline()
"""
DB = "/var/lib/rpm"
TWO = f"{DB}/__db.002"
ALL = tuple(f"{DB}/__db.00{number}" for number in (1, 2, 3))
LIBC = "/lib/libc.so.6 inode 7"


def region(*records: bytes) -> bytes:
    """Return a region with a description of its array near the begin, as libdb puts it there."""
    head = b"\0" * 0x138 + struct.pack("<QQQ", FIRST, FIRST, SIZE)
    return (head.ljust(FIRST, b"\0") + b"".join(records)).ljust(16384, b"\0")


def record(
    word: int = 0, owner: int = 0, keeper: int = 0, flags: int = 1, latch: tuple[int, int] | None = None
) -> bytes:
    """Return one mutex: glibc's part, and libdb's own pid and flags."""
    head = struct.pack("<iIiII", word, 0, owner, 1, 0x80) if latch is None else struct.pack("<I20xi", *latch)
    return head.ljust(88, b"\0") + struct.pack("<i", keeper).ljust(44, b"\0") + struct.pack("<I", flags)


def test_the_layout_is_found_in_the_head() -> None:
    assert find_layout(region()) == Layout(FIRST, SIZE)
    assert record_of(Layout(FIRST, SIZE), FIRST + 3 * SIZE + 80) == (FIRST + 3 * SIZE, 80)
    assert find_layout(b"\0" * 4096) is None
    assert find_layout(b"") is None


@pytest.mark.parametrize(
    ("content", "inside", "expected"),
    [
        (record(2, 211, 211, 3), 0, ("mutex", False, 211)),
        (record(0, 211, 211, 3), 0, ("mutex", True, 0)),
        (record(0, 0, 77, 0x17), 80, ("condition", False, 77)),
        (record(0, 0, 77, 0x15), 84, ("condition", True, 0)),
        (record(0, 0, 77, 0x15), 40, ("condition", True, 0)),
        (record(flags=0x21, latch=(2, 99)), 12, ("latch", False, 99)),
        (record(flags=0x21, latch=(3 << 3, 99)), 8, ("latch", False, 0)),
        (record(flags=0x21, latch=(0, 99)), 8, ("latch", True, 0)),
    ],
)
def test_a_record_says_who_holds_the_lock(content: bytes, inside: int, expected: tuple[str, bool, int]) -> None:
    assert read_mutex(content, inside) == bdb_region.Mutex(*expected)


@pytest.mark.parametrize(("content", "inside"), [(record(2, 5, 5, 3), 16), (record(flags=0x21), 0), (b"", 0)])
def test_where_nobody_can_sleep_nothing_is_said(content: bytes, inside: int) -> None:
    assert read_mutex(content, inside) is None


def place_at(path: Path) -> Place:
    return Place(ProcReader(), "/", Runner(), SystemClock(), str(path / "scratch"))


def facts_of(place: Place, path: Path, *pids: int) -> Facts:
    found = {pid: process for pid in pids if (process := read_process(place, pid, 0.0)) is not None}
    opened = tuple(Opened(pid, str(path)) for pid in pids)
    return Facts(0.0, Database(str(path.parent), "bdb", ()), found, opened=opened)


@contextmanager
def sleeper(path: Path, offset: int, value: int) -> Iterator[int]:
    """Run a process that sleeps on a word of a shared file until somebody wakes it."""
    with python(SLEEPER, str(path), str(offset), str(value), str(NUMBER)) as child:
        assert heard(child) == "ready"
        reader = ProcReader()
        until(lambda: "futex" in reader.wait_channel(child.pid))
        yield child.pid


@contextmanager
def user(path: Path) -> Iterator[int]:
    """Run a process that has a shared file mapped."""
    with python(USER, str(path)) as child:
        assert heard(child) == "ready"
        yield child.pid


needs_numbers = pytest.mark.skipif(not NUMBER or os.geteuid() != 0, reason="reads the memory of other processes")


@needs_numbers
def test_a_dead_owner_is_found_in_shared_memory(tmp_path: Path) -> None:
    path, gone = tmp_path / "__db.002", dead_pid()
    path.write_bytes(region(record(), record(2, gone, gone, 3)))
    with sleeper(path, FIRST + SIZE, 2) as pid:
        regions, futexes = read_futexes(place_at(tmp_path), facts_of(place_at(tmp_path), path, pid))
    assert futexes == (Futex(pid, str(path), FIRST + SIZE, gone, False, True, False, "mutex"),)
    assert [(one.pid, one.files) for one in regions] == [(pid, (str(path),))]
    assert "libc" in regions[0].libc


@needs_numbers
def test_a_living_owner_is_no_orphan_even_if_nobody_named_it(tmp_path: Path) -> None:
    path = tmp_path / "__db.002"
    path.write_bytes(region())
    with user(path) as owner:
        path.write_bytes(b"")
        with path.open("r+b") as stream:
            stream.write(region(record(2, owner, owner, 3)))
        with sleeper(path, FIRST, 2) as pid:
            _, futexes = read_futexes(place_at(tmp_path), facts_of(place_at(tmp_path), path, pid))
    assert [(one.owner, one.owner_alive) for one in futexes] == [(owner, True)]


@needs_numbers
def test_a_process_of_that_number_without_the_environment_is_not_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "__db.002"
    path.write_bytes(region(record(2, os.getpid(), os.getpid(), 3)))
    with sleeper(path, FIRST, 2) as pid:
        _, futexes = read_futexes(place_at(tmp_path), facts_of(place_at(tmp_path), path, pid, os.getpid()))
    assert [(one.owner, one.owner_alive, one.confirmed) for one in futexes] == [(os.getpid(), False, True)]


@needs_numbers
def test_a_sleeper_on_a_free_lock_was_not_woken(tmp_path: Path) -> None:
    path = tmp_path / "__db.002"
    path.write_bytes(region(record(2, 1, 1, 3), record(keeper=1, flags=0x15)))
    with sleeper(path, FIRST, 2) as first, sleeper(path, FIRST + SIZE + 80, 0) as second:
        with path.open("r+b") as stream:
            stream.seek(FIRST)
            stream.write(struct.pack("<i", 0))
        _, futexes = read_futexes(place_at(tmp_path), facts_of(place_at(tmp_path), path, first, second))
    found = {one.pid: (one.free, one.stale, one.confirmed, one.kind) for one in futexes}
    assert found == {first: (True, True, True, "mutex"), second: (True, False, True, "condition")}


def test_without_users_nothing_is_read(tmp_path: Path) -> None:
    assert read_futexes(place_at(tmp_path), facts_of(place_at(tmp_path), tmp_path / "Packages", os.getpid())) == (
        (),
        (),
    )


def process(pid: int, **more: Any) -> Process:
    return Process(**{
        "pid": pid, "name": "rpm", "command": f"rpm -q {pid}", "parent": 1, "state": "S", "started": 10 * pid,
        "age": 100.0, "inner": pid, **more,
    })  # fmt: skip


def facts(*processes: Process, users: Sequence[int] = (), **more: Any) -> Facts:
    files = tuple(DatabaseFile(os.path.basename(path), 1, 2, 3, 4, 0, 0.0) for path in (*ALL, f"{DB}/Packages"))
    regions = tuple(Region(pid, ALL, LIBC) for pid in users)
    known = {one.pid: one for one in processes}
    return Facts(0.0, Database(DB, "bdb", files), known, **{"regions": regions, "state": State(), **more})


def gate(pid: int, waits: bool) -> FileLock:
    return FileLock(1, "POSIX", True, pid, f"{DB}/.dbenv.lock", (0, 1), 9, 0, None, waits)


def asleep(pid: int, **more: Any) -> Futex:
    return Futex(**{"pid": pid, "file": TWO, "offset": 880, "confirmed": True, "kind": "mutex", **more})


def found(one: Facts) -> list[Finding]:
    graph = build_graph(one)
    findings = [finding for detect in DETECTORS for finding in detect(one, graph)]
    brought = {name for finding in findings for name in BRINGS.get(finding.id, ())}
    return [finding for finding in findings if finding.id not in brought]


def only(one: Facts, name: str) -> Finding:
    findings = found(one)
    assert [finding.id for finding in findings] == [name]
    return findings[0]


def acts(finding: Finding, one: Facts) -> list[tuple[str, list[int]]]:
    cure = CURES[finding.id](finding, one)
    assert bool(cure.steps) != bool(cure.decide)
    return [(step.act, list(step.data.get("pids", ()))) for step in cure.steps]


def test_a_dead_owner_is_named_with_all_who_wait() -> None:
    dead = asleep(5, owner=3, owner_alive=False)
    one = facts(
        process(5), process(6), process(7), users=(5, 7), futexes=(dead,),
        locks=(gate(5, False), gate(6, True), gate(7, True)),
    )  # fmt: skip
    finding = only(one, "bdb-dead-owner")
    assert (finding.sure, finding.pids, finding.files) == (PROVEN, (5, 6, 7), (TWO,))
    # 6 has not come in yet and goes on by itself; 7 would go on in the regions that are put aside.
    assert acts(finding, one) == [("regions", [5, 7]), ("end", [5, 7])]
    step = CURES[finding.id](finding, one).steps[1]
    assert step.data["started"] == [50, 70]


def test_a_dead_owner_that_was_seen_once_only_is_not_claimed() -> None:
    dead = asleep(5, owner=3, owner_alive=False, confirmed=False)
    assert found(facts(process(5), users=(5,), futexes=(dead,))) == []


def test_nothing_is_put_aside_under_somebody_who_goes_on() -> None:
    dead = asleep(5, owner=3, owner_alive=False)
    one = facts(process(5), process(8), users=(5, 8), futexes=(dead,))
    finding = only(one, "bdb-dead-owner")
    assert acts(finding, one) == []
    assert "pid 8" in CURES[finding.id](finding, one).decide


def test_a_lock_without_a_name_is_orphaned_if_nobody_else_is_left() -> None:
    waits = asleep(5, kind="condition")
    assert only(facts(process(5), users=(5,), futexes=(waits,)), "bdb-dead-owner").pids == (5,)
    assert found(facts(process(5), process(6), users=(5, 6), futexes=(waits,))) == []
    assert found(facts(process(5), users=(5,), futexes=(waits._replace(kind=""),))) == []


def test_rpm_is_asked_first_to_release_a_logical_lock_of_the_dead() -> None:
    one = facts(process(5), users=(5,), futexes=(asleep(5, kind="condition"),))
    assert acts(only(one, "bdb-dead-owner"), one) == [("release", [5])]
    latch = facts(process(5), users=(5,), futexes=(asleep(5, kind="latch"),))
    assert acts(only(latch, "bdb-dead-owner"), latch) == [("regions", [5]), ("end", [5])]


def test_a_waiter_of_a_living_owner_is_healthy() -> None:
    assert found(facts(process(5), process(6), users=(5, 6), futexes=(asleep(5, owner=6),))) == []
    assert found(facts(process(5), process(6), locks=(gate(5, False), gate(6, True)), moving=frozenset({5}))) == []
    assert found(facts(process(5), process(6, asleep=0.2), locks=(gate(5, False), gate(6, True)))) == []


def test_a_lost_wakeup_is_cured_by_another_look_or_by_the_end() -> None:
    stale = facts(process(5), users=(5,), futexes=(asleep(5, free=True, stale=True),))
    assert acts(only(stale, "bdb-lost-wakeup"), stale) == [("wake", [5])]
    deep = facts(process(5), users=(5,), futexes=(asleep(5, free=True, kind="condition"),))
    assert acts(only(deep, "bdb-lost-wakeup"), deep) == [("regions", [5]), ("end", [5])]


@pytest.mark.parametrize(
    ("reader", "step"),
    [
        (process(4, state="T"), ("continue", [4])),
        (process(4, channel="pipe_write", asleep=9.0), ("end", [4])),
        (process(4, channel="anon_pipe_write", asleep=9.0), ("end", [4])),
    ],
)
def test_a_reader_that_stands_still_is_named_before_who_waits(reader: Process, step: tuple[str, list[int]]) -> None:
    one = facts(reader, process(5), users=(4, 5), futexes=(asleep(5, kind="condition"),))
    finding = only(one, "bdb-stopped-reader")
    assert (finding.sure, finding.pids) == (PROVEN, (4, 5))
    assert acts(finding, one) == [step]


def test_a_reader_that_writes_on_or_keeps_nobody_waiting_is_healthy() -> None:
    busy, waits = process(4, channel="pipe_write", asleep=0.01), asleep(5, kind="condition")
    assert found(facts(busy, process(5), users=(4, 5), futexes=(waits,))) == []
    piped = facts(
        process(4, asleep=9.0), process(5), users=(4, 5), futexes=(waits,), pipes=(Pipe(1, 4, 1, False, (9,)),)
    )
    assert only(piped, "bdb-stopped-reader").pids == (4, 5)
    assert found(piped._replace(moving=frozenset({4}))) == []
    assert found(facts(process(4, state="T"), users=(4,))) == []
    others = facts(process(4, state="T"), process(5), process(6), users=(4, 5, 6), futexes=(waits,))
    assert only(others, "bdb-stopped-reader").sure == LIKELY


def test_a_stopped_holder_of_the_gate_is_continued() -> None:
    one = facts(process(5, state="T"), process(6), process(7), locks=(gate(5, False), gate(6, True), gate(7, True)))
    finding = only(one, "bdb-queue")
    assert (finding.sure, finding.pids, acts(finding, one)) == (PROVEN, (5, 6, 7), [("continue", [5])])
    slow = facts(process(5), process(6), locks=(gate(5, False), gate(6, True)))
    finding = only(slow, "bdb-queue")
    assert (finding.sure, acts(finding, slow)) == (WAITS, [])


def test_users_of_removed_regions_are_ended() -> None:
    gone = Region(4, tuple(f"{path} (deleted)" for path in ALL), LIBC)
    one = facts(process(4), process(5), users=(5,))
    one = one._replace(regions=(gone, *one.regions))
    finding = only(one, "bdb-region-removed")
    assert (finding.pids, finding.files, acts(finding, one)) == ((4,), ALL, [("end", [4])])


def test_users_of_a_replaced_library_are_ended() -> None:
    old = Region(4, ALL, "/lib/libc.so.6 (deleted) inode 6")
    one = facts(process(4), process(5), users=(5,))
    shared = one._replace(regions=(old, *one.regions))
    finding = only(shared, "bdb-glibc-replaced")
    assert (finding.sure, acts(finding, shared)) == (PROVEN, [("end", [4])])
    alone = one._replace(regions=(old,))
    finding = only(alone, "bdb-glibc-replaced")
    assert (finding.sure, acts(finding, alone)) == (LIKELY, [("regions", [4]), ("end", [4])])


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (
            "error: rpmdb: BDB0113 Thread/process 7/1 failed: BDB1507 Thread died in Berkeley DB library",
            "bdb-dead-reader",
        ),
        ("error: db5 error(-30973) from dbenv->failchk: DB_RUNRECOVERY: Fatal error, run", "bdb-dead-reader"),
        ("error: bdb error(11) from dbenv->open: Resource temporarily unavailable", "bdb-dead-reader"),
        ("PANIC: the panic mark is set at byte 4 of __db.001\nerror: DB_RUNRECOVERY: Fatal error", "bdb-panic"),
        ("error: rpmdb: Lock table is out of available locker entries", "bdb-lockers-exhausted"),
        ("error: rpmdb: BDB2034 unable to allocate memory for mutex; resize mutex region", "bdb-lockers-exhausted"),
        ("error: (-30969) from dbenv->open: BDB0091 DB_VERSION_MISMATCH: Database environment", "bdb-version-mismatch"),
    ],
)
def test_what_rpm_says_of_the_copy_is_understood(said: str, name: str) -> None:
    one = facts(state=State(trial=said))
    finding = only(one, name)
    assert (finding.sure, finding.files, acts(finding, one)) == (PROVEN, ALL, [("regions", [])])
    assert any(line in finding.proof[0] for line in said.splitlines())


def test_a_hung_trial_is_a_dead_owner_unless_a_sleeper_says_more() -> None:
    hung = facts(state=State(hung=True))
    assert acts(only(hung, "bdb-dead-owner"), hung) == [("regions", [])]
    free = facts(process(5), users=(5,), futexes=(asleep(5, free=True),), state=State(hung=True))
    assert only(free, "bdb-lost-wakeup").pids == (5,)


def test_other_words_of_rpm_are_not_ours() -> None:
    assert found(facts(state=State(trial="error: cannot open Packages: No space left on device"))) == []


def test_the_one_who_fills_the_table_is_ended() -> None:
    full = State(trial="BDB2034 unable to allocate memory for mutex; resize mutex region")
    one = facts(process(4), users=(4,), state=full)
    assert acts(only(one, "bdb-lockers-exhausted"), one) == [("end", [4])]
    two = facts(process(4), process(5), users=(4, 5), state=full)
    assert acts(only(two, "bdb-lockers-exhausted"), two) == []


def treatment_of(tmp_path: Path) -> Treatment:
    database, folder = tmp_path / "rpm", tmp_path / "cure"
    database.mkdir()
    (folder / "aside").mkdir(parents=True)
    for name in ("__db.001", "__db.002", "Packages"):
        (database / name).write_bytes(region())
    return Treatment(host_at(tmp_path), Facts(0.0, Database(str(database), "bdb", ()), {}), str(folder), [])


def test_regions_are_moved_and_nothing_else(tmp_path: Path) -> None:
    treatment = treatment_of(tmp_path)
    (Path(treatment.aside) / "__db.001").write_bytes(b"of an earlier round")
    text = hands_regions.put_aside(treatment, {"pids": [], "started": []})
    assert "__db.001, __db.002" in text
    assert sorted(os.listdir(treatment.database)) == [".dbenv.lock", "Packages"]
    assert sorted(os.listdir(treatment.aside)) == ["__db.001", "__db.001.2", "__db.002"]


def test_regions_in_use_stay(tmp_path: Path) -> None:
    treatment = treatment_of(tmp_path)
    with user(tmp_path / "rpm/__db.002") as pid:
        with pytest.raises(StepFailed, match=str(pid)):
            hands_regions.put_aside(treatment, {"pids": [], "started": []})
        # The same number, another process: it was not the one that was to be ended.
        with pytest.raises(StepFailed, match=str(pid)):
            hands_regions.put_aside(treatment, {"pids": [pid], "started": [1]})
        assert os.path.exists(f"{treatment.database}/__db.002")
        hands_regions.put_aside(treatment, {"pids": [pid], "started": [ProcReader().start_time(pid)]})
    assert not os.path.exists(f"{treatment.database}/__db.002")


def test_somebody_elses_gate_is_not_forced(tmp_path: Path) -> None:
    treatment = treatment_of(tmp_path)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX)\n"
    with python(
        hold + "print('ready', flush=True); sys.stdin.readline()", f"{treatment.database}/.dbenv.lock"
    ) as child:
        assert heard(child) == "ready"
        with pytest.raises(StepFailed, match=f"pid {child.pid} holds"):
            hands_regions.put_aside(treatment, {"pids": [], "started": []})
        assert os.path.exists(f"{treatment.database}/__db.001")
        started = ProcReader().start_time(child.pid)
        hands_regions.put_aside(treatment, {"pids": [child.pid], "started": [started]})
    assert not os.path.exists(f"{treatment.database}/__db.001")


def test_the_panic_mark_is_read_from_the_environment(tmp_path: Path) -> None:
    for panic, expected in ((1, True), (0, False)):
        (tmp_path / "__db.001").write_bytes(struct.pack("<II", 0x120897, panic))
        assert bool(read_trial._mark(str(tmp_path))) is expected
    (tmp_path / "__db.001").write_bytes(b"")
    assert read_trial._mark(str(tmp_path)) == ""


def test_an_environment_that_was_never_finished_is_a_dead_reader(tmp_path: Path) -> None:
    assert read_trial.unfinished(str(tmp_path))
    (tmp_path / "__db.001").write_bytes(struct.pack("<II", 0, 0))
    assert read_trial.unfinished(str(tmp_path))
    (tmp_path / "__db.001").write_bytes(struct.pack("<II", 0x120897, 0))
    assert not read_trial.unfinished(str(tmp_path))
    # Whoever is at it tries for seconds and keeps the others waiting: that is a consequence.
    one = facts(process(5), process(6), locks=(gate(5, False), gate(6, True)), state=State(trial=read_trial.UNFINISHED))
    finding = only(one, "bdb-dead-reader")
    assert "never finished" in finding.proof[0]
    step = CURES[finding.id](finding, one).steps[0]
    assert (step.act, step.data["unfinished"]) == ("regions", True)


def test_an_unfinished_environment_is_put_aside_under_whoever_holds_the_gate(tmp_path: Path) -> None:
    treatment = treatment_of(tmp_path)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX)\n"
    none = {"pids": [], "started": [], "unfinished": True}
    with python(
        hold + "print('ready', flush=True); sys.stdin.readline()", f"{treatment.database}/.dbenv.lock"
    ) as child:
        assert heard(child) == "ready"
        (tmp_path / "rpm/__db.001").write_bytes(struct.pack("<II", 0x120897, 0))
        with pytest.raises(StepFailed, match=f"pid {child.pid} holds"):
            hands_regions.put_aside(treatment, none)
        (tmp_path / "rpm/__db.001").write_bytes(bytes(4096))
        # It may be its maker, at work this moment; not so if the environment is older than the process.
        with pytest.raises(StepFailed, match=f"pid {child.pid} holds"):
            hands_regions.put_aside(treatment, none)
        os.utime(tmp_path / "rpm/__db.001", (1e9, 1e9))
        hands_regions.put_aside(treatment, none)
    assert not os.path.exists(f"{treatment.database}/__db.001")


def test_who_has_the_environment_mapped_is_found(tmp_path: Path) -> None:
    path = tmp_path / "__db.002"
    path.write_bytes(region())
    with user(path) as pid:
        assert read_trial.in_use(place_at(tmp_path), str(tmp_path)) == (pid,)
        path.unlink()
        assert read_trial.in_use(place_at(tmp_path), str(tmp_path)) == ()


@pytest.mark.parametrize(("started", "makes"), [(89_900, True), (90_001, True), (90_100, False)])
def test_who_holds_the_gate_and_is_older_than_the_environment_may_be_making_it(
    tmp_path: Path, started: int, makes: bool
) -> None:
    clock, made, database = ManualClock(), MadeProc(tmp_path / "proc"), tmp_path / "rpm"
    database.mkdir()
    for name in (".dbenv.lock", "__db.001"):
        (database / name).write_bytes(b"")
    changed = clock.now() - 100  # a hundred seconds before the uptime of 1000 s
    os.utime(database / "__db.001", (changed, changed))
    inode = (database / ".dbenv.lock").stat().st_ino
    made.put(
        "locks",
        f"1: POSIX  ADVISORY  WRITE 5 08:01:{inode} 0 EOF\n1: -> POSIX  ADVISORY  WRITE 6 08:01:{inode} 0 EOF\n",
    )
    made.process(5, started=started, files=[str(database / ".dbenv.lock")])
    made.process(6, started=1000, files=[str(database / ".dbenv.lock")])
    place = Place(made.reader, "/", Runner(), clock, str(tmp_path / "scratch"))
    assert read_trial.makers(place, str(database)) == ([5] if makes else [])
