"""Plans the cures of the catalogue's cases: what is wrong with the content, without any process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

from interlock.waits.cure import Cure, Step
from interlock.waits.facts import Facts
from interlock.waits.finding import Finding

SOURCES = "looked for in --depot DIR, Interlock's, dnf's and zypper's caches"


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
        decide = f"whether {finding.packages[0]} is to be removed, which a scriptlet of {finding.packages[-1]} wanted"
        return Cure(finding.id, decide=decide)
    text = f"install {', '.join(name for name, _ in rows)} now, outside of any scriptlet"
    return Cure(finding.id, (Step("install-files", text, {"files": [path for _, path in rows]}, writes=True),))


def cure_interrupted(finding: Finding, _facts: Facts) -> Cure:
    """26: take the older record out; where files are not the newer one's, put them back first."""
    steps = []
    if finding.data["unlike"]:
        text = f"put {len(finding.data['unlike'])} files back that are not the later package's ({SOURCES})"
        steps.append(Step("restore-files", text, {"files": finding.data["unlike"]}))
    for later, *earlier in finding.data["pairs"]:
        text = f"take {' and '.join(earlier)} out of the database only; the files on the disk are those of {later}"
        steps.append(Step("forget-records", text, {"keep": later, "packages": earlier}, writes=True))
    return Cure(finding.id, tuple(steps))


def cure_empty(finding: Finding, _facts: Facts) -> Cure:
    """27: put the files back."""
    text = f"put {len(finding.files)} files of {', '.join(finding.packages)} back from the package's file ({SOURCES})"
    return Cure(finding.id, (Step("restore-files", text, {"files": finding.data["files"]}),))


def cure_partial(finding: Finding, facts: Facts) -> Cure:
    """29: put the unfinished files aside, and install what is missing of the transaction."""
    steps = []
    leftovers, unmet = finding.data["leftovers"], finding.data["unmet"]
    if leftovers:
        text = f"put {len(leftovers)} unfinished files of rpm's aside; then run that transaction again if you want it"
        steps.append(Step("put-aside", text, {"files": leftovers}))
    crowded = facts.state.crowded if facts.state else ()
    if unmet and crowded and not leftovers:
        names = ", ".join(dict.fromkeys(row[0] for row in unmet))
        return Cure(finding.id, decide=f"what to remove from {', '.join(crowded)}; then install what goes with {names}")
    if unmet:
        names = ", ".join(dict.fromkeys(f"{row[1]} for {row[0]}" for row in unmet))
        text = f"install the rest of the transaction, so that there is {names} ({SOURCES})"
        steps.append(Step("complete-transaction", text, {"unmet": unmet}, writes=True))
    return Cure(finding.id, tuple(steps))


CURES: Mapping[str, Callable[[Finding, Facts], Cure]] = {
    "bdb-index-disagrees": cure_index,
    "header-damaged": cure_damaged,
    "nested-rpm-lost": cure_nested,
    "interrupted-transaction": cure_interrupted,
    "zero-byte-files": cure_empty,
    "partial-transaction": cure_partial,
}
