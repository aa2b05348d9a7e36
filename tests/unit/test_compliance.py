"""What a fleet lacks: bits say the same as looking at one host after the other, and baselines choose what they say."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from depot_tools import write_repository
from sqlalchemy import Engine
from test_relevant import NAMES, package, text

from interlock.depot.bulletin import Bulletin, BulletinStatus, bulletin_states
from interlock.depot.errors import DepotMissing
from interlock.depot.repository import Depot, open_depot
from interlock.manager import baselines
from interlock.manager.baselines import Baseline, unfold
from interlock.manager.compliance import Evaluator
from interlock.manager.errors import BadBaseline, UnknownBaseline
from interlock.manager.inventory import Entry, Known
from interlock.manager.measure import measure
from interlock.manager.store import open_store
from interlock.package import Evr, Nevra, Package


@pytest.mark.parametrize("seed", range(120))
def test_bits_say_what_each_host_would_say(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    offered = [package(chance, name, chance.randint(1, 4)) for name in chance.choices(NAMES, k=20)]
    nevras = sorted({one.nevra for one in offered} | {Nevra("p1", Evr(0, "9", "1"), "noarch")}, key=str)
    rows = [
        Bulletin(f"B-{number}", packages=tuple(chance.sample(nevras, chance.randint(1, 3))),
                 recalled=chance.random() < 0.2)
        for number in range(6)
    ]  # fmt: skip
    write_repository(str(tmp_path), {"primary": text(offered)})
    depot = replace(open_depot(str(tmp_path)), bulletins=tuple(rows))
    hosts = [
        [replace(package(chance, name, chance.randint(1, 3)), obsoletes=()) for name in chance.choices(NAMES, k=8)]
        for _ in range(5)
    ]  # fmt: skip
    numbers = {one: number for number, one in enumerate(sorted({str(one.nevra) for host in hosts for one in host}), 1)}
    evaluator = Evaluator(depot, {number: one for one, number in numbers.items()})
    for index, host in enumerate(hosts):
        bits = evaluator.of_set(index, sorted({numbers[str(one.nevra)] for one in host}))
        for state in bulletin_states(depot, {one.nevra: one for one in host}.values()):
            bit = evaluator.bits([state.bulletin.id])
            if state.bulletin.recalled:
                assert bool(bits.here & bit) == bool(state.here)
                continue
            found = (bool(bits.applicable & bit), bool(bits.missing & bit), bool(bits.done & bit))
            assert found == EXPECTED[state.status], (state, host)


EXPECTED = {
    BulletinStatus.APPLICABLE: (True, False, False), BulletinStatus.MISSING_PACKAGE: (False, True, False),
    BulletinStatus.INSTALLED: (False, False, True), BulletinStatus.NOT_APPLICABLE: (False, False, False),
}  # fmt: skip
ONE = Nevra("p", Evr(0, "2", "1"), "noarch")
BULLETINS = (
    Bulletin("S-1", severity="Critical", category="security", issued="2026-01-15 00:00:00", packages=(ONE,)),
    Bulletin("S-2", severity="Low", category="security", issued="2026-03-01"),
    Bulletin("F-1", severity="Critical", category="bugfix", issued="2025-12-31"),
    Bulletin("F-2", category="bugfix"),
)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, "S-1 S-2 F-1 F-2"), ({"severity": ("critical",)}, "S-1 F-1"), ({"category": ("Security",)}, "S-1 S-2"),
        ({"severity": ("critical", "low"), "category": ("security",)}, "S-1 S-2"),
        ({"after": "2026-01-15"}, "S-1 S-2"), ({"before": "2026-01-15"}, "F-1"),
        ({"after": "2026-01-01", "before": "2026-02-01"}, "S-1"),
        ({"severity": ("critical",), "include": ("F-2", "X"), "exclude": ("F-1",)}, "S-1 F-2 X"),
        ({"include": ("S-1",), "exclude": ("S-1",)}, "S-2 F-1 F-2"),
    ],
)  # fmt: skip
def test_a_dynamic_baseline_takes_what_bulletins_say(conditions: dict[str, object], expected: str) -> None:
    one = Baseline.from_json({"name": "b", "kind": "dynamic", "depot": "/d", **conditions})
    one.check()
    assert one.select(BULLETINS) == frozenset(expected.split())
    assert Baseline.from_json(one.to_json()) == one


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_store(f"sqlite:///{tmp_path / 'manager.db'}")


def test_groups_are_taken_apart_and_parts_stay(engine: Engine) -> None:
    plain = (Baseline("a", "dynamic", "/d"), Baseline("b", "fixed", "/d", ("S-1",)))
    for one in (*plain, Baseline("g", "group", baselines=("b", "a")), Baseline("h", "group", baselines=("g", "a"))):
        baselines.put(engine, one)
    known = baselines.read_all(engine)
    assert [one.name for one in unfold(known, ["h"])] == ["a", "b"]
    with pytest.raises(BadBaseline, match="part of the group g"):
        baselines.remove(engine, "a")
    with pytest.raises(UnknownBaseline, match="nobody"):
        baselines.put(engine, Baseline("bad", "group", baselines=("nobody",)))
    assert "bad" not in baselines.read_all(engine)
    baselines.remove(engine, "h")
    with pytest.raises(UnknownBaseline):
        baselines.remove(engine, "h")


@pytest.mark.parametrize(
    "one",
    [Baseline("a b", "dynamic", "/d"), Baseline("a", "dynamic"), Baseline("a", "fixed", "/d"),
     Baseline("a", "dynamic", "/d", ("X",)), Baseline("a", "group", "/d", baselines=("b",)), Baseline("a", "group"),
     Baseline("a", "other", "/d"), Baseline("a", "dynamic", "/d", after="soon")],
)  # fmt: skip
def test_a_baseline_that_means_nothing_is_refused(engine: Engine, one: Baseline) -> None:
    with pytest.raises(BadBaseline):
        baselines.put(engine, one)
    assert baselines.read_all(engine) == {}


def depot(*bulletins: Bulletin) -> Depot:
    from interlock.depot.metadata import DepotPackage  # noqa: PLC0415

    return Depot("/d", packages=(DepotPackage(Package(ONE), "p.rpm", "sha256", "0" * 64, 1),), bulletins=bulletins)


SETS: tuple[Mapping[int, str], Mapping[int, Sequence[int]]] = ({1: "p-1-1.noarch", 2: str(ONE)}, {1: [1], 2: [2]})
RHEL = {"product": {"name": "RHEL", "version": "9.4"}}


def known(name: str, package_set: int | None, **more: object) -> Known:
    return Known(1, Entry(name, product=str(more.get("product", ""))), str(more.get("state", "reachable")),
                 package_set=package_set, facts=RHEL)  # fmt: skip


def test_each_host_is_measured_and_says_why_not() -> None:
    hosts = [known("old", 1), known("new", 2), known("never", None, state="new"),
             known("esxi", None, state="not-ours", product="ESXi 8")]  # fmt: skip
    wanted = [Baseline("all", "dynamic", "/d"), Baseline("suse", "dynamic", "/d", product="SLES 15"),
              Baseline("gone", "dynamic", "/gone")]  # fmt: skip

    def opened(place: str) -> Depot:
        if place == "/gone":
            raise DepotMissing(depot=place)
        return depot(*BULLETINS)

    found = {(one.baseline, one.host): one for one in measure(hosts, wanted, SETS, opened)}
    assert {host: found["all", host].state for host in ("old", "new", "never", "esxi")} == {
        "old": "non-compliant", "new": "compliant", "never": "unknown", "esxi": "not-measured"}  # fmt: skip
    assert found["all", "old"].missing == ("S-1",)
    assert "not an RPM system" in found["all", "esxi"].reason
    assert found["suse", "old"].state == "not-measured"
    assert "SLES 15" in found["suse", "old"].reason
    assert found["gone", "old"].state == "unknown"


def test_a_recall_counts_at_once_and_flags_who_has_it() -> None:
    taken_back = replace(BULLETINS[0], recalled=True, recall_reason="it leaves a lock", replacement="S-2")
    rows = measure([known("old", 1), known("new", 2)], [Baseline("all", "dynamic", "/d")], SETS,
                   lambda _: depot(taken_back, *BULLETINS[1:]))  # fmt: skip
    assert [one.state for one in rows] == ["compliant", "recalled-installed"]
    assert "it leaves a lock; S-2 takes its place" in rows[1].reason
    before = Evaluator(depot(*BULLETINS), SETS[0])
    before.of_set(1, [1])
    after = before.changed((taken_back, *BULLETINS[1:]))
    assert (after.recalled, after.of_set(1, []).applicable) == (1, 1)
    with pytest.raises(ValueError, match="other bulletins"):
        before.changed(BULLETINS[1:])
