"""``interlock hosts``: the inventory of a fleet, and asking its hosts what they are."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from interlock.cli.output import consent, count, print_json, say, table
from interlock.errors import UsageError
from interlock.manager import inventory
from interlock.manager.hosts_file import read_hosts
from interlock.manager.inventory import Entry, Known
from interlock.manager.link import Link
from interlock.manager.scan import AT_A_TIME, Scanner, Seen, ask_all, record
from interlock.manager.ssh_link import ask_host_key, connect
from interlock.manager.store import default_url, is_root, open_store
from interlock.system.zipapp import candidates, find_zipapp

SHOWN_REASON = 100


def add_parsers(subparsers: Any) -> None:
    """Add the verb."""
    text = "the hosts of a fleet: who they are, how to reach them, what was seen of them"
    parser = subparsers.add_parser("hosts", help=text, description=f"{text[0].upper()}{text[1:]}.")
    inner = parser.add_subparsers(dest="hosts_verb", metavar="VERB", required=True)
    add = verb(inner, "add", "add a host", run_add)
    add.add_argument("host", metavar="NAME")
    _entry_options(add)
    bring = verb(inner, "import", "add hosts from a file (CSV or JSON), or bring them up to date", run_import)
    bring.add_argument("file", metavar="FILE")
    choosing(verb(inner, "list", "the hosts, and when and how they were last seen", run_list))
    show = verb(inner, "show", "all that is known of a host", run_show)
    remove = verb(inner, "remove", "take a host out of the inventory; the host itself is not touched", run_remove)
    for one in (show, remove):
        one.add_argument("host", metavar="NAME")
    trust = verb(inner, "trust", "pin the ssh keys that hosts show now", run_trust)
    trust.add_argument("--yes", "-y", action="store_true", help="do not ask")
    scan = verb(inner, "scan", "ask hosts for facts and packages", run_scan)
    scan.add_argument("--at-a-time", type=int, default=AT_A_TIME, metavar="N", help=f"default: {AT_A_TIME}")
    for one in (trust, scan):
        choosing(one)


def verb(inner: Any, name: str, text: str, function: Any) -> Any:
    """Add an inner verb, with ``--json``."""
    parser = inner.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    parser.set_defaults(func=function)
    return parser


def choosing(parser: Any) -> None:
    """Add how hosts are chosen."""
    parser.add_argument("hosts", metavar="NAME", nargs="*", help="these hosts (default: all)")
    parser.add_argument("--group", action="append", default=[], metavar="G", help="in this group (repeatable: or)")
    parser.add_argument("--label", action="append", default=[], metavar="K=V", help="with this label (repeatable: and)")


def _entry_options(parser: Any) -> None:
    parser.add_argument("--address", default="", help="name or address (default: NAME)")
    parser.add_argument("--port", type=int, default=inventory.PORT)
    parser.add_argument("--user", default=inventory.USER)
    parser.add_argument("--identity", default="", metavar="FILE", help="private key (default: ssh-agent)")
    parser.add_argument("--jump", default="", metavar="HOST", help="a host of the inventory to go through")
    parser.add_argument("--sudo", action="store_true", help="become root by sudo, without a password")
    parser.add_argument("--host-key", default="", metavar="KEY", help="its public ssh key, as in a .pub file")
    parser.add_argument(
        "--product", default="", metavar="P", help="it is no RPM system of ours (ESXi...): never ask it"
    )
    parser.add_argument("--group", action="append", default=[], metavar="G")
    parser.add_argument("--label", action="append", default=[], metavar="K=V")


def store() -> Engine:
    """Return the manager's database."""
    return open_store(default_url(os.environ, is_root()))


def chosen(engine: Engine, options: argparse.Namespace) -> list[Known]:
    """Return the hosts that are meant."""
    return inventory.choose(engine, options.hosts, options.group, _labels(options.label))


def _labels(words: Sequence[str]) -> dict[str, str]:
    if any("=" not in one for one in words):
        raise UsageError(detail="a label is written key=value")
    return dict(one.split("=", 1) for one in words)


def run_add(options: argparse.Namespace) -> int:
    """Add a host."""
    entry = Entry(
        options.host, options.address, options.port, options.user, options.identity, options.jump, options.sudo,
        options.host_key, options.product, _labels(options.label), tuple(options.group),
    )  # fmt: skip
    try:
        inventory.add(store(), entry)
    except ValueError as error:
        raise UsageError(detail=str(error)) from None
    if options.json:
        print_json({"added": options.host})
    else:
        pinned = "" if entry.host_key or entry.product else f"; pin its key: interlock hosts trust {entry.name}"
        say(f"{entry.name} added{pinned}")
    return 0


def run_import(options: argparse.Namespace) -> int:
    """Import a file."""
    added, changed = inventory.bring(store(), read_hosts(options.file))
    if options.json:
        print_json({"added": added, "changed": changed})
    else:
        say(f"{count(added, 'host')} added, {changed} brought up to date")
    return 0


