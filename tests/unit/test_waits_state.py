"""The states of the database's content: found in what a copy and the disk say, and cured by the least that helps."""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
import stat
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interlock.package import Nevra
from interlock.system.run import Runner
from interlock.waits import content_disk, content_needs, content_nested, content_pass, hands_files, package_payload
from interlock.waits.conditions import State
from interlock.waits.content_pass import Records, Row
from interlock.waits.cure_state import CURES, some
from interlock.waits.facts import Database, Facts, Process
from interlock.waits.find_state import BRINGS, DETECTORS
from interlock.waits.finding import LIKELY, PROVEN, Finding
from interlock.waits.graph import build_graph
from interlock.waits.hands_records import _also_needed, _delete, _wanted
from interlock.waits.package_files import PackageFile, Wanted, label
from interlock.waits.package_payload import Taken
from interlock.waits.read_content import duplicates
from interlock.waits.scriptlet_words import calls

REGULAR = stat.S_IFREG | 0o644


class Header(dict[str, Any]):
    """Answers as an rpm header does: None for what it has not."""

    def __missing__(self, _tag: str) -> None:
        return None


def row(nevra: str, number: int = 1, tid: int = 0, **tags: Any) -> Row:
    return Row(number, Nevra.parse(nevra), tid, Header(tags))


def with_files(nevra: str, files: Mapping[str, int], tid: int = 0, **tags: Any) -> Row:
    count = len(files)
    more = {
        "filenames": list(files), "filesizes": list(files.values()), "fileflags": [0] * count,
        "filemodes": [REGULAR] * count, "filestates": [0] * count, "fileverifyflags": [-1] * count,
        "filedigests": [""] * count, "providename": [],
    }  # fmt: skip
    return row(nevra, tid=tid, **{**more, **tags})


def facts_of(state: State | None, *processes: Process) -> Facts:
    database = Database("/var/lib/rpm", "sqlite", (), "/var/lib/rpm/.rpm.lock")
    return Facts(1e9, database, {one.pid: one for one in processes}, state=state)


def found(state: State | None, *processes: Process) -> list[Finding]:
    facts = facts_of(state, *processes)
    return [finding for detect in DETECTORS for finding in detect(facts, build_graph(facts))]


def only(state: State, *processes: Process) -> Finding:
    (finding,) = found(state, *processes)
    return finding


@pytest.mark.parametrize("state", [None, State(), State(packages=("a-1-1.noarch",))])
def test_nothing_is_found_where_nothing_is_wrong(state: State | None) -> None:
    assert found(state) == []


def test_an_index_that_disagrees_is_rebuilt() -> None:
    finding = only(State(not_indexed=("a-1-1.noarch",), dangling=("b",)))
    assert (finding.id, finding.sure, finding.packages) == ("bdb-index-disagrees", PROVEN, ("a-1-1.noarch",))
    assert [step.act for step in CURES[finding.id](finding, facts_of(None)).steps] == ["rebuild"]


def test_a_damaged_header_is_named_and_never_rebuilt() -> None:
    finding = only(State(damaged=((7, "a-1-1.noarch"),)))
    (step,) = CURES["header-damaged"](finding, facts_of(None)).steps
    assert (step.act, step.writes, step.data) == ("restore-records", True, {"records": [[7, "a-1-1.noarch"]]})
    assert "bdb-index-disagrees" in BRINGS["header-damaged"]


@pytest.mark.parametrize(
    ("verb", "path", "sure", "acts"),
    [
        ("install", "/srv/b.rpm", PROVEN, ["install-files"]),
        ("install, under a condition", "/srv/b.rpm", LIKELY, []),
        ("remove", "", LIKELY, []),
    ],
)
def test_a_nested_rpm(verb: str, path: str, sure: str, acts: list[str]) -> None:
    finding = only(State(nested=(("a-1-1.noarch", "%post", "rpm ...", "b-1-1.noarch", path, verb),)))
    cure = CURES["nested-rpm-lost"](finding, facts_of(None))
    assert (finding.sure, finding.packages) == (sure, ("b-1-1.noarch", "a-1-1.noarch"))
    assert ([step.act for step in cure.steps], bool(cure.decide)) == (acts, not acts)


