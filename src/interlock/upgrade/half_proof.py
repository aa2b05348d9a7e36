"""The proof that a host which was half upgraded is whole again. Nothing less ends its hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from interlock.boot.check import check_boot
from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.rpmdb.backend import find_database
from interlock.rpmdb.reader import load_bindings, private_copy
from interlock.system.child import call_in_child
from interlock.upgrade.half import Half, find_half
from interlock.upgrade.proof import programs_run
from interlock.upgrade.verify import ALGORITHMS, Finding, PayloadFile, compare
from interlock.waits import content_needs, content_pass
from interlock.waits.content_pass import Row

LIMIT = 1800.0
DOC = 1 << 1


def prove(host: Host, half: Half) -> list[Finding]:
    """Return what is not as it should be: empty where the host is whole.

    No trace of a cut-off transaction, requirements met, every file that the packages since then brought (or that was
    changed since then) its package's, programs run, and the boot check has nothing against it.
    """
    try:
        again = find_half(host)
        found = [Finding("package database", "is being changed by a transaction")] if again is None else []
        if again is not None and again.found:
            found.append(Finding("packages", again.reason))
        with private_copy(find_database(host.runner), host.paths, f"proof-{os.getpid()}") as copy:
            rows = call_in_child("comparing files and packages", lambda: list(_differences(copy, half.since)), LIMIT)
        found += [Finding(f"{path} ({package})" if path else package, detail) for package, path, detail in rows]
        found += programs_run(host.runner)
        found += [Finding(one.subject, one.detail) for one in check_boot(host).reasons]
    except (InterlockError, OSError, ValueError) as error:
        return [Finding("the proof", f"could not be made: {error}")]
    return found


def torn_packages(host: Host, half: Half) -> list[str]:
    """Return the packages of which a file that was changed since is not their own."""
    with private_copy(find_database(host.runner), host.paths, f"torn-{os.getpid()}") as copy:
        rows = call_in_child("comparing files and packages", lambda: list(_differences(copy, half.since)), LIMIT)
    return list(dict.fromkeys(package for package, path, _ in rows if path))


def _differences(copy: str, since: float) -> Iterator[tuple[str, str, str]]:
    """Yield package, path and what is wrong with it; runs in the child."""
    rows = content_pass.read_records(content_pass.open_copy(load_bindings(), copy)).rows
    for one in content_needs.unmet(rows):
        yield str(one.row.nevra), "", f"requires {one.requirement}, which nothing has"
    for row in rows:
        for file in _payload(row):
            if row.tid >= since or _touched(file, since):
                difference = compare(file)
                if difference is not None:
                    yield str(row.nevra), file.path, difference


def _touched(file: PayloadFile, since: float) -> bool:
    """Say whether a path was changed since. One that is missing: whether something has gone from its folder since.

    A %pretrans moves folders away before rpm has touched a package. Missing documentation was left out on purpose.
    """
    path = file.path
    try:
        return os.lstat(path).st_ctime >= since
    except OSError:
        if file.flags & DOC:
            return False
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return os.stat(path).st_ctime >= since


def _payload(row: Row) -> Iterable[PayloadFile]:
    """Yield the files that a package has on the disk and that have to be its own."""
    algorithm = ALGORITHMS.get(int(row.header["filedigestalgo"] or 1), "")
    columns = ("filenames", "filemodes", "filedigests", "filelinktos", "fileflags", "fileverifyflags")
    states = row.tag("filestates") or [0] * len(row.tag("filenames"))
    for state, *values in zip(states, *(row.tag(column) for column in columns)):
        path, mode, digest, link, flags, verify = map(_plain, values)
        file = PayloadFile(str(row.nevra), path, mode & 0xFFFF, digest, algorithm, link, flags, verify)
        if state == 0 and file.looked_at:
            yield file


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
