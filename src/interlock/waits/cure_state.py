"""Plans the cures of the catalogue's cases: what is wrong with the content, without any process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable

from interlock.package import Nevra
from interlock.waits.cure import Cure, Step
from interlock.waits.facts import Facts
from interlock.waits.finding import Finding

MOST_NAMES = 4
SOURCES = "looked for in --depot DIR, Interlock's, dnf's and zypper's caches"


def some(names: Sequence[str]) -> str:
    """Return names as a sentence has them: the first few, and how many more."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def cure_index(finding: Finding, _facts: Facts) -> Cure:
    """9: make the indexes anew from the packages."""
    text = "make the indexes anew in a copy of the database, compare the packages, put the copy in place"
    return Cure(finding.id, (Step("rebuild", text, writes=True),))


def cure_damaged(finding: Finding, _facts: Facts) -> Cure:
    """22: put the record back from the package's file."""
    names = ", ".join(finding.packages)
    text = f"put the record of {names} back from the package's file ({SOURCES}), in a copy of the database"
    return Cure(finding.id, (Step("restore-records", text, {"records": finding.data["records"]}, writes=True),))


def cure_nested(finding: Finding, _facts: Facts) -> Cure:
    """13: install now what the scriptlet could not."""
    rows = finding.data["install"]
    if not rows:
        what = f"installed (`rpm -U {finding.files[0]}`)" if finding.files else "removed"
        decide = f"whether {finding.packages[0]} is to be {what}, as a scriptlet of {finding.packages[-1]} has it"
        return Cure(finding.id, decide=decide)
    text = f"install {', '.join(name for name, _ in rows)} now, outside of any scriptlet"
    return Cure(finding.id, (Step("install-files", text, {"files": [path for _, path in rows]}, writes=True),))


def cure_interrupted(finding: Finding, _facts: Facts) -> Cure:
    """26: take the older record out; where files are not the newer one's, put them back first."""
    steps = []
    if finding.data["unlike"]:
        text = f"put back what is not the later package's: {some(finding.files)} ({SOURCES})"
        steps.append(Step("restore-files", text, {"files": finding.data["unlike"]}))
    for later, *earlier in finding.data["pairs"]:
        text = f"take {' and '.join(earlier)} out of the database only; the files on the disk are those of {later}"
        steps.append(Step("forget-records", text, {"keep": later, "packages": earlier}, writes=True))
    return Cure(finding.id, tuple(steps))


def cure_empty(finding: Finding, _facts: Facts) -> Cure:
    """27: put the files back."""
    text = f"put back from its package's file each of {some(finding.files)} ({SOURCES})"
    return Cure(finding.id, (Step("restore-files", text, {"files": finding.data["files"]}),))


def cure_partial(finding: Finding, facts: Facts) -> Cure:
    """29: put the unfinished files aside, and install what is missing of the transaction."""
    steps = []
    leftovers, unmet = finding.data["leftovers"], finding.data["unmet"]
    if leftovers:
        text = f"put aside what rpm did not finish, {some(leftovers)}; that transaction can be run again then"
        steps.append(Step("put-aside", text, {"files": leftovers}))
    missing = list(dict.fromkeys(_missing(*row) for row in unmet))
    crowded = facts.state.crowded if facts.state else ()
    if unmet and crowded and not leftovers:
        decide = f"what to remove from {', '.join(crowded)}; then the rest can be installed: {some(missing)}"
        return Cure(finding.id, decide=decide)
    if unmet:
        text = f"install the rest of the transaction: {some(missing)} ({SOURCES})"
        steps.append(Step("complete-transaction", text, {"unmet": unmet}, writes=True))
    return Cure(finding.id, tuple(steps))


def _missing(package: str, requirement: str, instead: str) -> str:
    """Return in words what a transaction was to bring besides what it did."""
    return f"the {Nevra.parse(package).name} that goes with {instead}" if instead else f"{requirement} for {package}"


CURES: Mapping[str, Callable[[Finding, Facts], Cure]] = {
    "bdb-index-disagrees": cure_index,
    "header-damaged": cure_damaged,
    "nested-rpm-lost": cure_nested,
    "interrupted-transaction": cure_interrupted,
    "zero-byte-files": cure_empty,
    "partial-transaction": cure_partial,
}
