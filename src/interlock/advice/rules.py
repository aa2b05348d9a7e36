"""Advisory rules: who is affected by a known defect of an update, and what to do. Pure: values in, values out.

A rule is data, and can be had without a release of this program: the shipped ones, those in
``/var/lib/interlock/advisories/*.json``, and a file that is named. Of two with one id the later revision counts. A bad
rule is named and left out. A rule that needs a fact that is not known is ``unknown``, which never counts as allow.
"""

from __future__ import annotations

import glob
import json
import os
import pkgutil
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from interlock.advice.cel_eval import CelError, Expression, Unknown
from interlock.advice.cel_parse import CelSyntaxError

FORMAT = 1
VERDICTS = ("hold", "deny", "quiesce", "warn", "note")
# These stop an update, and so must not be missed for want of a fact.
STRICT = ("hold", "deny")
TEXTS = ("title", "explanation", "solution")
FIELDS = frozenset(
    ("id", "revision", "title", "source", "applies", "when", "verdict", "explanation", "solution", "names")
)
LARGEST = 4 * 1024 * 1024
MOST_NAMES = 50


@dataclass(frozen=True)
class Rule:
    """One rule. ``applies`` and ``when`` are conditions over ``host`` and ``update``; ``names`` gives names to print.

    ``applies`` says whether the rule is about this update at all, ``when`` whether this host is affected.
    """

    id: str
    revision: int
    title: str
    verdict: str
    applies: Expression
    when: Expression
    explanation: str
    solution: str
    source: tuple[str, ...] = ()
    names: Optional[Expression] = None


@dataclass(frozen=True)
class RuleSet:
    """The rules by id, and what was wrong with those that were left out."""

    rules: Mapping[str, Rule]
    defects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Advice:
    """What one rule says of one host and update: ``affected``, ``not-affected``, ``not-concerned`` or ``unknown``.

    ``names`` are agents, virtual machines or packages that it is about; ``why`` is the missing fact of an unknown.
    """

    rule: Rule
    state: str
    names: tuple[str, ...] = ()
    why: str = ""

    @property
    def stops(self) -> bool:
        """Whether an update must not go on because of it."""
        return self.rule.verdict in STRICT and self.state in ("affected", "unknown")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        rule = self.rule
        return {
            "id": rule.id, "revision": rule.revision, "title": rule.title, "state": self.state, "verdict": rule.verdict,
            "names": list(self.names), "why": self.why, "explanation": rule.explanation, "solution": rule.solution,
            "source": list(rule.source),
        }  # fmt: skip


def judge(rules: RuleSet, host: Mapping[str, Any], update: Mapping[str, Any]) -> list[Advice]:
    """Return what every rule says, the gravest first."""
    facts = {"host": dict(host), "update": dict(update)}
    found = [_advice(rule, facts) for rule in rules.rules.values()]
    order = {"affected": 0, "unknown": 1, "not-affected": 2, "not-concerned": 3}
    return sorted(found, key=lambda one: (order[one.state], VERDICTS.index(one.rule.verdict), one.rule.id))


def telling(found: Iterable[Advice]) -> list[Advice]:
    """Return what a person should read: what affects the host, and what might for all that is known."""
    return [one for one in found if one.state == "affected" or (one.state == "unknown" and one.rule.verdict != "note")]


def _advice(rule: Rule, facts: Mapping[str, Any]) -> Advice:
    try:
        if not rule.applies.truth(facts):
            return Advice(rule, "not-concerned")
        if not rule.when.truth(facts):
            return Advice(rule, "not-affected")
    except Unknown as error:
        return Advice(rule, "unknown", why=error.fact)
    except CelError as error:
        return Advice(rule, "unknown", why=f"the rule itself: {error}")
    return Advice(rule, "affected", _names(rule, facts))


def _names(rule: Rule, facts: Mapping[str, Any]) -> tuple[str, ...]:
    if rule.names is None:
        return ()
    try:
        value = rule.names.value(facts)
    except CelError:
        return ()
    items = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(map(str, items)))[:MOST_NAMES]


def read_rules(folder: str, *files: str) -> RuleSet:
    """Return the shipped rules, those in ``folder``, and those of ``files``. A file that is named must be readable."""
    shipped = pkgutil.get_data("interlock.advice", "data/rules.json") or b""
    found, defects = parse_rules(shipped.decode(), "the shipped rules")
    for path in [*sorted(glob.glob(os.path.join(glob.escape(folder), "*.json"))), *files]:
        try:
            if os.path.getsize(path) > LARGEST:
                raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
            with open(path, encoding="utf-8") as stream:
                more, wrong = parse_rules(stream.read(), path)
        except (OSError, ValueError) as error:
            if path in files:
                raise
            more, wrong = [], [f"{path} was left out: {error}"]
        found += more
        defects += wrong
    return RuleSet(_latest(found), tuple(defects))


def _latest(rules: Sequence[Rule]) -> dict[str, Rule]:
    kept: dict[str, Rule] = {}
    for rule in rules:
        if rule.id not in kept or rule.revision >= kept[rule.id].revision:
            kept[rule.id] = rule
    return kept


def parse_rules(text: str, name: str) -> tuple[list[Rule], list[str]]:
    """Return the rules of a document, and what is wrong with those that are left out. ValueError where it is none."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    rows = value.get("rules") if isinstance(value, dict) and value.get("format") == FORMAT else None
    if not isinstance(rows, list):
        raise ValueError(f"it is no object with `format` {FORMAT} and a list `rules`")
    found, defects = [], []
    for number, row in enumerate(rows, 1):
        try:
            found.append(_rule(row))
        except ValueError as error:
            label = row.get("id") if isinstance(row, dict) and isinstance(row.get("id"), str) else number
            defects.append(f"{name}: rule {label} was left out: {error}")
    return found, defects


def _rule(row: Any) -> Rule:
    if not isinstance(row, dict):
        raise ValueError("it is no object")
    unknown = sorted(set(row) - FIELDS)
    if unknown:
        raise ValueError(f"it has the unknown field {unknown[0]!r}")
    identity = row.get("id")
    if not isinstance(identity, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,79}", identity):
        raise ValueError("`id` is not made of small letters, figures, dots and dashes")
    if type(row.get("revision", 1)) is not int:
        raise ValueError("`revision` is no number")
    if row.get("verdict") not in VERDICTS:
        raise ValueError(f"`verdict` is none of {', '.join(VERDICTS)}")
    texts = {name: _text(row, name) for name in TEXTS}
    source = row.get("source", [])
    if not isinstance(source, list) or not all(isinstance(one, str) for one in source):
        raise ValueError("`source` is no list of strings")
    names = row.get("names")
    return Rule(
        identity, row.get("revision", 1), texts["title"], row["verdict"], _condition(row, "applies", "true"),
        _condition(row, "when", ""), texts["explanation"], texts["solution"], tuple(source),
        _condition(row, "names", "") if names is not None else None,
    )  # fmt: skip


def _text(row: Mapping[str, Any], name: str) -> str:
    text = row.get(name)
    if not isinstance(text, str) or not text.strip() or len(text) > 4000:
        raise ValueError(f"`{name}` is missing, or too long")
    return text


def _condition(row: Mapping[str, Any], name: str, default: str) -> Expression:
    text = row.get(name, default)
    if not isinstance(text, str) or not text:
        raise ValueError(f"`{name}` is missing")
    try:
        return Expression(text)
    except CelSyntaxError as error:
        raise ValueError(f"`{name}`: {error}") from None