def run_list(options: argparse.Namespace) -> int:
    """Print the hosts."""
    found = chosen(store(), options)
    if options.json:
        print_json([one.to_json() for one in found])
        return 0
    rows = [
        (one.entry.name, one.state, one.to_json()["product"], ", ".join(one.entry.groups), when(one.seen_at),
         one.reason[:SHOWN_REASON])
        for one in found
    ]  # fmt: skip
    say(
        "\n".join(table(("HOST", "STATE", "PRODUCT", "GROUPS", "SEEN (UTC)", "REASON"), rows)) if rows else "  no hosts"
    )
    return 0


def when(seconds: float | None) -> str:
    """Say a time."""
    return "never" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def run_show(options: argparse.Namespace) -> int:
    """Print one host."""
    (known,) = inventory.choose(store(), [options.host])
    entry = known.entry
    more = {"identity": entry.identity, "host_key": entry.host_key, "facts": known.facts, "status": known.status}
    row = {**known.to_json(), **more}
    if options.json:
        print_json(row)
        return 0
    for name, value in row.items():
        if name not in ("facts", "status"):
            say(f"  {name + ':':<12} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    hold = (known.status or {}).get("hold")
    if hold:
        say(f"  {'hold:':<12} {hold.get('reason')}")
    return 0


def run_remove(options: argparse.Namespace) -> int:
    """Take a host out."""
    inventory.remove(store(), options.host)
    if options.json:
        print_json({"removed": options.host})
    else:
        say(f"{options.host} is no longer in the inventory")
    return 0


def run_trust(options: argparse.Namespace) -> int:
    """Show the keys of hosts, and pin them after consent."""
    engine = store()
    found = [one for one in chosen(engine, options) if not one.entry.product]
    others = {one.entry.name: one.entry for one in inventory.choose(engine)}
    answers = asyncio.run(_ask_keys(found, others))
    new = {name: key for name, (key, _, problem) in answers.items() if not problem and others[name].host_key != key}
    if not options.json:
        for name, (_, print_of, problem) in answers.items():
            known = (
                "as pinned" if not problem and name not in new else "new" if not others[name].host_key else "CHANGED"
            )
            say(f"  {name}: {problem or f'{print_of} ({known})'}")
    if new and consent(f"Pin {count(len(new), 'key')}?", options.yes):
        for name, key in new.items():
            inventory.pin(engine, name, key)
    if options.json:
        print_json(
            {name: {"fingerprint": one[1], "problem": one[2], "new": name in new} for name, one in answers.items()}
        )
    return 1 if any(one[2] for one in answers.values()) else 0


async def _ask_keys(hosts: Sequence[Known], others: dict[str, Entry]) -> dict[str, tuple[str, str, str]]:
    limit = asyncio.Semaphore(AT_A_TIME)

    async def one(entry: Entry) -> tuple[str, str, str]:
        async with limit:
            try:
                return (*await ask_host_key(entry, others), "")
            except Exception as error:
                return "", "", str(error)

    return dict(zip([one.entry.name for one in hosts], await asyncio.gather(*(one(host.entry) for host in hosts))))


def program() -> bytes:
    """Return the zipapp that goes to hosts."""
    path = find_zipapp(os.environ)
    if path is None:
        names = " or ".join(map(str, candidates(os.environ)))
        raise UsageError(detail=f"there is no program for hosts: no {names} (`make setup` makes it)")
    return Path(path).read_bytes()


def run_scan(options: argparse.Namespace) -> int:
    """Ask hosts. Exit status 1 where one of them could not be asked."""
    engine = store()
    hosts = chosen(engine, options)
    others = {one.entry.name: one.entry for one in inventory.choose(engine)}

    def way(entry: Entry) -> AbstractAsyncContextManager[Link]:
        return connect(entry, others)

    scanner = Scanner(way, program(), time.time)
    seen = asyncio.run(_scan(engine, scanner, hosts, options))
    found = (
        sorted(inventory.choose(engine, [one.known.entry.name for one in seen]), key=lambda one: one.entry.name)
        if seen
        else []
    )
    if options.json:
        print_json([one.to_json() for one in found])
    else:
        for state, number in sorted(Counter(one.state for one in found).items()):
            say(f"  {state}: {number}")
    return 1 if any(one.error for one in seen) else 0


async def _scan(engine: Engine, scanner: Scanner, hosts: Sequence[Known], options: argparse.Namespace) -> list[Seen]:
    found: list[Seen] = []
    async for seen in ask_all(scanner, hosts, max(1, options.at_a_time)):
        record(engine, seen, time.time())
        found.append(replace(seen, answer=None))
        if not options.json:
            _say_seen(seen)
    return found


def _say_seen(seen: Seen) -> None:
    name = seen.known.entry.name
    if seen.error is not None:
        print(f"  ✗ {name}: {seen.error}\n      → {seen.error.advice}", file=sys.stderr, flush=True)
    elif seen.product:
        say(f"  · {name}: {seen.product}, not affected")
    else:
        say(f"  ✓ {name}: {count(len(seen.answer['packages']) if seen.answer else 0, 'package')}")
