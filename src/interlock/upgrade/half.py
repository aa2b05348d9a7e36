"""A host that something else has half upgraded: plain ``rpm`` that was killed in the middle. Found, and held.

What counts is what a transaction that was cut off leaves, and nothing else does: a package in its old and its new
version that share files; files of a package that rpm had begun to replace, beside rpm's own unfinished ones; a
requirement that the packages which did come have broken. Everything is read from a private copy of the database. While
a transaction runs nothing is looked at: that is what it looks like in the middle.

Layout: ``/var/lib/interlock/half.json`` has what was found, for as long as the hold lasts. It is durable before the
hold, and goes before it: what mends the host begins by changing the database, and then much of it is not to be seen.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Optional

from interlock.boot.guard import lower_guard, raise_guard, read_dirty
from interlock.errors import Held, InterlockError
from interlock.host.context import Host
from interlock.host.hold import FOREIGN, Hold, put_on_hold, read_hold
from interlock.host.paths import Paths
from interlock.package import Nevra
from interlock.rpmdb.backend import Database, find_database
from interlock.rpmdb.lock import lock_holders
from interlock.rpmdb.reader import load_bindings, private_copy
from interlock.system import durable
from interlock.system.child import call_in_child
from interlock.upgrade.plan import INSTALL_ONLY
from interlock.waits import content_disk, content_needs, content_pass, read_content
from interlock.waits.content_pass import Row
from interlock.waits.private_copy import fingerprint

LIMIT = 300.0
SHOWN = 4
SUFFIX = 9
QUERY = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{INSTALLTID}\\n"


class HalfUpgraded(Held):
    """The host is half upgraded: {detail}."""

    hint = (
        "Do not reboot. `interlock resume --depot DIR` brings it to a whole state; DIR is a depot that has the packages"
        " of that upgrade."
    )


@dataclass(frozen=True)
class Half:
    """What a transaction that was cut off has left. Packages are NEVRAs.

    ``pairs`` have a package in several versions, the last to come first. ``torn`` are package and path: what rpm had
    begun to replace. ``broken`` are package and requirement. ``leftovers`` are rpm's unfinished files. ``since`` is
    when the transaction began, in seconds since the epoch; ``brought`` is all that it has brought.
    ``rough`` says that the bindings did not work, so that no more than the pairs could be seen.
    """

    pairs: tuple[tuple[str, ...], ...] = ()
    torn: tuple[tuple[str, str], ...] = ()
    broken: tuple[tuple[str, str], ...] = ()
    leftovers: tuple[str, ...] = ()
    since: float = 0.0
    brought: tuple[str, ...] = ()
    rough: bool = False

    @property
    def found(self) -> bool:
        """Say whether the host is half upgraded; rpm's unfinished files alone are only in the way."""
        return bool(self.pairs or self.torn or self.broken)

    @property
    def later(self) -> tuple[str, ...]:
        """The versions that the transaction brought beside earlier ones."""
        return tuple(one[0] for one in self.pairs)

    @property
    def names(self) -> frozenset[str]:
        """The names of the packages that are known not to be whole."""
        known = (*self.later, *(package for package, _ in self.torn), *(package for package, _ in self.broken))
        return frozenset(Nevra.parse(one).name for one in known)

    @property
    def reason(self) -> str:
        """What has happened, for people."""
        began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"a transaction of rpm's that began at {began} was cut off: {'; '.join(self._left())}"

    def _left(self) -> list[str]:
        said = []
        if self.pairs:
            said.append(f"{len(self.pairs)} packages are there in two versions ({some(self.later)})")
        if self.torn:
            said.append(f"files were left as another package's ({some([path for _, path in self.torn])})")
        said += [f"{package} requires {requirement}, which went" for package, requirement in self.broken[:SHOWN]]
        return said

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {**asdict(self), "reason": self.reason}


