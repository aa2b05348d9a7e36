"""``interlock advice``: who is affected by known defects of updates, and why; ``interlock facts``: what it rests on."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from typing import Any

from interlock.advice.rules import Advice, judge, telling
from interlock.cli.options import add_unsigned_option
from interlock.cli.output import print_json, say, table
from interlock.errors import UsageError
from interlock.host.context import Host, this_host
from interlock.upgrade.advise import describe, gather_facts, rules_of
from interlock.upgrade.prepare import read_installed, take_picture

MARKS = {"hold": "✗", "deny": "✗", "quiesce": "·", "warn": "!", "note": "·"}
WIDTH = 110


def add_parsers(subparsers: Any) -> None:
    """Add the verbs."""
    text = "who is affected by known defects of updates, and what to do"
    parser = subparsers.add_parser("advice", help=text, description=f"{text[0].upper()}{text[1:]}.")
    inner = parser.add_subparsers(dest="advice_verb", metavar="VERB", required=True)
    _inner(inner, "list", "the rules that this host knows", run_list)
    _inner(inner, "show", "one rule, with its conditions and its source", run_show).add_argument("rule", metavar="ID")
    check = _inner(inner, "check", "what the rules say of this host, and of an update", run_check)
    check.add_argument("--depot", metavar="D", help="the update: what of this depot applies here")
    add_unsigned_option(check)
    check.add_argument("--bulletin", action="append", default=[], metavar="ID", help="only this one (repeatable)")
    check.add_argument("--facts", metavar="FILE", help="the facts of another host, as `interlock facts` prints them")
    check.add_argument("--update", metavar="FILE", help="an update as JSON, instead of a depot's")
    check.add_argument("--all", action="store_true", help="show rules that do not affect it as well")
    text = "the facts of this host that advisory rules see"
    facts = subparsers.add_parser("facts", help=text, description=f"{text[0].upper()}{text[1:]}, as JSON.")
    facts.set_defaults(func=run_facts, json=True)
    facts.add_argument("--json", action="store_true", help="print one JSON value (it always does)")


def _inner(inner: Any, name: str, text: str, function: Any) -> Any:
    parser = inner.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    add_file_option(parser)
    parser.set_defaults(func=function)
    return parser


def add_file_option(parser: Any) -> None:
    """Add the option that names a file of rules."""
    parser.add_argument("--advisories", action="append", default=[], metavar="FILE", help="rules of this file, too")


def run_facts(options: argparse.Namespace) -> int:
    """Print the facts."""
    host = this_host()
    print_json(gather_facts(host, *read_installed(host)))
    return 0


def run_list(options: argparse.Namespace) -> int:
    """Print the rules."""
    rules = rules_of(this_host(), options.advisories)
    if options.json:
        rows = [Advice(rule, "not-judged").to_json() for rule in rules.rules.values()]
        print_json({"rules": rows, "defects": list(rules.defects)})
        return 0
    shown = [(rule.id, rule.revision, rule.verdict, rule.title) for rule in rules.rules.values()]
    say("\n".join(table(("RULE", "REVISION", "VERDICT", "TITLE"), shown)))
    say_defects(rules.defects)
    return 0


def say_defects(defects: Sequence[str]) -> None:
    """Print which rules were left out."""
    for defect in defects:
        say(f"  left out: {defect}")


def run_show(options: argparse.Namespace) -> int:
    """Print one rule."""
    rule = rules_of(this_host(), options.advisories).rules.get(options.rule)
    if rule is None:
        raise UsageError(detail=f"there is no advisory rule {options.rule}: `interlock advice list` names all")
    row = {**Advice(rule, "not-judged").to_json(), "applies": rule.applies.text, "when": rule.when.text}
    if options.json:
        print_json(row)
        return 0
    for name in ("id", "revision", "title", "verdict", "applies", "when", "explanation", "solution"):
        _say_field(name, str(row[name]))
    _say_field("source", "; ".join(rule.source))
    return 0


def _say_field(name: str, text: str) -> None:
    say(textwrap.fill(text, WIDTH, initial_indent=f"{name}:".ljust(13), subsequent_indent=" " * 13))


def run_check(options: argparse.Namespace) -> int:
    """Print what the rules say. Exit status 3 where one of them stops the update, or holds the host."""
    host = this_host()
    rules = rules_of(host, options.advisories)
    facts, update = _subject(host, options)
    found = judge(rules, facts, update)
    stops = any(one.stops for one in found)
    if options.json:
        rows = [one.to_json() for one in found]
        print_json({"verdict": "deny" if stops else "allow", "advice": rows, "defects": list(rules.defects)})
        return 3 if stops else 0
    say_advice(found if options.all else telling(found))
    say_defects(rules.defects)
    say(f"verdict: {'deny' if stops else 'allow'}")
    return 3 if stops else 0


def _subject(host: Host, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    if options.depot and options.facts:
        raise UsageError(detail="--depot is for this host; with --facts give the update as a file, --update FILE")
    update = {**describe(None), **(_object(options.update) if options.update else {})}
    if options.facts:
        return _object(options.facts), update
    if options.depot:
        picture = take_picture(host, options.depot, options.bulletin, allow_unsigned=options.allow_unsigned)
        return gather_facts(host, picture.database, picture.installed), {**describe(picture.plan), **(
            _object(options.update) if options.update else {})}  # fmt: skip
    return gather_facts(host, *read_installed(host)), update


def _object(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            value = json.load(stream)
    except (OSError, ValueError) as error:
        raise UsageError(detail=f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(detail=f"{path} is no JSON object")
    return value


def say_advice(found: Sequence[Advice]) -> None:
    """Print what rules say, for people."""
    for one in found:
        rule = one.rule
        about = f": {', '.join(one.names[:8])}" if one.names else ""
        state = "" if one.state == "affected" else f" ({one.state}{': ' + one.why if one.why else ''})"
        say(f"  {MARKS[rule.verdict]} {rule.verdict}: {rule.title}{about}{state}  [{rule.id}]")
        if one.state in ("affected", "unknown"):
            _say_wrapped(rule.explanation)
            _say_wrapped(f"→ {rule.solution}")


def _say_wrapped(text: str) -> None:
    say(textwrap.fill(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))
