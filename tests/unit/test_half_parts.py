"""What a transaction that was cut off leaves, the hold that it means, and the ways out. No host is needed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from depot_tools import offered, relations
from made import host_at

from interlock.boot.guard import lower_guard, read_dirty
from interlock.boot.reboot import states
from interlock.depot.repository import Depot
from interlock.errors import Held
from interlock.host.context import Host
from interlock.host.hold import FOREIGN, Hold, put_on_hold, read_hold, refuse_when_held
from interlock.package import Nevra, Package
from interlock.upgrade import half as halves
from interlock.upgrade import half_bindings, half_mend, half_proof
from interlock.upgrade.half import Half, HalfUpgraded, by_query, look_and_hold, refuse_half, remembered
from interlock.upgrade.plan import Plan, Upgrade
from interlock.upgrade.verify import PayloadFile
from interlock.waits.content_pass import Row

FOUND = Half(
    pairs=(("a-2-1.noarch", "a-1-1.noarch"), ("b-2-1.noarch", "b-1-1.noarch")), since=1e9,
    brought=("a-2-1.noarch", "b-2-1.noarch", "new-1-1.noarch"),
)  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = host_at(tmp_path)
    os.makedirs(found.paths.state)
    return found


def finds(monkeypatch: pytest.MonkeyPatch, *answers: Half | None) -> None:
    """Let each look at the host find the next of some answers."""
    left = iter(answers)
    monkeypatch.setattr(halves, "find_half", lambda _host: next(left))


def package(nevra: str, **kinds: str) -> Package:
    return Package(Nevra.parse(nevra), **{kind: relations(text) for kind, text in kinds.items()})


def installed(*nevras: str) -> tuple[Package, ...]:
    return tuple(package(one) for one in nevras)


# -- the hold


def test_a_half_upgraded_host_is_held_guarded_and_remembered(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, FOUND)
    with pytest.raises(HalfUpgraded, match="two versions") as caught:
        refuse_half(host)
    assert caught.value.exit_status == 5
    hold, dirty = read_hold(host.paths), read_dirty(host.paths)
    assert hold is not None
    assert dirty is not None
    assert (hold.operation, dirty.operation) == (FOREIGN, FOREIGN)
    assert "2001-09-09 01:46:40 UTC" in hold.reason
    assert remembered(host.paths) == FOUND
    # Looked at once more it is not: what mends the host has changed the database meanwhile.
    assert look_and_hold(host) == FOUND


@pytest.mark.parametrize("answer", [None, Half(), Half(leftovers=("/usr/bin/a;5f5e1000",), since=1.6e9)])
def test_a_host_that_is_whole_or_at_work_is_not_held(
    host: Host, monkeypatch: pytest.MonkeyPatch, answer: Half | None
) -> None:
    finds(monkeypatch, answer, answer)
    refuse_half(host)
    assert look_and_hold(host) == answer
    assert (read_hold(host.paths), read_dirty(host.paths), remembered(host.paths)) == (None, None, None)


def test_nobody_lowers_the_guard_of_such_a_host_before_it_is_proven(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, FOUND)
    look_and_hold(host)
    lower_guard(host)
    assert {one.id for one in states(host)} == {"between-two-states", "on-hold"}
    halves.end_hold(host)
    assert states(host) == ()
    assert not os.path.exists(halves.record_path(host.paths))


def test_a_hold_that_gave_way_to_an_operations_comes_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, FOUND)
    look_and_hold(host)
    put_on_hold(host.paths, Hold("op-1", "its undo store is damaged", 1.0))
    os.remove(host.paths.hold)
    assert look_and_hold(host) == FOUND
    hold = read_hold(host.paths)
    assert hold is not None
    assert hold.operation == FOREIGN


def test_only_the_operation_that_mends_is_let_through(host: Host) -> None:
    put_on_hold(host.paths, Hold(FOREIGN, "rpm was cut off", 1.0))
    refuse_when_held(host.paths, FOREIGN)
    with pytest.raises(Held, match="something else than Interlock"):
        refuse_when_held(host.paths)
    put_on_hold(host.paths, Hold("op-1", "its undo store is damaged", 1.0))
    with pytest.raises(Held, match="operation op-1"):
        refuse_when_held(host.paths, FOREIGN)


def test_a_record_that_cannot_be_read_still_holds(host: Host) -> None:
    put_on_hold(host.paths, Hold(FOREIGN, "rpm was cut off", 7.0))
    Path(halves.record_path(host.paths)).write_text("{")
    assert remembered(host.paths) == Half(since=7.0)


def test_what_was_seen_roughly_is_looked_at_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    rough = replace(FOUND, rough=True, brought=())
    finds(monkeypatch, rough, rough, FOUND)
    assert look_and_hold(host) == rough
    assert look_and_hold(host) == rough
    assert look_and_hold(host) == FOUND
    assert json.loads(Path(halves.record_path(host.paths)).read_text())["rough"] is False


# -- finding


def test_pairs_are_seen_without_the_bindings_too() -> None:
    lines = [
        "a\t1-1\tnoarch\t5", "a\t2-1\tnoarch\t9", "lib\t1-1\ti686\t5", "lib\t1-1\tx86_64\t5", "kernel\t1-1\tx86_64\t1",
        "kernel\t2-1\tx86_64\t2", "gpg-pubkey\t1-1\t(none)\t1", "gpg-pubkey\t2-1\t(none)\t1",
    ]  # fmt: skip
    assert by_query(lines) == {
        "pairs": [["a-2-1.noarch", "a-1-1.noarch"]], "since": 9, "brought": ["a-2-1.noarch"], "rough": True
    }  # fmt: skip


def row(nevra: str, tid: int, files: Sequence[str], digest: str) -> Row:
    count = len(files)
    header: dict[str, Any] = {
        "filenames": list(files), "fileflags": [0] * count, "filesizes": [1] * count, "filemodes": [0o100644] * count,
        "filestates": [0] * count, "fileverifyflags": [-1] * count, "filedigests": [digest] * count,
        "filedigestalgo": 8, "filelinktos": [""] * count,
    }  # fmt: skip
    return Row(1, Nevra.parse(nevra), tid, header)


def test_an_unfinished_file_counts_where_files_of_its_package_are_not_its_own(tmp_path: Path) -> None:
    path = str(tmp_path / "tool")
    Path(path).write_text("of the next version")
    begun = int(os.stat(path).st_ctime)
    leftover = [f"{path};{begun:08x}"]
    cut = row("tool-1-1.noarch", begun - 100, [path], "00" * 32)
    assert list(halves._torn([cut], leftover)) == [(begun, "tool-1-1.noarch", path)]
    # It was laid down again since; nobody has it; what differs was changed before.
    assert list(halves._torn([cut._replace(tid=begun + 1)], leftover)) == []
    assert list(halves._torn([row("other-1-1.noarch", 1, ["/opt/other"], "")], leftover)) == []
    assert list(halves._torn([cut], [f"{path};{begun + 1000:08x}"])) == []


def test_a_missing_file_counts_where_its_folder_was_changed_since(tmp_path: Path) -> None:
    gone = PayloadFile("a-1-1.noarch", str(tmp_path / "deep" / "gone"), 0o100644, "", "", "", 0, -1)
    changed = os.stat(tmp_path).st_ctime
    assert half_proof._touched(gone, changed - 1)
    assert not half_proof._touched(gone, changed + 1)
    assert not half_proof._touched(replace(gone, flags=half_proof.DOC), changed - 1)


# -- the ways out


def test_what_took_the_place_of_another_name_comes_again() -> None:
    there = (package("old-1-1.noarch"), package("new-1-1.noarch", obsoletes="old < 2"), package("b-1-1.noarch"))
    assert half_mend.successors(there, ["new-1-1.noarch", "b-1-1.noarch"]) == {"new-1-1.noarch"}
    assert half_mend.successors(there[1:], ["new-1-1.noarch"]) == set()


def test_a_depot_must_bring_what_was_cut_off_or_something_later() -> None:
    same, earlier = offered(package("a-2-1.noarch"), package("b-1-5.noarch"))
    plan = Plan("/depot", upgrades=tuple(Upgrade((), one) for one in (same, earlier)))
    assert list(half_mend.lacking(FOUND, plan, installed("a-1-1.noarch", "b-1-1.noarch"))) == ["b-2-1.noarch"]
    torn = Half(torn=(("c-1-1.noarch", "/opt/c"),))
    assert list(half_mend.lacking(torn, plan, installed("c-1-1.noarch"))) == ["c later than c-1-1.noarch"]


def backward(monkeypatch: pytest.MonkeyPatch, host: Host, there: Sequence[str], *depot: str) -> half_mend.Way:
    monkeypatch.setattr(half_mend, "open_depot", lambda _, trust: Depot("/d", packages=offered(*installed(*depot))))
    monkeypatch.setattr(half_mend, "read_host", lambda _: (None, installed(*there), []))
    return half_mend.back(host, FOUND, half_mend.Offer("/d"), ["t-1-1.noarch", "a-1-1.noarch", "new-1-1.noarch"])


THERE = ("a-2-1.noarch", "a-1-1.noarch", "b-2-1.noarch", "b-1-1.noarch", "new-1-1.noarch", "t-1-1.noarch")


def test_back_goes_to_the_very_packages_from_before(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    way = backward(monkeypatch, host, THERE, "a-1-1.noarch", "b-1-1.noarch", "t-1-1.noarch")
    assert way.open
    assert way.forgotten == ("a-1-1.noarch", "b-1-1.noarch")
    changes = {str(one.new.nevra): [str(old) for old in one.old] for one in way.picture.plan.upgrades}
    assert changes == {
        "a-1-1.noarch": ["a-2-1.noarch"], "b-1-1.noarch": ["b-2-1.noarch"], "t-1-1.noarch": ["t-1-1.noarch"]
    }  # fmt: skip
    assert [str(one.nevra) for one in way.picture.plan.removals] == ["new-1-1.noarch"]
    after = way.picture.plan.expected(one.nevra for one in way.picture.installed)
    assert sorted(map(str, after)) == ["a-1-1.noarch", "b-1-1.noarch", "t-1-1.noarch"]


def test_back_is_closed_where_a_package_is_missing_or_was_removed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    way = backward(monkeypatch, host, THERE, "a-1-1.noarch", "t-1-1.noarch")
    assert (way.open, way.missing) == (False, ("b-1-1.noarch",))
    begun = backward(monkeypatch, host, THERE, "a-1-1.noarch", "b-1-1.noarch", "t-1-1.noarch", "new-0-1.noarch")
    assert not begun.open
    assert "rpm had already removed" in begun.missing[0]


def test_back_lays_down_again_what_the_database_says_is_there(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward was begun, took the later records out, and was cut off in its turn."""
    there = ("a-1-1.noarch", "b-1-1.noarch", "t-1-1.noarch")
    way = backward(monkeypatch, host, there, *there)
    assert way.forgotten == ()
    assert {str(one.new.nevra) for one in way.picture.plan.upgrades} == set(there)
    assert all(one.old == (one.new.nevra,) for one in way.picture.plan.upgrades)


def test_the_bindings_come_with_all_that_they_require() -> None:
    packages = offered(
        package("python3-rpm-2-1.x86_64", requires="librpm >= 2", provides="python3-rpm"),
        package("librpm-2-1.x86_64", provides="librpm = 2"), package("other-1-1.x86_64"),
    )  # fmt: skip
    found = half_bindings.needed(Depot("/d", packages=packages))
    assert [one.name for one in found] == ["librpm", "python3-rpm"]
    assert half_bindings.needed(Depot("/d", packages=packages[1:])) == []