def test_an_interrupted_transaction_names_its_orphans_and_keeps_the_later_version() -> None:
    orphan = Process(9, "sh", "/bin/sh /var/tmp/rpm-tmp.abc 1", 1, "S", 0, 5.0)
    child = Process(12, "sh", "/bin/sh /var/tmp/rpm-tmp.def 1", 11, "S", 0, 5.0)
    rpm = Process(11, "rpm", "rpm -U x", 2, "S", 0, 5.0)
    state = State(duplicates=(("a-2-1.noarch", "a-1-1.noarch"),), unlike=(("a-2-1.noarch", "/opt/a"),))
    finding = only(state, orphan, rpm, child)
    assert (finding.pids, finding.files) == ((9,), ("/opt/a",))
    files, record = CURES[finding.id](finding, facts_of(None)).steps
    assert (files.act, files.data) == ("restore-files", {"files": [["a-2-1.noarch", "/opt/a"]]})
    assert (record.act, record.data) == ("forget-records", {"keep": "a-2-1.noarch", "packages": ["a-1-1.noarch"]})


def test_empty_files_are_put_back() -> None:
    finding = only(State(empty_files=(("a-1-1.noarch", "/usr/a"), ("b-1-1.noarch", "/usr/b"))))
    assert (finding.files, finding.packages) == (("/usr/a", "/usr/b"), ("a-1-1.noarch", "b-1-1.noarch"))
    (step,) = CURES[finding.id](finding, facts_of(None)).steps
    assert (step.act, step.writes) == ("restore-files", False)


def test_what_a_transaction_left_unfinished_is_put_aside_and_dated() -> None:
    finding = only(State(leftovers=("/opt/a;5f5e1000",), arrived=(("5f5e1000", "b-1-1.noarch"),)))
    assert (finding.sure, finding.packages) == (PROVEN, ("b-1-1.noarch",))
    assert "2020-09-13" in finding.proof[0]
    assert [step.act for step in CURES[finding.id](finding, facts_of(None)).steps] == ["put-aside"]


def test_the_rest_of_a_transaction_is_installed_where_there_is_room() -> None:
    unmet = (("tool-1-1.noarch", "libs = 1", "libs-2-1.noarch"),)
    finding = only(State(unmet=unmet))
    cure = CURES[finding.id](finding, facts_of(State(unmet=unmet)))
    assert (finding.sure, [step.act for step in cure.steps]) == (LIKELY, ["complete-transaction"])
    full = State(unmet=unmet, crowded=("/opt",))
    cure = CURES[finding.id](only(full), facts_of(full))
    assert (only(full).sure, cure.steps) == (PROVEN, ())
    assert "/opt" in cure.decide


def test_long_lists_are_cut() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdef")) == "a, b, c, d and 2 more"
    assert (
        only(State(empty_files=tuple(("a-1-1.noarch", f"/usr/{n}") for n in range(20)))).proof[-1].startswith("and 12")
    )


