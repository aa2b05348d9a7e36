"""CEL, as its language definition has it; and what a hostile rule file may try."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.advice.cel_eval import CelError, Expression, Unknown
from interlock.advice.cel_parse import CelSyntaxError

FACTS: dict[str, Any] = {"a": {"b": 1, "c": [1, 2, 3], "s": "text", "m": {"k": True}}, "x": 5}
VALUES: list[tuple[str, Any]] = [
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("7 / 2", 3),
    ("-7 / 2", -3),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("2.5 * 2.0", 5.0),
    ("0x1F", 31),
    ("1e3", 1000.0),
    (".5 + .5", 1.0),
    ("5u + 1u", 6),
    ("-x", -5),
    ("--x", 5),
    ("!!true", True),
    ("1.0 / 0.0 > 1e300", True),
    ("'a' + \"b\"", "ab"),
    ("r'\\n' == '\\\\n'", True),
    ("'\\u00e9' == 'é'", True),
    ("'''a'b'''", "a'b"),
    ("b'abc' == b'abc'", True),
    ("size('é')", 1),
    ("'é'.size()", 1),
    ("size({'a': 1})", 1),
    ("1 == 1.0", True),
    ("1 == '1'", False),
    ("null == null", True),
    ("[1, 2] == [1, 2.0]", True),
    ("1 < 1.5", True),
    ("'a' < 'b'", True),
    ("true ? 1 : 2", 1),
    ("false ? 1 : true ? 2 : 3", 2),
    ("2 in [1, 2]", True),
    ("'k' in a.m", True),
    ("'b' in {'a': 1}", False),
    ("a.c[1]", 2),
    ("a['b']", 1),
    ("a.m.k", True),
    ("{'x': 1}.x", 1),
    ("has(a.b)", True),
    ("has(a.z)", False),
    ("[1, 2] + [3]", [1, 2, 3]),
    ("a.c.map(i, i * 2)", [2, 4, 6]),
    ("a.c.map(i, i > 1, i)", [2, 3]),
    ("a.c.filter(i, i > 1)", [2, 3]),
    ("a.c.all(i, i > 0)", True),
    ("a.c.exists(i, i == 9)", False),
    ("a.c.exists_one(i, i == 2)", True),
    ("a.m.all(k, a.m[k])", True),
    ("[].all(i, false)", True),
    ("[].exists(i, true)", False),
    ("a.s.startsWith('te') && a.s.endsWith('xt') && a.s.contains('ex')", True),
    ("a.s.matches('^t.*t$')", True),
    ("int('42') + int(1.9)", 43),
    ("string(1.5) + string(true)", "1.5true"),
    ("double('2')", 2.0),
    ("bool('false')", False),
    ("type(1) == 'int'", True),
    ("version_compare('2.5-18', '2.5-34')", -1),
    ("version_compare('1:1-1', '2-1')", 1),
    ("[[1, 2], [3]].exists(r, r.exists(v, v == 3))", True),
    ("true || 1 / 0 == 1", True),
    ("1 / 0 == 1 || true", True),
    ("false && a.zz", False),
    ("a.zz == 1 && false", False),
    ("[0, 1].exists(i, 1 / i == 1)", True),
    ("1 // comment\n + 1", 2),
]  # fmt: skip
ERRORS = [
    "1 / 0",
    "1 % 0",
    "1 + 1.0",
    "1 + '1'",
    "true < 1",
    "!1",
    "-'a'",
    "'a' * 2",
    "nothing",
    "f(1)",
    "1 ? 2 : 3",
    "[1][5]",
    "[1][-1]",
    "1.x",
    "1 in 1",
    "9223372036854775807 + 1",
    "9223372036854775808",
    "size(1)",
    "int('x')",
    "int('1_0')",
    "'a'.matches('(')",
    "a.c.all(i, i)",
    "1 && true",
    "{1.5: 1}",
    "{'a': 1, 'a': 2}",
    "'aaaa'.matches('(a+)+$')",
    "'a'.matches('(?=a)a')",
    "'a'.matches('a*a*a*a*b')",
    "a.s.exists(i, true)",
]  # fmt: skip
SYNTAX = [
    "",
    "1 +",
    "(1",
    "1)",
    "[1",
    "{1}",
    "a.",
    "a.1",
    "has(a)",
    "has(1)",
    "a.c.all(1, true)",
    "a.c.all(i)",
    "'abc",
    "1 2",
    "a ? b",
    "@",
    "if",
    "'\\q'",
    "'\\uD'",
    "a..b",
    "&& 1",
    "=",
    "a.exists(i.j, true)",
    "((((" * 40,
    "!" * 9000,
    "'a\nb'",
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_a_value(text: str, value: Any) -> None:
    found = Expression(text).value(FACTS)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ERRORS)
def test_a_mistake_is_an_error(text: str) -> None:
    with pytest.raises(CelError) as caught:
        Expression(text).value(FACTS)
    assert not isinstance(caught.value, Unknown)


@pytest.mark.parametrize("text", SYNTAX)
def test_what_is_no_expression_is_said_with_its_place(text: str) -> None:
    with pytest.raises(CelSyntaxError, match=r"character \d+|longer than|nested"):
        Expression(text)


@pytest.mark.parametrize(
    ("text", "fact"), [("a.z == 1", "a.z"), ("a.z.y", "a.z"), ("a.m['q']", "a.m['q']"), ("a.z && true", "a.z")]
)
def test_a_missing_fact_is_named(text: str, fact: str) -> None:
    with pytest.raises(Unknown) as caught:
        Expression(text).value(FACTS)
    assert caught.value.fact == fact


@pytest.mark.parametrize(
    "text",
    [
        "1" + " + 1" * 2000, "[" * 50 + "]" * 50, "a.c.all(i, " * 6 + "true" + ")" * 6,
        "[1,2,3,4,5,6,7,8].all(a, " + "[1,2,3,4,5,6,7,8].all(b, " * 7 + "true" + ")" * 8,
    ],
)  # fmt: skip
def test_a_hostile_expression_ends(text: str) -> None:
    # Whatever it is, it comes to an end, and to no other error.
    with contextlib.suppress(CelError, CelSyntaxError):
        Expression(text).value(FACTS)


@settings(deadline=None)
@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6).filter(bool))
def test_division_and_remainder_fit_each_other(left: int, right: int) -> None:
    facts = {"l": left, "r": right}
    assert Expression("(l / r) * r + l % r == l").value(facts) is True


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_is_refused(text: str) -> None:
    with contextlib.suppress(CelSyntaxError):
        assert Expression(text).tree


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)), max_leaves=8))  # fmt: skip
def test_a_fact_equals_itself_and_nothing_of_another_kind(value: Any) -> None:
    assert Expression("v == v && v in [v] && !(v != v)").value({"v": value}) is True
    assert Expression("v == w").value({"v": value, "w": {"other": [value]}}) is False
