"""The catalogue is whole: every case has its texts, its cure, and a way to be made, or the reason why not."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from interlock.lab.cases.reproduce import CASES
from interlock.waits.catalogue import catalogue
from interlock.waits.diagnose import BRINGS
from interlock.waits.plan_cure import CURES


def test_all_cases_are_there_once() -> None:
    assert [case.number for case in catalogue().values()] == list(range(1, 39))


@pytest.mark.parametrize("name", list(catalogue()))
def test_each_says_what_it_is_and_what_helps(name: str) -> None:
    case = catalogue()[name]
    assert set(case.backends) <= {"bdb", "ndb", "sqlite"}
    assert case.title
    assert case.means.endswith(".")
    assert case.cure.endswith(".")
    assert case.made in ("real", "made")
    assert case.needs


def test_what_the_lab_makes_is_what_the_catalogue_says() -> None:
    said = {case.id: case.needs for case in catalogue().values() if case.made == "real"}
    assert {name: case.release for name, case in CASES.items() if catalogue()[name].made == "real"} == said


def test_enough_of_them_are_real() -> None:
    numbers = {case.number for case in catalogue().values() if case.made == "real"}
    assert len(numbers) >= 26
    assert numbers >= {1, 2, 8, 10, *range(12, 17), 18, 19, *range(21, 30), 33}
    assert numbers & {4, 5}


def test_cures_and_consequences_are_of_the_catalogue() -> None:
    assert set(CURES) <= set(catalogue())
    assert {*BRINGS, *(one for brought in BRINGS.values() for one in brought)} <= set(catalogue())


def test_the_page_is_current() -> None:
    root = Path(__file__).resolve().parents[2]
    made = runpy.run_path(str(root / "tools/catalogue_page.py"))["page"]()
    assert (root / "docs/catalogue.md").read_text() == made, "run tools/catalogue_page.py"