def some(names: Sequence[str]) -> str:
    """Return names as a sentence has them: the first few, and how many more."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def find_half(host: Host) -> Optional[Half]:
    """Return what was cut off, ``Half()`` on a host that is whole; None while a transaction is at work.

    Raises InterlockError or OSError where the database cannot be read.
    """
    database = find_database(host.runner)
    if lock_holders(database, host.proc):
        return None
    before, at = fingerprint(database.path), host.clock.now()
    os.makedirs(os.path.dirname(host.paths.scratch), mode=0o700, exist_ok=True)
    with private_copy(database, host.paths, f"half-{os.getpid()}") as copy:
        found = _examine(host, copy, at)
    if lock_holders(database, host.proc) or not _same(before, database):
        return None
    return _from_json(found)


def _same(before: object, database: Database) -> bool:
    try:
        return fingerprint(database.path) == before
    except OSError:
        return False


def _examine(host: Host, copy: str, at: float) -> Mapping[str, Any]:
    """Read the copy by the bindings; by the rpm program where they do not fit this Python, as in the middle."""
    try:
        found: Mapping[str, Any] = call_in_child("looking for a cut-off transaction", lambda: _read(copy, at), LIMIT)
    except InterlockError as error:
        if "BindingsMissing" not in str(error):
            raise
        argv = ["rpm", "--dbpath", copy, "--nodigest", "--nosignature", "-qa", "--queryformat", QUERY]
        found = by_query(host.runner.run(argv, timeout=LIMIT).stdout.splitlines())
    return found


def by_query(lines: Sequence[str]) -> dict[str, Any]:
    """Return the pairs that lines of a query show (QUERY); no more can be said without the bindings."""
    named: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name, version, arch, tid in (line.split("\t") for line in lines if line.count("\t") == 3):
        if name != "gpg-pubkey" and name not in INSTALL_ONLY:
            row = (int(tid) if tid.isdecimal() else 0, f"{name}-{version}.{arch}")
            named.setdefault((name, arch), []).append(row)
    several = [sorted(rows, reverse=True) for rows in named.values() if len(rows) > 1]
    since = min((rows[0][0] for rows in several), default=0)
    brought = [rows[0][1] for rows in several]
    return {
        "pairs": [[name for _, name in rows] for rows in several],
        "since": since,
        "brought": brought,
        "rough": True,
    }


def _read(copy: str, at: float) -> dict[str, Any]:
    """Return what is found, as JSON; runs in the child."""
    rows = content_pass.read_records(content_pass.open_copy(load_bindings(), copy)).rows
    doubled = read_content.duplicates(rows)
    leftovers = content_disk.leftovers(rows, at)
    suffixes = {int(path[1 - SUFFIX :], 16) for path in leftovers}
    torn = list(_torn(rows, leftovers))
    broken = [one for one in content_needs.unmet(rows) if _by_cut_off(one, rows, suffixes)] if suffixes else []
    # A file that is in nobody's way any more: of a transaction that was cut off, and done again since.
    known = {row.tid for some_rows in doubled for row in some_rows[:1]}
    known |= {tid for tid, _, _ in torn} | {one.row.tid for one in broken if one.row.tid in suffixes}
    # Two transactions may have begun in the same second.
    earlier = {row.number for some_rows in doubled for row in some_rows[1:]}
    return {
        "pairs": [[str(row.nevra) for row in some_rows] for some_rows in doubled],
        "torn": [[package, path] for _, package, path in torn],
        "broken": [[str(one.row.nevra), one.requirement] for one in broken],
        "leftovers": leftovers,
        "since": min(known or suffixes, default=0),
        "brought": [str(row.nevra) for row in rows if row.tid in known and row.number not in earlier],
    }


def _by_cut_off(one: content_needs.Unmet, rows: Sequence[Row], suffixes: set[int]) -> bool:
    """Say whether a requirement was broken by a transaction that has left unfinished files."""
    instead = {row.tid for row in rows if str(row.nevra) == one.instead}
    return bool(({one.row.tid} | instead) & suffixes)


def _torn(rows: Sequence[Row], leftovers: Sequence[str]) -> Any:
    """Yield time, package and path of what a transaction began to replace, and no later one has laid down again."""
    wanted = {path[:-SUFFIX]: int(path[1 - SUFFIX :], 16) for path in leftovers}
    for row in rows if wanted else ():
        times = [wanted[path] for path in content_disk.paths_of(row) if path in wanted]
        if times and row.tid < min(times):
            yield from (
                (min(times), str(row.nevra), path) for path in content_disk.unlike(row) if _changed(path, min(times))
            )


def _changed(path: str, since: float) -> bool:
    """Say whether a file has been touched since; what an administrator did before is his."""
    try:
        return os.lstat(path).st_ctime >= since
    except OSError:
        return True


# -- the hold


def record_path(paths: Paths) -> str:
    """Return where it is kept what was found."""
    return os.path.join(paths.state, "half.json")


def remembered(paths: Paths) -> Optional[Half]:
    """Return what was found when the host was put on hold; None where it is not on this hold, or it cannot be read."""
    hold = read_hold(paths)
    if hold is None or hold.operation != FOREIGN:
        return None
    try:
        with open(record_path(paths), encoding="utf-8") as stream:
            return _from_json(json.load(stream))
    except (OSError, ValueError, TypeError):
        return Half(since=hold.at)


def _from_json(row: Mapping[str, Any]) -> Half:
    values: dict[str, Any] = {one.name: row[one.name] for one in fields(Half) if one.name in row}
    for name in ("pairs", "torn", "broken"):
        values[name] = tuple(tuple(one) for one in values.get(name, ()))
    for name in ("leftovers", "brought"):
        values[name] = tuple(values.get(name, ()))
    return Half(**values)


def see_half(host: Host) -> list[Optional[Mapping[str, Any]]]:
    """Return one row for ``look_and_hold``: what is found, looked for by a process of its own meanwhile."""
    half = find_half(host)
    return [None if half is None else half.to_json()]


def look_and_hold(host: Host, seen: Optional[Sequence[Optional[Mapping[str, Any]]]] = None) -> Optional[Half]:
    """Put a host that is half upgraded on hold, and guard it; return what was found, ``Half()`` where it is whole.

    None while a transaction is at work. On hold already, what was found then is returned. ``seen`` is what
    ``see_half`` has said. The caller holds the lease.
    """
    _hold_again(host)
    known = remembered(host.paths)
    if known is not None:
        if known.rough:
            known = _finer(host, known)
        if read_dirty(host.paths) is None:
            raise_guard(host, FOREIGN, read_hold_reason(host.paths, known))
        return known
    half = _seen(seen[0]) if seen else find_half(host)
    if half is not None and half.found and read_hold(host.paths) is None:
        durable.write_file(record_path(host.paths), json.dumps(half.to_json(), indent=1) + "\n")
        put_on_hold(host.paths, Hold(FOREIGN, half.reason, host.clock.now()))
        raise_guard(host, FOREIGN, half.reason)
    return half


def _seen(row: Optional[Mapping[str, Any]]) -> Optional[Half]:
    return None if row is None else _from_json(row)


def _finer(host: Host, known: Half) -> Half:
    """Look once more, now that the bindings may work again."""
    again = find_half(host)
    if again is None or again.rough or not again.found:
        return known
    durable.write_file(record_path(host.paths), json.dumps(again.to_json(), indent=1) + "\n")
    return again


def _hold_again(host: Host) -> None:
    """Put the hold back where an operation that was to mend the host has failed so that its own hold took the place."""
    if read_hold(host.paths) is None and os.path.exists(record_path(host.paths)):
        with open(record_path(host.paths), encoding="utf-8") as stream:
            reason = str(json.load(stream)["reason"])
        put_on_hold(host.paths, Hold(FOREIGN, reason, host.clock.now()))


def read_hold_reason(paths: Paths, half: Half) -> str:
    """Return why the host is on hold."""
    hold = read_hold(paths)
    return hold.reason if hold is not None else half.reason


def end_hold(host: Host) -> None:
    """End the hold and allow reboots: the host has been proven whole."""
    durable.remove_file(record_path(host.paths))
    durable.remove_file(host.paths.hold)
    lower_guard(host)


def refuse_half(host: Host, seen: Optional[Sequence[Optional[Mapping[str, Any]]]] = None) -> None:
    """Raise HalfUpgraded where the host is half upgraded, after it was put on hold. The caller holds the lease."""
    half = look_and_hold(host, seen)
    if half is not None and half.found:
        raise HalfUpgraded(detail=half.reason)
