"""``interlock keys``: who may sign what this host installs."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from typing import Any, Optional

from interlock.cli.output import consent, count, print_json, say, table
from interlock.depot import config, keys
from interlock.depot.keys import Key
from interlock.errors import Refused, UsageError
from interlock.host.context import Host, this_host
from interlock.upgrade.prepare import read_host

RPM, OWN = "rpm", "interlock"


def add_parsers(subparsers: Any) -> None:
    """Add the verb."""
    text = "the keys that may sign packages and metadata on this host"
    parser = subparsers.add_parser("keys", help=text, description=f"{text[0].upper()}{text[1:]}.")
    inner = parser.add_subparsers(dest="keys_verb", metavar="VERB", required=True)
    _inner(inner, "list", "every trusted key: rpm's keyring and Interlock's own", run_list)
    add = _inner(inner, "add", "trust the keys of a file", run_add)
    add.add_argument("file", metavar="FILE", help="public keys, as ASCII armor or binary")
    add.add_argument("--depot", metavar="NAME", default="", help="let this depot be signed by these keys only")
    add.add_argument("--yes", "-y", action="store_true", help="do not ask")
    remove = _inner(inner, "remove", "trust a key no longer", run_remove)
    remove.add_argument("fingerprint", metavar="FINGERPRINT")


def _inner(inner: Any, name: str, text: str, function: Any) -> Any:
    parser = inner.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    parser.set_defaults(func=function)
    return parser


def run_list(options: argparse.Namespace) -> int:
    """Print the keys."""
    host = this_host()
    armors, defects = keys.read_kept(host.paths.keys)
    found = [(RPM, key) for armor in read_host(host)[2] for key in _of(host, armor)]
    found += [(OWN, key) for armor in armors for key in _of(host, armor)]
    rows = [{**key.to_json(), "from": place, "depots": _depots(host, key.fingerprint)} for place, key in found]
    if options.json:
        print_json({"keys": rows, "defects": defects})
        return 0
    shown = [
        (key.fingerprint, key.state, _day(key.expires), place, ", ".join(_depots(host, key.fingerprint)), key.user)
        for place, key in found
    ]
    say("\n".join(table(("FINGERPRINT", "STATE", "EXPIRES", "FROM", "DEPOTS", "USER"), shown)) if rows else "  no keys")
    for defect in defects:
        say(f"  defect: {defect}")
    return 0


def _of(host: Host, armor: str) -> tuple[Key, ...]:
    return keys.states(armor, host.runner)


def _depots(host: Host, fingerprint: str) -> list[str]:
    """Return the named depots that this key may sign; "all" where a depot names no key."""
    found = []
    for name in config.names(host.paths.depots):
        depot = config.read_config(host.paths.depots, name)
        if depot is not None and (not depot.trust.keys or fingerprint in depot.trust.keys):
            found.append(name)
    return found


def _day(seconds: Optional[int]) -> str:
    return "never" if seconds is None else time.strftime("%Y-%m-%d", time.gmtime(seconds))


def run_add(options: argparse.Namespace) -> int:
    """Show the keys of a file, and keep them after consent."""
    host = this_host()
    _need_root()
    depot = config.read_config(host.paths.depots, options.depot) if options.depot else None
    if options.depot and depot is None:
        raise UsageError(detail=f"no depot has the name {options.depot}; add it first: interlock depot add")
    found = keys.admissible(options.file, host.runner)[1]
    if not options.json:
        for key in found:
            say(f"  {key.fingerprint}  {key.user}  (expires: {_day(key.expires)})")
        say("Compare each fingerprint with what its owner publishes, over another way than the file came.")
    if not consent(f"Trust {count(len(found), 'key')}?", options.yes):
        say("Nothing was changed.")
        return 0
    keys.keep(host.paths.keys, options.file, host.runner)
    if depot is not None:
        named = tuple(dict.fromkeys((*depot.trust.keys, *(key.fingerprint for key in found))))
        config.write_config(host.paths.depots, replace(depot, trust=replace(depot.trust, keys=named)))
    if options.json:
        print_json({"added": [key.to_json() for key in found]})
    else:
        say(f"{count(len(found), 'key')} added")
    return 0


def run_remove(options: argparse.Namespace) -> int:
    """Forget a key of Interlock's own."""
    host = this_host()
    _need_root()
    fingerprint = options.fingerprint.replace(" ", "").upper()
    if not keys.forget(host.paths.keys, fingerprint):
        detail = f"{fingerprint} is not among Interlock's own keys; one of rpm's goes with `rpm -e gpg-pubkey-...`"
        raise UsageError(detail=detail)
    if options.json:
        print_json({"removed": fingerprint})
    else:
        say(f"{fingerprint} is no longer trusted")
    return 0


def _need_root() -> None:
    if os.geteuid() != 0:
        raise Refused(reasons="this changes the host and must be run as root")
