"""Whatever bytes lie in ``/proc``, in lock files and in pid files: a look ends, and gives values."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from made import MadeProc
from test_waits_graph import CAPTURED

from interlock.system.clock import ManualClock
from interlock.system.proc import ProcReader, read_bytes
from interlock.system.run import Runner
from interlock.waits.draw import draw, to_json
from interlock.waits.graph import build_graph
from interlock.waits.look import Place, look
from interlock.waits.process_table import ProcessTable, good_stat, parse_stat
from interlock.waits.read_locks import parse
from interlock.waits.svg import picture

PIDS = (364, 366, 367, 368, 369)
NAMES = ("stat", "status", "cmdline", "comm", "cgroup", "wchan", "syscall", "sched", "maps", "fdinfo/0", "fdinfo/3")
LOCK_FILES = (
    "run/yum.pid", "run/zypp.pid", "var/lib/dnf/rpmdb_lock.pid", "var/cache/dnf/metadata_lock.pid",
    "var/lib/rpm/.rpm.lock", "var/lib/rpm/__db.001", "var/lib/rpm/Packages",
)  # fmt: skip
LONG_NUMBER = b"9" * 5000
PIECES = some.sampled_from(
    [b"\0", b"(", b")", b" ", b"\n", b":", b"-", b"->", b"-1", b"nan", b"inf", b"1e999", b"0x", b"EOF", b"POSIX",
     b"FLOCK", b"OFDLCK", b"WRITE", b"NSpid:", b"se.exec_start :", b"lock:", b"ino:", b"voluntary_ctxt_switches:",
     LONG_NUMBER,
     b"/var/lib/rpm/.rpm.lock", b"00:27:21010", b"1: -> POSIX  ADVISORY  WRITE 369 00:27:21010 0 EOF\n", b"\xff\xfe",
     b"\xd9\xa3", b"\xc2\xb2", b"rw-s", b"61 0x0 0x0 0x0"]
)  # fmt: skip
BYTES = some.one_of(some.binary(max_size=300), some.lists(PIECES, max_size=25).map(b"".join), some.just(LONG_NUMBER))
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def look_at(folder: Path, root: Path | str = "/") -> None:
    """Look as `locks` does and as `doctor` does, and show all of it."""
    for thorough in (False, True):
        place = Place(ProcReader(folder), root, Runner(), ManualClock(), "/nowhere", live=False)
        facts = look(place, thorough)
        graph = build_graph(facts)
        assert all(isinstance(text, str) for text in draw(facts, graph))
        json.dumps(to_json(facts, graph), allow_nan=False)
        picture(facts, graph)


def copied(target: Path) -> Path:
    """Return a copy of the captured tree that may be changed."""
    source = CAPTURED / "nested-rpm"
    for path in sorted(source.rglob("*")):
        other = target / path.relative_to(source)
        if path.is_symlink():
            other.symlink_to(os.readlink(path))
        elif path.is_dir():
            other.mkdir(parents=True, exist_ok=True)
        else:
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(path.read_bytes())
    return target


@QUICK
@given(
    some.dictionaries(some.tuples(some.sampled_from(PIDS), some.sampled_from(NAMES)), BYTES, max_size=12),
    some.none() | BYTES, some.none() | BYTES,
)  # fmt: skip
def test_any_bytes_in_proc(changed: dict[tuple[int, str], bytes], locks: bytes | None, uptime: bytes | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        for (pid, name), content in changed.items():
            (tree / str(pid) / name).write_bytes(content)
        for name, text in (("locks", locks), ("uptime", uptime)):
            if text is not None:
                (tree / name).write_bytes(text)
        look_at(tree)


@QUICK
@given(some.sets(some.tuples(some.sampled_from(PIDS), some.sampled_from([*NAMES, "fd/0", "fd/3", "."])), max_size=12))
def test_anything_may_vanish(gone: set[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        for pid, name in gone:
            if name == ".":
                (tree / str(pid)).rename(tree / f"was-{pid}")
            else:
                (tree / str(pid) / name).unlink(missing_ok=True) if (tree / str(pid)).exists() else None
        look_at(tree)


@QUICK
@given(some.dictionaries(some.sampled_from(LOCK_FILES), BYTES))
def test_any_bytes_in_lock_files(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree, root = copied(Path(folder, "proc")), Path(folder, "root")
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        root.mkdir(exist_ok=True)
        look_at(tree, root)


@given(some.binary(max_size=400) | BYTES)
def test_a_stat_is_good_or_left_out(row: bytes) -> None:
    if good_stat(row):
        process = parse_stat(7, row, 100.0)
        table = ProcessTable({7: row}, 100.0, {})
        assert table.parent(7) == process.parent
        assert table[7] == process
        assert list(table.names())


@given(BYTES | some.text())
def test_any_line_of_locks(line: bytes | str) -> None:
    text = line if isinstance(line, str) else line.decode("utf-8", "replace")
    found = parse(text)
    assert found is None or (isinstance(found.pid, int) and isinstance(found.inode, int))


def test_parents_in_a_circle_end(tmp_path: Path) -> None:
    proc = MadeProc(tmp_path / "proc")
    proc.process(7, name="rpm", command="rpm -qa", parent=8)
    proc.process(8, name="sh", parent=7)
    proc.process(9, name="rpm", command="rpm -qa", parent=9)
    look_at(tmp_path / "proc")


def test_reading_is_bounded_and_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_bytes(str(tmp_path / "pipe")) == b""
    (tmp_path / "endless").symlink_to("/dev/zero")
    assert len(read_bytes(str(tmp_path / "endless"), 100_000) or b"") == 100_000
    assert read_bytes(str(tmp_path)) is None
    assert read_bytes("\0") is None


def test_a_tree_whose_files_never_end(tmp_path: Path) -> None:
    proc = copied(tmp_path / "proc")
    for name in ("stat", "status", "cmdline", "syscall", "cgroup", "wchan"):
        (proc / "367" / name).unlink()
        (proc / "367" / name).symlink_to("/dev/zero")
    os.mkfifo(proc / "368" / "other")
    (proc / "368" / "maps").unlink()
    os.mkfifo(proc / "368" / "maps")
    look_at(proc)
