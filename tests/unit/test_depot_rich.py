from __future__ import annotations

import pytest

from interlock.depot.rich import is_met, parse_rich, wanted
from interlock.package import Relation


def there(*names: str):  # type: ignore[no-untyped-def]
    return lambda relation: relation.name in names


@pytest.mark.parametrize(
    ("text", "names", "answer"),
    [
        ("(a or b)", "b", True),
        ("(a or b)", "", False),
        ("(a and b)", "a", False),
        ("(a and b)", "a b", True),
        ("(a and b and c)", "a b", False),
        ("(a or b or c)", "c", True),
        ("(a if b)", "", True),
        ("(a if b)", "b", False),
        ("(a if b else c)", "", False),
        ("(a if b else c)", "c", True),
        ("(a unless b)", "a", True),
        ("(a unless b)", "a b", False),
        ("(a unless b else c)", "b c", True),
        ("(a with b)", "a b", True),
        ("(a without b)", "a", True),
        ("((a and b) or lib(x)(64bit))", "lib(x)(64bit)", True),
        ("(a >= 1.0-2 or b < 3)", "b", True),
    ],
)
def test_rich_requirements_hold_or_not(text: str, names: str, answer: bool) -> None:
    node = parse_rich(text)
    assert node is not None
    assert is_met(node, there(*names.split())) is answer


@pytest.mark.parametrize(
    "text", ["", "a", "(", "(a", "(a or)", "(a xor b)", "(a or b) c", "()", "(a >= )", "(" * 200 + "a" + ")" * 200]
)
def test_what_is_no_rich_requirement_is_known(text: str) -> None:
    assert parse_rich(text) is None


@pytest.mark.parametrize(
    ("text", "met", "available", "names"),
    [
        ("(a or b)", "", "b", "b"),
        ("(a or b)", "", "a b", "a"),
        ("(a and b)", "a", "b", "b"),
        ("(a and b)", "", "b", ""),
        ("(a if b)", "b", "a", "a"),
        ("(a if b else c)", "", "c", "c"),
    ],
)
def test_what_would_make_it_hold(text: str, met: str, available: str, names: str) -> None:
    node = parse_rich(text)
    assert node is not None
    found = wanted(node, there(*met.split()), there(*available.split()))
    assert [one.name for one in found] == names.split()


def test_versions_are_kept() -> None:
    node = parse_rich("(a >= 2:1.0-2 or b)")
    assert isinstance(getattr(node, "left", None), Relation)
    assert str(node.left) == "a >= 2:1.0-2"  # type: ignore[union-attr]
