"""Makes rpm's bindings work again where the half upgrade has left them without the libraries or the Python they need.

A whole-system upgrade replaces rpm's libraries long before it replaces the bindings, and in between nothing that needs
them runs, Interlock among it. So what the bindings need is laid down first, out of the same depot: the files only, by
the host's rpm with an empty database of its own, without scriptlets and configuration. The host's database goes on
saying what it said, and the operation that follows lays all of these packages down properly.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from interlock.depot.closure import Closure, latest
from interlock.depot.metadata import DepotPackage
from interlock.depot.repository import Depot, open_depot
from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.rpmdb.backend import find_database
from interlock.rpmdb.reader import load_bindings, private_copy
from interlock.system import durable
from interlock.system.child import call_in_child
from interlock.upgrade.half import HalfUpgraded
from interlock.upgrade.plan import INSTALL_ONLY, Plan
from interlock.upgrade.stage import KEYS_LIMIT, StageProgress, stage
from interlock.upgrade.trusting import trust_check

LIMIT = 900.0
BACKENDS = ("sqlite", "", "ndb")
NAMES = ("python3-rpm", "rpm-python3", "python3-rpm-bindings")
FILES_ONLY = ("--nodeps", "--noscripts", "--notriggers", "--replacefiles", "--ignoresize", "--excludeconfigs")


class NoBindings(HalfUpgraded):
    """Rpm's bindings for Python do not work on this half-upgraded host, and they could not be laid down: {detail}."""

    hint = "Do not reboot. Give --depot a depot that has the bindings for Python and all that they require."


def bindings_work() -> bool:
    """Say whether the bindings can be loaded and read something."""
    try:
        call_in_child("loading rpm's bindings", lambda: bool(load_bindings().TransactionSet()) or True, LIMIT)
    except InterlockError:
        return False
    return True


def needed(depot: Depot) -> list[DepotPackage]:
    """Return the bindings of a depot with all that they require of it; empty where it has none."""
    closure = Closure([], depot, INSTALL_ONLY)
    found = [one for name in NAMES for one in latest(depot.by_name.get(name, ()))]
    if not (found and closure.choose(found[0])):
        return []
    closure.close()
    return sorted(closure.chosen.values(), key=lambda one: str(one.nevra))


def _keyring(host: Host) -> list[str]:
    """Return the keys of rpm's keyring, without the bindings."""
    with private_copy(find_database(host.runner), host.paths, f"ring-{os.getpid()}") as copy:
        query = ["rpm", "--dbpath", copy, "-q", "gpg-pubkey", "--qf", "%{DESCRIPTION}\\n"]
        found = host.runner.run(query, check=False, timeout=KEYS_LIMIT).stdout
    return [found] if "BEGIN PGP" in found else []


def lay_down(
    host: Host, location: str, allow_unsigned: bool, tell: Callable[[StageProgress], None]
) -> list[DepotPackage]:
    """Lay down the files of the bindings, and of what they require. Raises NoBindings, and what staging raises.

    The caller holds the lease.
    """
    depot = open_depot(location, trust=trust_check(host, location, _keyring(host), allow_unsigned))
    packages = needed(depot)
    if not packages:
        raise NoBindings(detail=f"the depot {depot.location} has none of {', '.join(NAMES)}")
    plan = Plan(depot.location, installs=tuple(packages))
    with private_copy(find_database(host.runner), host.paths, f"keys-{os.getpid()}") as copy:
        staged = stage(
            plan, location, host.paths.packages, host.runner, dbpath=copy, progress=tell, allow_unsigned=allow_unsigned
        )
    scratch = f"{host.paths.scratch}-bindings-{os.getpid()}"
    try:
        os.makedirs(scratch, mode=0o700)
        words = [
            "rpm",
            *_empty_database(host, scratch),
            "-i",
            "--nosignature",
            *FILES_ONLY,
            "--",
            *staged.files.values(),
        ]
        done = host.runner.run(words, timeout=LIMIT, check=False)
    finally:
        durable.remove_trees([scratch])
    if done.status != 0:
        raise NoBindings(detail=(done.stderr or done.stdout).strip()[-400:])
    durable.sync_payload(("/", "/usr"))
    return packages


def _empty_database(host: Host, folder: str) -> list[str]:
    """Make an empty database that rpm can write: it may be a later rpm with an earlier one's configuration.

    `rpm --initdb` is an alias in a file that may be another version's.
    """
    for backend in BACKENDS:
        options = ["--dbpath", folder, *(["--define", f"_db_backend {backend}"] if backend else [])]
        done = host.runner.run(["rpmdb", *options, "--initdb"], timeout=LIMIT, check=False)
        if done.status == 0 and os.listdir(folder):
            return options
    raise NoBindings(detail="rpm can make no database")
