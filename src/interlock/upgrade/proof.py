"""What must hold before an upgrade counts as done: the packages are the planned ones, programs run, rpm can write.

Everything here is started from memory or is a C program: the interpreter's own files may just have been replaced.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.rpmdb.backend import Database, backend_of
from interlock.system.run import Runner
from interlock.upgrade.verify import Finding, compare_packages, same_packages

PROGRAMS = (["/bin/true"], ["/bin/sh", "-c", ":"], ["rpm", "--version"])
NEVRA_FORMAT = "%{NAME}-%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}.%{ARCH}\\n"
PROGRAM_LIMIT = 60.0
CONVERT_LIMIT = 1800.0


def preload(runner: Runner) -> None:
    """Use once what will be used later, so that nothing has to be found or loaded then."""
    programs_run(runner)


def packages(expected: frozenset[str], found: Sequence[str]) -> list[Finding]:
    """Return how the database differs from the plan. Keys are no packages of a plan."""
    return compare_packages(expected, [nevra for nevra in found if not nevra.startswith("gpg-pubkey-")])


def programs_run(runner: Runner) -> list[Finding]:
    """Start programs of the new system: the dynamic loader and the C library must fit together."""
    found = []
    for argv in PROGRAMS:
        try:
            done = runner.run(argv, timeout=PROGRAM_LIMIT, check=False)
        except (InterlockError, OSError) as error:
            found.append(Finding(argv[0], f"cannot be started: {error}"))
            continue
        if done.status != 0:
            found.append(Finding(argv[0], f"ends with status {done.status}: {done.stderr.strip()[-200:]}"))
    return found


def convert(host: Host, database: Database, written: str, nevras: Sequence[str]) -> list[Finding]:
    """Bring the new database into the format that the new rpm writes, if it has another now.

    rpm 4.18 reads Berkeley DB and cannot write it: a host that went from 4.16 to it could not install anything any
    more. The rebuild is made in the shadow, before anybody else sees it; ``rpmdb --rebuilddb`` drops what it cannot
    read without a word, so the NEVRAs are compared before and after.
    """
    wanted = _ask(host.runner, "%{?_db_backend}")
    place = os.path.realpath(_ask(host.runner, "%{_dbpath}"))
    if place != database.path:
        return [Finding("rpm", f"now looks for its database in {place}, not in {database.path}")]
    if wanted not in ("sqlite", "ndb", "bdb") or wanted == backend_of(written):
        return []
    host.trace.point("migrate.begin")
    mode = os.stat(written).st_mode & 0o7777
    host.runner.run(["rpmdb", "--rebuilddb", "--dbpath", written], timeout=CONVERT_LIMIT)
    os.chmod(written, mode)
    argv = ["rpm", "--dbpath", written, "-qa", "--qf", NEVRA_FORMAT]
    after = host.runner.run(argv, timeout=CONVERT_LIMIT).stdout.split()
    return same_packages(nevras, after)


def _ask(runner: Runner, expression: str) -> str:
    return runner.run(["rpm", "--eval", expression], timeout=PROGRAM_LIMIT).stdout.strip()
