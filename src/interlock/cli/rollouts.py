"""``interlock remediate`` and ``interlock rollouts``: many hosts brought up to date, in waves that stop in time."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine

from interlock.cli.hosts import choosing, chosen, program, store, verb, when
from interlock.cli.output import consent, count, print_json, say, table
from interlock.errors import Busy, UsageError
from interlock.manager import inventory, rollouts
from interlock.manager.drive import BACK, DENIED, DONE, UNHEALTHY, UNREACHABLE, Driver
from interlock.manager.inventory import NOT_OURS
from interlock.manager.rollouts import ABORTED, ACTIVE, COMPLETE, PAUSED, Spec
from interlock.manager.store import default_url, is_root
from interlock.manager.waves import Amount, Budget, cut

AT_A_TIME = 10
# What a host can be after an upgrade that it still has.
TAKEN = (DONE, UNHEALTHY, DENIED, UNREACHABLE)
POLL_SECONDS = 0.5


class ManagerRuns(Busy):
    """Another manager drives rollouts from the database {database}."""

    hint = "`interlock rollouts show NAME` follows it; two would ask hosts for the same things."


def add_parsers(subparsers: Any) -> None:
    """Add the verbs."""
    text = "upgrade hosts in waves: canary first, stopping when the failure budget is spent"
    parser = subparsers.add_parser("remediate", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("rollout", metavar="ROLLOUT", help="a name for it")
    choosing(parser)
    parser.add_argument("--depot", required=True, metavar="D", help="as the hosts reach it")
    parser.add_argument("--bulletin", action="append", default=[], metavar="ID", help="only this one (repeatable)")
    parser.add_argument("--canary", type=int, default=1, metavar="N", help="hosts that go first, alone (default: 1)")
    parser.add_argument("--wave", default="25%", metavar="N|P%%", help="hosts in each wave after it (default: 25%%)")
    parser.add_argument("--budget", default="1", metavar="N|P%%", help="stop when so many have failed (default: 1)")
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS", help="wait after each wave")
    parser.add_argument("--health", default="", metavar="COMMAND", help="must end with 0 on each host afterwards")
    parser.add_argument("--patience", type=float, default=1800.0, metavar="SECONDS", help="for an unreachable host")
    parser.add_argument("--reboot", action="store_true", help="reboot hosts that need it, each by its own verdict")
    parser.add_argument("--quiesce", action="store_true", help="stop agents on the hosts meanwhile")
    parser.add_argument("--at-a-time", type=int, default=AT_A_TIME, metavar="N", help=f"default: {AT_A_TIME}")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    parser.set_defaults(func=run_remediate)
    text = "rollouts: what they came to, and going on with one that was cut off"
    parser = subparsers.add_parser("rollouts", help=text, description=f"{text[0].upper()}{text[1:]}.")
    inner = parser.add_subparsers(dest="rollouts_verb", metavar="VERB", required=True)
    verb(inner, "list", "the rollouts", run_list)
    for name, text, function in (
        ("show", "each host of a rollout", run_show), ("pause", "begin no further host", run_pause),
        ("abort", "begin no further host, for good", run_abort), ("resume", "go on with a rollout", run_resume),
        ("take-back", "roll hosts of a rollout back", run_take_back),
    ):  # fmt: skip
        one = verb(inner, name, text, function)
        one.add_argument("rollout", metavar="ROLLOUT")
        if name == "take-back":
            one.add_argument("hosts", metavar="HOST", nargs="*", help="only these (default: all that were upgraded)")
            one.add_argument("--wave", type=int, metavar="N", help="only this wave (the first is 0)")
            one.add_argument("--yes", "-y", action="store_true", help="do not ask")
        if name == "resume":
            one.add_argument("--at-a-time", type=int, default=AT_A_TIME, metavar="N")


def run_remediate(options: argparse.Namespace) -> int:
    """Plan the waves, show them, and go."""
    engine = store()
    hosts = [one.entry.name for one in chosen(engine, options) if one.state != NOT_OURS]
    if not hosts:
        raise UsageError(detail="no host is meant: see `interlock hosts list`")
    try:
        budget, waves = Budget(Amount.parse(options.budget)), cut(hosts, options.canary, Amount.parse(options.wave))
    except ValueError as error:
        raise UsageError(detail=str(error)) from None
    spec = Spec(
        options.rollout, options.depot, waves, options.bulletin, ["--quiesce"] if options.quiesce else [],
        options.health, options.budget, options.soak, options.patience, reboot=options.reboot,
    )  # fmt: skip
    if not options.json:
        for number, wave in enumerate(waves):
            name = "canary" if options.canary and not number else f"wave {number}"
            say(f"  {name}: {count(len(wave), 'host')}: {', '.join(wave[:8])}{', ...' if len(wave) > 8 else ''}")
        say(f"It stops when {budget.amount.of(spec.total)} of {count(spec.total, 'host')} have failed.")
    if not consent("Go on?", options.yes):
        say("Nothing was changed.")
        return 0
    rollouts.create(engine, spec, time.time())
    return _drive(engine, options)


def run_resume(options: argparse.Namespace) -> int:
    """Go on with a rollout that was paused, or whose manager was ended."""
    engine = store()
    standing = rollouts.standing(engine, options.rollout)
    if standing.state not in (ACTIVE, PAUSED):
        raise UsageError(detail=f"{options.rollout} is {standing.state}; what is left needs a rollout of its own")
    rollouts.set_state(engine, options.rollout, ACTIVE)
    try:
        return _drive(engine, options)
    except ManagerRuns:
        say(f"{options.rollout} goes on in the manager that drives it: interlock rollouts show {options.rollout}")
        return 0


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Be the only process that drives rollouts from a SQLite database."""
    if engine.dialect.name != "sqlite":
        yield
        return
    with open(f"{engine.url.database}.lock", "w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ManagerRuns(database=engine.url.database or "") from None
        yield


def _drive(engine: Engine, options: argparse.Namespace) -> int:
    from interlock.manager import workflows  # noqa: PLC0415 - the durable engine takes half a second to load

    with _alone(engine):
        url = default_url(os.environ, is_root())
        own = url.replace(".db", "-engine.db") if url.startswith("sqlite") else url
        workflows.launch(workflows.Context(engine, program()), own, "manager", max(1, options.at_a_time))
        try:
            handle = workflows.begin(options.rollout)
            _follow(engine, options, handle)
        finally:
            workflows.end()
    return _report(engine, options)


def _follow(engine: Engine, options: argparse.Namespace, handle: Any) -> None:
    """Say what became of each host, as it comes, until the workflow has ended."""
    said: set[str] = set()
    while True:
        over = handle.get_status().status not in ("PENDING", "ENQUEUED")
        for one in rollouts.standing(engine, options.rollout).hosts:
            if one["outcome"] not in (rollouts.WAITING, rollouts.RUNNING) and one["host"] not in said:
                said.add(one["host"])
                if not options.json:
                    say(f"  {one['host']}: {one['outcome']}  {one['detail']}".rstrip())
        if over:
            return
        time.sleep(POLL_SECONDS)


def _report(engine: Engine, options: argparse.Namespace) -> int:
    standing = rollouts.standing(engine, options.rollout)
    if options.json:
        print_json({"rollout": options.rollout, "state": standing.state, "reason": standing.reason,
                    "hosts": list(standing.hosts)})  # fmt: skip
    else:
        numbers = Counter(str(one["outcome"]) for one in standing.hosts)
        say("\n" + ", ".join(f"{number} {outcome}" for outcome, number in sorted(numbers.items())))
        say(f"{options.rollout}: {standing.state}{f': {standing.reason}' if standing.reason else ''}")
    good = standing.state == COMPLETE and not standing.failed and not standing.named(UNREACHABLE)
    return 0 if good else 4


def run_list(options: argparse.Namespace) -> int:
    """Print the rollouts."""
    found = rollouts.names(store())
    if options.json:
        print_json([{"name": name, "state": state, "created_at": at} for name, state, at in found])
        return 0
    rows = [(name, state, when(at)) for name, state, at in found]
    say("\n".join(table(("ROLLOUT", "STATE", "BEGAN (UTC)"), rows)) if rows else "  no rollouts")
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Print one rollout."""
    engine = store()
    if not options.json:
        rows = [(one["wave"], one["host"], one["outcome"], one["operation"], one["detail"])
                for one in rollouts.standing(engine, options.rollout).hosts]  # fmt: skip
        say("\n".join(table(("WAVE", "HOST", "OUTCOME", "OPERATION", "DETAIL"), rows)))
    _report(engine, options)
    return 0


def run_take_back(options: argparse.Namespace) -> int:
    """Roll back what a rollout did, on some hosts, a wave, or all. Exit status 4 where one could not be."""
    engine = store()
    standing = rollouts.standing(engine, options.rollout)
    if standing.state in (ACTIVE, PAUSED):
        raise UsageError(detail=f"{options.rollout} is {standing.state}; abort it first")
    rows = [one for one in standing.hosts
            if one["operation"] and one["outcome"] in TAKEN and (not options.hosts or one["host"] in options.hosts)
            and options.wave in (None, one["wave"])]  # fmt: skip
    if not rows:
        raise UsageError(detail="no host of this rollout is meant that was upgraded by it")
    if not options.json:
        say(f"To be taken back: {', '.join(str(one['host']) for one in rows)}")
    if not consent("Go on?", options.yes):
        return 0
    from interlock.manager import workflows  # noqa: PLC0415 - as above

    context, spec = workflows.Context(engine, program()), rollouts.read_spec(engine, options.rollout)
    bad = asyncio.run(_taken_back(engine, context.driver(spec), options.rollout, rows))
    _report(engine, options)
    return 4 if bad else 0


async def _taken_back(engine: Engine, driver: Driver, rollout: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    limit = asyncio.Semaphore(AT_A_TIME)

    async def one(row: Mapping[str, Any]) -> bool:
        (known,) = inventory.choose(engine, [str(row["host"])])
        async with limit:
            came = await driver.take_back(known.entry, str(row["operation"]))
        rollouts.note(engine, rollout, came, time.time())
        return bool(came["outcome"] == BACK)

    return not all(await asyncio.gather(*map(one, rows)))


def run_pause(options: argparse.Namespace) -> int:
    """Let no further host begin, until ``resume``."""
    return _set(options, PAUSED)


def run_abort(options: argparse.Namespace) -> int:
    """Let no further host begin."""
    return _set(options, ABORTED)


def _set(options: argparse.Namespace, state: str) -> int:
    engine = store()
    found = rollouts.standing(engine, options.rollout)
    if found.state not in (ACTIVE, PAUSED):
        raise UsageError(detail=f"{options.rollout} is {found.state}")
    rollouts.set_state(engine, options.rollout, state, "an administrator ended it" if state == ABORTED else "")
    if options.json:
        print_json({"rollout": options.rollout, "state": state})
    else:
        say(f"{options.rollout} is {state}; hosts that have begun go on to their end")
    return 0
