"""Reading ``/proc``: whatever lies there, the answer is a value or None, never an error."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from made import BOOT, MadeProc

from interlock.system.proc import FileLock, ProcessId, ProcReader

LOCKS = """\
1: POSIX  ADVISORY  WRITE 101 fd:01:777 0 EOF
1: -> POSIX  ADVISORY  READ 102 fd:01:777 0 EOF
2: OFDLCK ADVISORY  WRITE -1 fd:01:778 0 EOF
3: FLOCK  ADVISORY  WRITE 103 00:1a:9 0 EOF
4: POSIX  ADVISORY  WRITE 104 <none>:0 0 EOF
5: half
"""


@pytest.fixture
def made(tmp_path: Path) -> MadeProc:
    return MadeProc(tmp_path / "proc")


def test_a_process(made: MadeProc) -> None:
    made.process(7, command="rpm -q a", name="rp) (m", parent=3, started=4711, files=["/var/lib/rpm/Packages"])
    proc = made.reader
    assert proc.pids() == [7]
    assert (proc.parent(7), proc.start_time(7), proc.state(7)) == (3, 4711, "S")
    assert proc.identify(7) == ProcessId(7, 4711, BOOT)
    assert proc.command(7) == "rpm -q a"
    assert list(proc.open_files(7)) == [(3, "/var/lib/rpm/Packages")]
    assert proc.children(3) == [7]
    assert proc.uptime() == 1000.0


def test_a_process_without_a_command_line_is_named_in_brackets(made: MadeProc) -> None:
    made.process(2, name="kthreadd")
    assert made.reader.command(2) == "[kthreadd]"


def test_a_reused_pid_is_another_process(made: MadeProc) -> None:
    made.process(7, started=100)
    first = made.reader.identify(7)
    assert first is not None
    assert made.reader.alive(first)
    made.process(7, started=101)
    assert not made.reader.alive(first)


def test_a_zombie_and_a_process_of_an_earlier_boot_are_not_alive(made: MadeProc) -> None:
    made.process(7, started=100, state="Z")
    assert not made.reader.alive(ProcessId(7, 100, BOOT))
    made.process(7, started=100, state="D")
    assert made.reader.alive(ProcessId(7, 100, BOOT))
    assert not made.reader.alive(ProcessId(7, 100, "another boot"))


def test_a_process_that_vanishes_answers_none(made: MadeProc) -> None:
    made.process(7, files=["/x"])
    shutil.rmtree(made.root / "7")
    proc = made.reader
    assert [proc.start_time(7), proc.state(7), proc.identify(7), proc.parent(7)] == [None] * 4
    assert [proc.command(7), proc.cgroup(7), proc.unit(7), proc.wait_channel(7)] == [""] * 4
    assert [list(proc.open_files(7)), proc.mapped_files(7), proc.children(7)] == [[], [], []]


def test_a_process_that_vanishes_between_two_looks_is_left_out(made: MadeProc) -> None:
    made.process(7, parent=1)
    (made.root / "8").mkdir()
    assert made.reader.pids() == [7, 8]
    assert made.reader.children(1) == [7]


def test_no_tree_at_all(tmp_path: Path) -> None:
    proc = ProcReader(tmp_path / "none")
    assert (proc.pids(), proc.boot_id(), proc.uptime(), proc.locks()) == ([], "", None, [])


def test_locks(made: MadeProc) -> None:
    made.put("locks", LOCKS)
    assert made.reader.locks() == [
        FileLock("POSIX", True, 101, (0xFD, 1), 777, False),
        FileLock("POSIX", False, 102, (0xFD, 1), 777, True),
        FileLock("OFDLCK", True, -1, (0xFD, 1), 778, False),
        FileLock("FLOCK", True, 103, (0, 0x1A), 9, False),
    ]


@pytest.mark.parametrize(
    ("content", "unit"),
    [
        ("0::/system.slice/snmpd.service\n", "snmpd.service"),
        ("0::/system.slice/a.service/child\n", "a.service"),
        ("9:name=systemd:/user.slice/session-3.scope\n0::/\n", "session-3.scope"),
        ("3:cpu:/system.slice/wrong.service\n0::/init.scope\n", "init.scope"),
        ("0::/\n", ""),
    ],
)
def test_the_unit_of_a_process(made: MadeProc, content: str, unit: str) -> None:
    made.process(7)
    made.put("7/cgroup", content)
    assert made.reader.unit(7) == unit


def test_mapped_files_are_named_once(made: MadeProc) -> None:
    row = "7f00-7f10 r-xp 00000000 fd:01 12   /usr/lib/with space.so\n"
    made.put("7/maps", row * 2 + "7f20-7f30 rw-p 00000000 00:00 0 \n7f40-7f50 rw-p 00000000 00:00 0 [heap]\n")
    assert made.reader.mapped_files(7) == ["/usr/lib/with space.so"]


def test_a_channel_of_zero_is_no_channel(made: MadeProc) -> None:
    made.put("7/wchan", "0")
    made.put("8/wchan", "futex_wait")
    assert (made.reader.wait_channel(7), made.reader.wait_channel(8)) == ("", "futex_wait")


FILES = ("stat", "cmdline", "comm", "cgroup", "wchan", "maps")


@given(content=some.binary(max_size=200) | some.text(alphabet="0123456789²٣) (-:\n", max_size=200).map(str.encode))
def test_garbage_never_raises(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    made = MadeProc(tmp_path_factory.mktemp("proc"))
    for name in FILES:
        made.put(f"7/{name}", content)
    for name in ("locks", "uptime", "sys/kernel/random/boot_id"):
        made.put(name, content)
    proc = made.reader
    assert isinstance(proc.start_time(7), (int, type(None)))
    assert isinstance(proc.parent(7), (int, type(None)))
    assert isinstance(proc.uptime(), (float, type(None)))
    assert all(isinstance(text, str) for text in (proc.command(7), proc.unit(7), proc.wait_channel(7), proc.boot_id()))
    assert all(path.startswith("/") for path in proc.mapped_files(7))
    assert all(isinstance(lock.inode, int) for lock in proc.locks())
    assert not proc.alive(ProcessId(7, 1, "this boot"))


@pytest.mark.parametrize("number", ["²", "9" * 5000, "-"])
def test_what_looks_like_a_number_and_is_none(made: MadeProc, number: str) -> None:
    fields = ["S", number, *map(str, range(5, 22)), number]
    made.put("7/stat", f"7 (x) {' '.join(fields)}\n")
    (made.root / "²").mkdir()
    assert (made.reader.parent(7), made.reader.start_time(7)) == (None, None)
    assert made.reader.pids() == [7]


def test_the_real_one() -> None:
    proc, mine = ProcReader(), os.getpid()
    me = proc.identify(mine)
    assert me is not None
    assert proc.alive(me)
    assert proc.parent(mine) == os.getppid()
    assert mine in proc.children(os.getppid())
    child = subprocess.Popen(["/bin/sleep", "60"])
    found = proc.identify(child.pid)
    assert found is not None
    assert proc.alive(found)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not proc.alive(found), "a zombie is not alive"
    child.wait()
    assert proc.identify(child.pid) is None
