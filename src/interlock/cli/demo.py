"""``interlock lab demo``: shows the demo while it runs, and its table at the end."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Callable

from interlock.cli.output import print_json, say, table
from interlock.errors import Busy
from interlock.lab import demo
from interlock.lab.demo_report import Result, Upgrade
from interlock.lab.hosts import Lab
from interlock.lab.releases import find_release
from interlock.lab.waiting import Waiting

WIDTH = 96
PROCESSES_SHOWN = 8
OUTPUT_SHOWN = 12
OUTCOMES = {"hung": "HUNG", "failed": "FAILED", "done": "done", "committed": "committed, verified"}


def add_parser(inner: Any, make_lab: Callable[[], Lab]) -> None:
    """Add the verb to those of the lab."""
    text = "a real upgrade in a storm of killed queries: plain rpm, then Interlock"
    parser = inner.add_parser("demo", help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    parser.add_argument(
        "--keep", action=argparse.BooleanOptionalAction, default=True, help="leave the hosts up for a look (default)"
    )
    parser.set_defaults(func=lambda options: run(options, make_lab()))


def run(options: argparse.Namespace, lab: Lab) -> int:
    """Run the demo; exit status 1 where Interlock has not done what it promises."""
    try:
        result = demo.run_demo(lab, _Silent() if options.json else Show())
    except Busy:
        raise
    except BaseException:
        _clean(options, lab)
        raise
    _clean(options, lab)
    if options.json:
        print_json({**asdict(result), "good": result.good})
    else:
        say_result(result, options.keep)
    return 0 if result.good else 1


def _clean(options: argparse.Namespace, lab: Lab) -> None:
    if not options.keep:
        demo.remove_hosts(lab)


class _Silent:
    """For programs: says nothing until the end."""

    def act(self, title: str) -> None: ...

    def command(self, host: str, command: str) -> None: ...

    def note(self, text: str) -> None: ...

    def ended(self, upgrade: Upgrade) -> None: ...

    def aftermath(self, upgrade: Upgrade) -> None: ...


class Show:
    """For people: a line for everything that happens."""

    def __init__(self) -> None:
        self.number = 0
        self.begun = time.monotonic()
        self.bold = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")

    def act(self, title: str) -> None:
        """Print a heading."""
        self.number += 1
        print(f"\n{self.bold[0]}{self.number}. {title}{self.bold[1]}", flush=True)

    def command(self, host: str, command: str) -> None:
        """Print a command and where it runs."""
        say(f"\n   {host}# {command}")

    def note(self, text: str) -> None:
        """Print a line."""
        say(f"   {text}")

    def ended(self, upgrade: Upgrade) -> None:
        """Print what came of an upgrade."""
        for line in upgrade.output[-OUTPUT_SHOWN:]:
            say(f"   | {_short(line.strip(), WIDTH - 5)}")
        self.note(f"→ {_verdict(upgrade)}")
        _say_processes(upgrade.processes)
        self.note(f"  queries meanwhile ({upgrade.agent}): {_answers(upgrade)}{_slowest(upgrade)}")
        self.note(f"  files of /usr changed: {upgrade.files_changed}; package database: {upgrade.database.text}")

    def aftermath(self, upgrade: Upgrade) -> None:
        """Print whether the host can be used."""
        stopped = "with the agent stopped, " if upgrade.by != "Interlock" else ""
        self.note(f"  {stopped}`rpm -qa` {upgrade.query}")
        _say_processes(upgrade.query_processes)
        self.note(f"  {_reboot(upgrade)}")


def _verdict(upgrade: Upgrade) -> str:
    seconds = f"{upgrade.seconds:.1f} s"
    if upgrade.outcome == "hung":
        why = "the lock's owner is dead" if any(one.for_ever for one in upgrade.processes) else "nothing moves any more"
        return f"HUNG: {why}; given up on after {seconds}"
    if upgrade.outcome == "failed":
        return _short(f"FAILED after {seconds} with status {upgrade.status}: {upgrade.said}", WIDTH - 5)
    if upgrade.outcome in ("done", "committed"):
        return f"{OUTCOMES[upgrade.outcome]} after {seconds}, exit status {upgrade.status}"
    return _short(f"{upgrade.outcome} after {seconds}, exit status {upgrade.status}: {upgrade.said}", WIDTH - 5)


def _say_processes(processes: Sequence[Waiting]) -> None:
    rows = [(one.pid, f"{one.seconds:.0f} s", _short(one.command, 22), _short(one.waits, 56)) for one in processes]
    if rows:
        for line in table(("PID", "SINCE", "COMMAND", "WHAT IT DOES"), rows[:PROCESSES_SHOWN], indent="     "):
            say(line)
    if len(rows) > PROCESSES_SHOWN:
        say(f"     ... and {len(rows) - PROCESSES_SHOWN} more")


def _answers(upgrade: Upgrade) -> str:
    answers = upgrade.answers
    parts = [f"{answers.failed} failed", f"{answers.killed} killed"]
    if answers.answered or not answers.killed:
        parts = [f"{answers.answered} answered", *parts[: 1 + bool(answers.killed)]]
    if answers.hung:
        parts.append(f"{answers.hung} hang")
    return ", ".join(parts)


def _slowest(upgrade: Upgrade) -> str:
    slowest, before = upgrade.answers.slowest, upgrade.slowest_before
    return f"; the slowest took {slowest:.2f} s (before: {before:.2f} s)" if slowest else ""


def _reboot(upgrade: Upgrade) -> str:
    if upgrade.reboot_seconds is None:
        return f"{upgrade.reboot_by}: the host does not come back"
    return (
        f"{upgrade.reboot_by}: ssh answers after {upgrade.reboot_seconds:.1f} s, then `rpm -qa` "
        f"{upgrade.query_after_reboot}"
    )


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def say_result(result: Result, kept: bool) -> None:
    """Print the table and where to look further."""
    columns = [result.plain[-1], *result.interlock]
    say("\nResult\n")
    rows = [(name, *map(read, columns)) for name, read in _ROWS]
    for line in table(("", *(f"{one.by}" for one in columns)), rows):
        say(line)
    say(f"\n  all of it took {result.seconds:.0f} s")
    say("  the storm kills every query after 1 to 20 ms; what failed met the locks that it had broken before")
    _say_tries(result)
    if kept:
        _say_further(result)


_ROWS: Sequence[tuple[str, Callable[[Upgrade], str]]] = (
    ("upgrade", lambda one: f"{one.before} → {one.after}"),
    ("from, to", lambda one: f"{_backend(one.before)} → {_backend(one.after)}"),
    ("meanwhile", lambda one: one.agent),
    ("outcome", lambda one: OUTCOMES.get(one.outcome, one.outcome)),
    ("time", lambda one: f"{one.seconds:.1f} s" + (" (given up on)" if one.outcome == "hung" else "")),
    ("queries", _answers),
    ("slowest answer", lambda one: f"{one.answers.slowest:.2f} s" if one.answers.slowest else "-"),
    ("database", lambda one: _backend_name(one.database.backend)),
    ("packages in it", lambda one: f"{len(one.database.packages)}, {len(one.database.twice)} names twice"),
    ("`rpm -qa` then", lambda one: _short(one.query, 27)),
    (
        "reboot",
        lambda one: "-" if one.reboot_seconds is None else f"{one.reboot_by}, {one.reboot_seconds:.1f} s to ssh",
    ),
    ("`rpm -qa` after", lambda one: _short(one.query_after_reboot, 27)),
)


def _backend(release: str) -> str:
    return _backend_name(find_release(release).backend)


def _backend_name(backend: str) -> str:
    return {"bdb": "Berkeley DB", "sqlite": "SQLite"}.get(backend, backend)


def _say_tries(result: Result) -> None:
    if len(result.plain) > 1:
        say("\n  plain rpm was tried more than once, because how it fails is chance:")
        for one in result.plain:
            say(f"    {one.host}: {_verdict(one)}; {one.files_changed} files changed")
    if not result.plain[-1].between:
        say("  this time plain rpm was lucky: it did not leave a host between two states")


def _say_further(result: Result) -> None:
    guarded, broken = result.interlock[0].host, result.plain[-1].host
    say("\n  The hosts are still up:")
    rows = (
        (f"interlock lab exec {broken} -- timeout -s KILL 5 rpm -qa", "the database that plain rpm left"),
        (f"interlock lab exec {broken} -- tail /var/log/plain-rpm.log", "what plain rpm said"),
        (f"interlock lab exec {guarded} -- interlock history", "what Interlock did, from its journal"),
        (f"interlock lab exec {guarded}", "a shell"),
        ("interlock lab down --all", "remove them, and all other hosts of the lab"),
    )
    for line in table(("", ""), rows, indent="    ")[1:]:
        say(line)
