from __future__ import annotations

import random
import subprocess
from pathlib import Path

import depot_tools
import pytest

from interlock.package import (
    Evr,
    Nevra,
    Package,
    Relation,
    compare_versions,
    newest,
    package_from_json,
    package_to_json,
)

ALPHABET = ["0", "1", "2", "10", "007", "a", "b", "rc", "Z", ".", "..", "_", "+", "~", "^", "é"]
KNOWN = [
    "1",
    "1.0",
    "1.0.",
    "01.0",
    "1.0^",
    "1.0^a",
    "1.0^git1",
    "1.0~",
    "1.0~rc1",
    "1.0~^",
    "1.0^~",
    "1.0a",
    "a",
    "~",
    "^",
]


def as_rpm_does(pairs: list[tuple[str, str]], scratch: Path) -> list[int]:
    """Ask the real rpm for all pairs in one process."""
    path = scratch / "pairs"
    path.write_text("".join(f"{left} {right}\n" for left, right in pairs))
    program = (
        f'for line in io.lines("{path}") do local a, b = line:match("(.-) (.*)") print(rpm.vercmp(a, b) .. " ") end'
    )
    done = subprocess.run(["rpm", "--eval", f"%{{lua:{program}}}"], check=True, capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]


def test_versions_compare_as_in_rpm(tmp_path: Path) -> None:
    chance = random.Random(20091120)
    pairs = [(left, right) for left in KNOWN for right in KNOWN]
    for _ in range(6000):
        words = ["".join(chance.choices(ALPHABET, k=chance.randrange(1, 7))) for _ in range(2)]
        pairs.append((words[0], words[1]))
    answers = as_rpm_does(pairs, tmp_path)
    assert len(answers) == len(pairs)
    for (left, right), answer in zip(pairs, answers):
        assert compare_versions(left, right) == answer, (left, right)


def test_thousands_of_digits_are_compared() -> None:
    assert compare_versions("1" * 9000, "2" * 8999) == 1
    assert compare_versions("0" * 9000 + "1", "1") == 0


def test_relations_match_as_in_rpm(tmp_path: Path) -> None:
    versions = ["1", "1-2", "1-3", "2-1", "1:1", "1:0-1", "0:1-2"]
    sides = [""] + [f"{sense} {version}" for sense in ("<", "<=", "=", ">=", ">") for version in versions]
    cases = [(needed, given) for needed in sides for given in sides]
    specs = [
        depot_tools.Spec("giver", lines=tuple(f"Provides: r{i} {given}" for i, (_, given) in enumerate(cases))),
        depot_tools.Spec("taker", lines=tuple(f"Requires: r{i} {needed}" for i, (needed, _) in enumerate(cases))),
    ]
    packages = depot_tools.build(specs, str(tmp_path))
    argv = ["rpm", "--dbpath", str(tmp_path / "db"), "-i", "--test", "--nosignature", *packages]
    said = subprocess.run(argv, check=False, capture_output=True, text=True, env=depot_tools.ENVIRONMENT).stderr
    unmet = {int(line.split()[0][1:]) for line in said.splitlines() if "is needed by taker" in line}
    assert unmet
    for number, (needed, given) in enumerate(cases):
        want, have = depot_tools.relations(f"x {needed}")[0], depot_tools.relations(f"x {given}")[0]
        assert want.matches(have) == (number not in unmet), (needed, given)


def test_relations_of_different_names_never_match() -> None:
    assert not Relation("a").matches(Relation("b"))


@pytest.mark.parametrize(
    ("text", "evr"),
    [
        ("1", Evr(0, "1", "")),
        ("1-2", Evr(0, "1", "2")),
        ("3:1-2", Evr(3, "1", "2")),
        (":1-2", Evr(0, "1", "2")),
        ("1-2-3", Evr(0, "1-2", "3")),
        ("a:1", Evr(0, "a:1", "")),
        ("²:1", Evr(0, "²:1", "")),
    ],
)
def test_evr_is_read_as_in_rpm(text: str, evr: Evr) -> None:
    assert Evr.parse(text) == evr


@pytest.mark.parametrize(
    "text", ["bash-5.1-2.x86_64", "a-b-c-1:2~rc1-3.el9.noarch", "gpg-pubkey-1964c5fc-58e63918.(none)"]
)
def test_nevra_round_trip(text: str) -> None:
    assert str(Nevra.parse(text)) == text


@pytest.mark.parametrize("text", ["", "bash", "bash-5", "bash-5-1", "-5-1.x86_64", "bash--1.x86_64"])
def test_what_is_no_nevra_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a NEVRA"):
        Nevra.parse(text)


def test_package_round_trip() -> None:
    package = Package(
        Nevra.parse("tool-1:2-3.x86_64"),
        provides=(Relation("tool", "=", Evr(1, "2", "3")),),
        requires=(Relation("/bin/sh", pre=True), Relation("lib", ">=", Evr(0, "1"))),
        conflicts=(Relation("other", "<", Evr(2, "1")),),
        obsoletes=(Relation("old"),),
        files=("/usr/bin/tool",),
        size=42,
    )
    assert package_from_json(package_to_json(package)) == package


def test_newest() -> None:
    some = [Package(Nevra.parse(f"a-{version}-1.noarch")) for version in ("2", "10", "9")]
    found = newest(some)
    assert found is not None
    assert str(found.nevra) == "a-10-1.noarch"
    assert newest([]) is None