SCRIPTS: list[tuple[str, list[tuple[str, tuple[str, ...], bool]]]] = [
    ("rpm -i /a.rpm || :", [("install", ("/a.rpm",), True)]),
    ("X=1 exec /usr/bin/rpm --install /a.rpm >/dev/null 2>&1 &", [("install", ("/a.rpm",), True)]),
    ("dnf -y install /a.rpm # b\nyum list", [("install", ("/a.rpm",), True)]),
    ("x=$(rpm -e a); `rpm -Uvh /b.rpm`", [("remove", ("a",), True), ("install", ("/b.rpm",), True)]),
    ("if true; then\n  rpm -i /a.rpm\nfi\nrpm -e b", [("install", ("/a.rpm",), False), ("remove", ("b",), True)]),
    ("test -f x && rpm -e b", [("remove", ("b",), False)]),
    ("cat <<'EOF' >/etc/x\nit's\nrpm -i /a.rpm\nEOF\nrpm -i /b.rpm", [("install", ("/b.rpm",), True)]),
    ("echo 'open\nrpm -i /a.rpm", [("install", ("/a.rpm",), True)]),
    ("rpm -qi a; rpm -Va; rpm --import /k; rpm -K x; rpm -U --test /a.rpm", []),
    ("echo rpm -i /a.rpm; echo 'rpm -e a'; # rpm -e b", []),
    ("zypper refresh; dnf makecache; ldconfig; systemctl restart rpm", []),
]


@pytest.mark.parametrize(("script", "wanted"), SCRIPTS)
def test_what_scriptlets_install(script: str, wanted: list[tuple[str, tuple[str, ...], bool]]) -> None:
    assert [(call.verb, call.things, call.always) for call in calls(script)] == wanted


def test_a_nested_install_is_found_by_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "b.rpm"
    file.touch()
    monkeypatch.setattr(content_nested, "nevra_of_file", lambda _path: Nevra.parse("b-2-1.noarch"))
    outer = row("a-1-1.noarch", tid=5, postin=f"rpm -i {tmp_path}/*.rpm")
    lost = ("a-1-1.noarch", "%post", f"rpm -i {tmp_path}/*.rpm", "b-2-1.noarch", str(file), "install")
    assert list(content_nested.nested([outer])) == [lost]
    assert list(content_nested.nested([outer, row("b-1-1.noarch")])) == [lost]
    assert list(content_nested.nested([outer, row("b-3-1.noarch")])) == []


def test_a_nested_removal_counts_only_what_was_there_before() -> None:
    outer = row("a-1-1.noarch", tid=5, postin="rpm -e b")
    assert [one[3] for one in content_nested.nested([outer, row("b-1-1.noarch", tid=4)])] == ["b-1-1.noarch"]
    assert list(content_nested.nested([outer, row("b-1-1.noarch", tid=6)])) == []


def test_scriptlets_of_other_interpreters_are_not_read() -> None:
    outer = row("a-1-1.noarch", tid=5, postin="rpm -e b", postinprog=["<lua>"])
    assert list(content_nested.nested([outer, row("b-1-1.noarch", tid=4)])) == []


def test_versions_are_doubled_only_where_they_share_a_file() -> None:
    old, new = (with_files(f"a-{n}-1.noarch", {"/opt/a": n}, tid=n) for n in (1, 2))
    assert [[str(one.nevra) for one in some] for some in duplicates([old, new])] == [["a-2-1.noarch", "a-1-1.noarch"]]
    apart = with_files("a-3-1.noarch", {"/opt/b": 1})
    assert duplicates([old, apart]) == []
    assert duplicates([old, with_files("a-2-1.x86_64", {"/opt/a": 1})]) == []


def test_the_last_to_come_is_kept_even_if_it_is_the_older_version() -> None:
    newer, older = with_files("a-2-1.noarch", {"/a": 1}, tid=1), with_files("a-1-1.noarch", {"/a": 1}, tid=2)
    assert str(duplicates([newer, older])[0][0].nevra) == "a-1-1.noarch"


@pytest.mark.parametrize(
    ("name", "provides"), [("kernel-core", []), ("kernel-rt-devel", []), ("x", ["multiversion(kernel)"])]
)
def test_kernels_may_stand_side_by_side(name: str, provides: list[str]) -> None:
    rows = [with_files(f"{name}-{n}-1.x86_64", {"/boot/x": 1}, providename=provides) for n in (1, 2)]
    assert duplicates(rows) == []
    assert len(duplicates([with_files(f"kernel-headers-{n}-1.x86_64", {"/usr/x": 1}) for n in (1, 2)])) == 1


