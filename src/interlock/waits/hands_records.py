"""Hands that act on single records of the database: put a damaged one back, take an older one out, add what is missing.

Rules. A damaged record is replaced in a copy: its row goes, the same package's header comes back from its file, and
the copy is only put in place if it has every other package as before. Nothing runs a scriptlet.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from interlock.package import Nevra
from interlock.rpmdb.backend import backend_of
from interlock.rpmdb.reader import load_bindings
from interlock.system.child import call_in_child
from interlock.waits import content_pass, package_files
from interlock.waits.hands import StepFailed, Treatment
from interlock.waits.hands_database import changed_copy
from interlock.waits.hands_files import run_rpm
from interlock.waits.package_files import Wanted

LIMIT = 120.0
ROUNDS = 12
RECORD_ONLY = ("--justdb", "--noscripts", "--notriggers", "--nodeps")
_INSTALLED_NEEDS = re.compile(r"is needed by \(installed\) (\S+)")
_NEEDED = re.compile(r"^\s*(\S+)(?: [<>=]+ \S+)? is needed by (?!\(installed\))\S+", re.MULTILINE)


def restore_records(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Put damaged records back from the files of the same packages."""
    numbers = [int(number) for number, _ in data["records"]]
    with changed_copy(treatment, "records") as copy:
        wanted = [_wanted(row, name) for row, (_, name) in zip(_identities(copy, numbers), data["records"])]
        files = package_files.find(treatment, wanted)
        before = _packages(copy)
        _take_out(treatment, copy, numbers)
        run_rpm(treatment, ["--dbpath", copy, "-i", "--ignoresize", *RECORD_ONLY, "--", *files.values()])
        after = _packages(copy)
        lost = sorted(before - after)
        if lost or len(after) != len(before) + len(numbers):
            raise StepFailed(detail=f"the copy has not every package ({', '.join(lost) or 'records are missing'})")
    return f"the records of {', '.join(sorted(after - before))} are back, from {', '.join(sorted(files.values()))}"


def _wanted(row: Mapping[str, str], name: str) -> Wanted:
    try:
        nevra = Nevra.parse(name)
    except ValueError:
        return Wanted(row["name"] or name, "", row["header"], row["whole"])
    return Wanted(row["name"] or nevra.name, name, row["header"], row["whole"])


def _identities(copy: str, numbers: Sequence[int]) -> list[dict[str, str]]:
    """Return what the indexes know of some records: name, and the digests that say which build it was."""
    return list(call_in_child("reading the indexes", lambda: _from_indexes(copy, numbers), LIMIT))


def _from_indexes(copy: str, numbers: Sequence[int]) -> list[dict[str, str]]:
    transaction = content_pass.open_copy(load_bindings(), copy)
    rows = [{"name": "", "header": "", "whole": ""} for _ in numbers]
    for field, tag in (("name", "name"), ("header", "sha1header"), ("whole", "sigmd5")):
        try:
            keys = transaction.dbIndex(tag)
        except KeyError:
            continue
        for key in keys:
            for number, _ in keys.instances():
                if number in numbers:
                    rows[numbers.index(number)][field] = _key(field, key)
    return rows


def _key(field: str, key: Any) -> str:
    if isinstance(key, bytes):
        return key.hex() if field == "whole" else key.decode("utf-8", "replace")
    return str(key)


def _packages(copy: str) -> set[str]:
    """Return the packages that rpm does not pass over."""
    return set(call_in_child("reading the copy of the database", lambda: _sound(copy), LIMIT))


def _sound(copy: str) -> list[str]:
    return [str(row.nevra) for row in content_pass.read_records(content_pass.open_copy(load_bindings(), copy)).rows]


def _take_out(treatment: Treatment, copy: str, numbers: Sequence[int]) -> None:
    """Remove records from a copy; where there is no SQL for it, by the rebuild that passes over damaged ones."""
    if backend_of(copy) == "sqlite":
        call_in_child("removing damaged records from the copy", lambda: _delete(copy, numbers), LIMIT)
    else:
        backend = backend_of(copy)
        run_rpm(treatment, ["--dbpath", copy, "--define", f"_db_backend {backend}", "--rebuilddb"])


def _delete(copy: str, numbers: Iterable[int]) -> None:
    connection = sqlite3.connect(os.path.join(copy, "rpmdb.sqlite"))
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        columns = {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
        if "hnum" in columns:
            connection.executemany(f'DELETE FROM "{table}" WHERE hnum = ?', [(number,) for number in numbers])
    connection.commit()
    connection.close()


def forget_records(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Take older versions out of the database only; the files on the disk are those of the one that stays."""
    treatment.meant.extend(data["packages"])
    run_rpm(treatment, ["-e", *RECORD_ONLY, "--", *map(package_files.label, data["packages"])])
    return f"{', '.join(data['packages'])} is out of the database; {data['keep']} stays"


def complete_transaction(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Install what is missing of a transaction, as far as installed packages show what that is."""
    names = {Nevra.parse(nevra).name if instead else need.split()[0] for nevra, need, instead in data["unmet"]}
    for _ in range(ROUNDS):
        files = _newest(treatment, names)
        done = treatment.host.runner.run(["rpm", "-U", "--test", "--", *files], timeout=300, check=False)
        if done.status == 0:
            treatment.meant.extend(_replaced(treatment, names))
            run_rpm(treatment, ["-U", "--", *files])
            return f"rpm installed the rest of the transaction: {', '.join(files)}"
        more = _also_needed(done.stderr) - names
        if not more:
            break
        names |= more
    raise StepFailed(detail=f"the rest of the transaction cannot be installed: {done.stderr.strip()[-400:]}")


def _newest(treatment: Treatment, names: Iterable[str]) -> list[str]:
    found: dict[str, tuple[Nevra, str]] = {}
    for file in package_files.named(treatment, names):
        nevra = Nevra.parse(file.nevra)
        if nevra.name not in found or nevra.evr.compare(found[nevra.name][0].evr) > 0:
            found[nevra.name] = nevra, file.path
    missing = sorted(set(names) - set(found))
    if missing:
        raise StepFailed(
            detail=f"the rest of the transaction has {', '.join(missing)}; no package file of it is in"
            f" {', '.join(package_files.folders(treatment))}. Give the transaction's packages with `--depot DIR`"
        )
    return [path for _, path in found.values()]


def _also_needed(errors: str) -> set[str]:
    """Return what rpm says must come too: packages that are held back, and names that are required."""
    back = {_name_of(word) for word in _INSTALLED_NEEDS.findall(errors)}
    return back | set(_NEEDED.findall(errors))


def _name_of(word: str) -> str:
    parts = word.rsplit("-", 2)
    return parts[0]


def _replaced(treatment: Treatment, names: Iterable[str]) -> list[str]:
    """Return the installed versions of some names: the later ones take their place."""
    return [one for one in treatment.packages if Nevra.parse(one).name in set(names)]


HANDS: Mapping[str, Callable[[Treatment, Mapping[str, Any]], str]] = {
    "restore-records": restore_records,
    "forget-records": forget_records,
    "complete-transaction": complete_transaction,
}
