"""``interlock depot`` on a host: depots that have a name, what was seen of them, and bundles."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Callable

from interlock.cli.options import lasting
from interlock.cli.output import count, print_json, say, size, table
from interlock.depot import config
from interlock.depot.config import NamedDepot
from interlock.depot.trust import ANY, SIGNED, TrustPolicy
from interlock.depot.trust_seen import forget_seen
from interlock.errors import Refused, UsageError
from interlock.host.context import this_host

DAY = 86400.0


def add_parsers(inner: Any, make: Callable[..., Any]) -> None:
    """Add the verbs; ``make`` makes a parser with the options that all have."""
    add = make(inner, "add", "give a depot a name, and say what is demanded of it", run_add)
    add.add_argument("locations", metavar="LOCATION", nargs="+", help="directory, URL or bundle; mirrors, best first")
    add.add_argument("--proxy", default="", metavar="URL", help="the proxy for this depot, or `none`")
    add.add_argument("--key", action="append", default=[], metavar="FINGERPRINT", help="only these may sign it")
    add.add_argument("--max-age", type=float, metavar="DAYS", help="refuse metadata that is older")
    add.add_argument("--allow-unsigned-metadata", action="store_true", help="its metadata need not be signed")
    add.add_argument("--allow-unsigned-packages", action="store_true", help="its packages need not be signed")
    make(inner, "remove", "take a depot's name away", run_remove)
    make(inner, "forget", "accept older metadata of a depot, once, on purpose", run_forget)
    bundle = make(inner, "export", "write a depot, or some bulletins of it, into one zip file", run_export)
    bundle.add_argument("file", metavar="FILE.zip")
    bundle.add_argument("--bulletin", action="append", default=[], metavar="ID", help="only its packages (repeatable)")
    bundle.add_argument("--allow-unsigned", action="store_true", help="although the metadata is not signed")
    back = make(inner, "import", "unpack a bundle into a directory, every digest checked", run_import)
    back.add_argument("target", metavar="DIR")


def _need_root() -> None:
    if os.geteuid() != 0:
        raise Refused(reasons="this changes the host and must be run as root")


def run_add(options: argparse.Namespace) -> int:
    """Write down a depot."""
    host = this_host()
    _need_root()
    if not config.is_name(options.depot):
        detail = f"{options.depot!r} cannot be a name: letters, digits, dots, dashes and underscores, 64 at most"
        raise UsageError(detail=detail)
    places = [one if "://" in one else os.path.abspath(one) for one in options.locations]
    trust = {
        "metadata": ANY if options.allow_unsigned_metadata else SIGNED,
        "packages": ANY if options.allow_unsigned_packages else SIGNED,
        "keys": options.key, "max_age": None if options.max_age is None else options.max_age * DAY,
    }  # fmt: skip
    row = {"locations": places, "proxy": options.proxy, "trust": trust}
    try:
        depot = NamedDepot.from_json(options.depot, row)
    except ValueError as error:
        raise UsageError(detail=f"the depot {options.depot} cannot be added: {error}") from None
    config.write_config(host.paths.depots, depot)
    if options.json:
        print_json({"name": depot.name, **depot.to_json()})
    else:
        say(f"{depot.name}: {', '.join(depot.locations)} ({demands(depot.trust)})")
    return 0


def demands(trust: TrustPolicy) -> str:
    """Say what a policy demands."""
    words = [f"{what} {'signed' if answer == SIGNED else 'may be unsigned'}" for what, answer in (
        ("metadata", trust.metadata), ("packages", trust.packages))]  # fmt: skip
    words += [f"by {', '.join(trust.keys)}"] if trust.keys else []
    words += [f"not older than {trust.max_age / DAY:g} days"] if trust.max_age is not None else []
    return ", ".join(words)


def run_names(options: argparse.Namespace) -> int:
    """Print the depots that have a name."""
    host = this_host()
    found = [config.read_config(host.paths.depots, name) for name in config.names(host.paths.depots)]
    depots = [one for one in found if one is not None]
    if options.json:
        print_json([{"name": one.name, **one.to_json()} for one in depots])
        return 0
    rows = [(one.name, ", ".join(one.locations), demands(one.trust)) for one in depots]
    say("\n".join(table(("NAME", "LOCATIONS", "TRUST"), rows)) if rows else "  no depot has a name here")
    return 0


def run_remove(options: argparse.Namespace) -> int:
    """Take a name away; what is at its locations stays."""
    host = this_host()
    _need_root()
    if not config.remove_config(host.paths.depots, options.depot):
        known = ", ".join(config.names(host.paths.depots)) or "none"
        raise UsageError(detail=f"no depot has the name {options.depot}; known: {known}")
    if options.json:
        print_json({"removed": options.depot})
    else:
        say(f"{options.depot} is no longer a name; the depot itself was not touched")
    return 0


def run_forget(options: argparse.Namespace) -> int:
    """Forget what was seen of a depot."""
    host = this_host()
    _need_root()
    known = forget_seen(host.paths.seen, lasting(host, options.depot)) or forget_seen(host.paths.seen, options.depot)
    if options.json:
        print_json({"depot": options.depot, "forgotten": known})
    else:
        said = "whatever it has next is taken as new" if known else "nothing was known of it"
        say(f"{options.depot}: {said}")
    return 0


def run_export(options: argparse.Namespace) -> int:
    """Write a bundle."""
    from interlock.depot.bundle import export  # noqa: PLC0415 - zip files only where they are asked for

    shows = sys.stderr.isatty() and not options.json
    done = export(options.depot, options.file, options.bulletin, allow_unsigned=options.allow_unsigned,
                  tell=_show if shows else _hide)  # fmt: skip
    if shows:
        print(file=sys.stderr)
    if options.json:
        print_json({"file": options.file, **vars(done)})
    else:
        say(f"{options.file}: {count(done.packages, 'package')}, {size(done.bytes)}")
    return 0


def _hide(done: int, total: int) -> None:
    """Show nothing."""


def _show(done: int, total: int) -> None:
    print(f"\r\x1b[K  {done}/{total} packages", end="", file=sys.stderr, flush=True)


def run_import(options: argparse.Namespace) -> int:
    """Unpack a bundle."""
    from interlock.depot.sync import sync  # noqa: PLC0415

    if not options.depot.endswith(".zip"):
        raise UsageError(detail=f"{options.depot} is no bundle: the name of one ends in .zip")
    done = sync(options.depot, os.path.abspath(options.target), jobs=2)
    if options.json:
        print_json(vars(done))
    else:
        say(f"{options.target}: {count(done.packages, 'package')}; `--depot {options.target}` has what the bundle had")
    return 0