def test_only_files_that_were_to_have_content_count_as_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_disk, "CHANGING", (f"{tmp_path}/changing/",))
    names = ("lost", "full", "config", "meant", "shared", "absent", "unchecked")
    paths = {name: str(tmp_path / name) for name in names}
    for name in set(names) - {"absent"}:
        Path(paths[name]).write_text("x" if name == "full" else "")
    sizes = {paths[name]: 0 if name == "meant" else 3 for name in names}
    flags = [content_disk.CONFIG if name == "config" else 0 for name in names]
    checks = [~content_disk.VERIFY_SIZE if name == "unchecked" else -1 for name in names]
    one = with_files("a-1-1.noarch", sizes, fileflags=flags, fileverifyflags=checks)
    other = with_files("b-1-1.noarch", {paths["shared"]: 0})
    assert content_disk.empty_files([one, other]) == [("a-1-1.noarch", paths["lost"])]


def test_files_that_differ_from_their_package(tmp_path: Path) -> None:
    same, torn = tmp_path / "same", tmp_path / "torn"
    same.write_text("a")
    torn.write_text("b")
    digest = hashlib.sha256(b"a").hexdigest()
    one = with_files("a-1-1.noarch", {str(same): 1, str(torn): 1}, filedigests=[digest] * 2, filedigestalgo=8)
    assert content_disk.unlike(one) == [str(torn)]
    one.header["filedigestalgo"] = 99
    assert content_disk.unlike(one) == []


def test_unfinished_files_are_those_of_transactions_that_began_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_disk, "WALKED", (str(tmp_path),))
    (tmp_path / "deep").mkdir()
    for name in ("deep/a;5f5e1000", "deep/b;5f5e1234", "c;notahexa", "d;00000001", "e"):
        (tmp_path / name).touch()
    (tmp_path / "f;5f5e1000").mkdir()
    assert content_disk.leftovers([], 0x5F5E1200) == [str(tmp_path / "deep/a;5f5e1000")]


def relations(provides: Mapping[str, str], requires: Mapping[str, str]) -> dict[str, Any]:
    return {
        "providename": list(provides), "provideversion": list(provides.values()), "provideflags": [8] * len(provides),
        "requirename": list(requires), "requireversion": list(requires.values()),
        "requireflags": [8 if version else 0 for version in requires.values()],
    }  # fmt: skip


def test_a_requirement_is_broken_by_what_came_later_alone() -> None:
    tool = row("tool-1-1.noarch", tid=1, **relations({"tool": "1-1"}, {"libs": "1"}))
    libs = row("libs-2-1.noarch", tid=2, **relations({"libs": "2-1"}, {}))
    (one,) = content_needs.unmet([tool, libs])
    assert (str(one.row.nevra), one.requirement, one.instead) == ("tool-1-1.noarch", "libs = 1", "libs-2-1.noarch")
    assert content_needs.unmet([tool._replace(tid=3), libs]) == []
    assert content_needs.unmet([tool, row("libs-1-1.noarch", tid=2, **relations({"libs": "1-1"}, {}))]) == []


def test_what_nobody_has_counts_for_the_last_transaction_only() -> None:
    first = row("first-1-1.noarch", tid=2, **relations({"first": "1-1"}, {"second": "", "rpmlib(x)": "", "/": ""}))
    assert [one.requirement for one in content_needs.unmet([first])] == ["second"]
    assert content_needs.unmet([first, row("other-1-1.noarch", tid=3)]) == []


def test_index_and_packages_are_compared_both_ways() -> None:
    records = Records([row("a-1-1.noarch", 1), row("b-1-1.noarch", 2)], frozenset({3}), {
        "a": frozenset({1}), "c": frozenset({3}), "d": frozenset({4})
    })  # fmt: skip
    assert content_pass.not_indexed(records) == ["b-1-1.noarch"]
    assert content_pass.dangling(records) == ["d"]


def member(path: str, inode: int, content: bytes, mode: int = REGULAR) -> bytes:
    name = f".{path}".encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


def end() -> bytes:
    name = b"TRAILER!!!\0"
    head = b"070701" + b"".join(b"%08x" % field for field in (*[0] * 11, len(name), 0)) + name
    return head + b"\0" * (-len(head) % 4)


def test_single_files_are_taken_out_of_an_archive_hard_links_too(tmp_path: Path) -> None:
    stream = io.BytesIO(
        member("/a/.hidden", 1, b"one") + member("/a/link", 2, b"") + member("/a/unwanted", 3, b"no")
        + member("/a/data", 2, b"shared") + end()
    )  # fmt: skip
    found = package_payload._members(stream, frozenset({"/a/.hidden", "/a/link"}), str(tmp_path))
    assert {path: Path(where).read_bytes() for path, where in found.items()} == {
        "/a/.hidden": b"one", "/a/link": b"shared"
    }  # fmt: skip
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]


@pytest.mark.parametrize("content", [b"", member("/a", 1, b"abc")[:-2], b"07070X" + b"0" * 200])
def test_a_damaged_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"too early|not known"):
        package_payload._members(io.BytesIO(content), frozenset({"/a"}), str(tmp_path))


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target, content = tmp_path / "target", tmp_path / "content"
    target.touch()
    content.write_text("new")
    before = target.stat().st_ino
    hands_files._replace(Runner(), str(target), Taken(str(content), 0o640, "root", "nobody-at-all", 1_000_000))
    after = target.stat()
    assert (target.read_text(), stat.S_IMODE(after.st_mode), after.st_mtime) == ("new", 0o640, 1_000_000)
    assert after.st_ino != before
    assert sorted(os.listdir(tmp_path)) == ["content", "target"]


def test_unfinished_files_are_moved_but_nothing_else(tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    treatment: Any = SimpleNamespace(aside=str(aside), host=SimpleNamespace(clock=SimpleNamespace(now=lambda: 2e9)))
    unfinished, finished = tmp_path / "a;5f5e1000", tmp_path / "b"
    unfinished.write_text("half")
    finished.touch()
    hands_files.put_aside(treatment, {"files": [str(unfinished), str(finished)]})
    assert (aside / str(unfinished).lstrip("/")).read_text() == "half"
    assert (unfinished.exists(), finished.exists()) == (False, True)


def test_a_package_file_is_the_same_build_or_none() -> None:
    file = PackageFile("/a.rpm", "a-1-1.noarch", "1234", "5678")
    assert Wanted("a", "a-1-1.noarch").is_met_by(file)
    assert Wanted("a", "", "1234").is_met_by(file)
    assert not Wanted("a", "a-1-1.noarch", "4321").is_met_by(file)
    assert not Wanted("a").is_met_by(file)
    assert label("a-3:1-1.noarch") == "a-1-1.noarch"


def test_a_damaged_record_is_known_by_name_or_by_nevra() -> None:
    known = {"name": "a", "header": "1234", "whole": ""}
    assert _wanted(known, "a-1-1.noarch") == Wanted("a", "a-1-1.noarch", "1234")
    assert _wanted(known, "a") == Wanted("a", "", "1234")


def test_a_record_goes_with_all_its_rows(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "rpmdb.sqlite")
    for table in ("Packages", "Name"):
        connection.execute(f"CREATE TABLE {table} (hnum INTEGER, key TEXT)")
        connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", [(1, "a"), (2, "b")])
    connection.commit()
    _delete(str(tmp_path), [1])
    assert [connection.execute(f"SELECT hnum FROM {name}").fetchall() for name in ("Packages", "Name")] == [[(2,)]] * 2


def test_what_rpm_says_is_needed_too() -> None:
    said = (
        "error: Failed dependencies:\n\ttool = 1 is needed by (installed) extra-1-1.noarch\n\tnew >= 2 is needed by b-2"
    )
    assert _also_needed(said) == {"extra", "new"}
