"""Judges what package management has left unfinished."""

from __future__ import annotations

from collections.abc import Iterator

from interlock.boot.boot_packages import Packages
from interlock.boot.verdict import Reason

MOST = 5
RESUME = "`interlock check` says what happened; `interlock resume` completes or undoes it."


def judge_packages(found: Packages) -> Iterator[Reason]:
    """Yield what speaks against a boot."""
    if found.installed is None:
        advice = "`interlock doctor` finds out what is wrong with it."
        yield Reason("packages-unreadable", "package database", found.unreadable, advice)
    elif not found.installed:
        detail = "it has no package at all"
        yield Reason("packages-unreadable", "package database", detail, "`interlock doctor` finds out why.")
    if found.duplicates:
        detail = "; ".join(" and ".join(some) for some in found.duplicates[:MOST])
        subject = found.duplicates[0][0]
        yield Reason("packages-twice", subject, f"{len(found.duplicates)} installed twice: {detail}", RESUME)
    if found.leftovers:
        more = len(found.leftovers) - MOST
        detail = f"rpm was cut off while it unpacked: {', '.join(found.leftovers[:MOST])}"
        detail += f" and {more} more" if more > 0 else ""
        advice = f"{RESUME} `interlock doctor --cure` puts such files aside where the transaction is long over."
        yield Reason("transaction-unfinished", found.leftovers[0], detail, advice)
    for subject, detail in found.open_transactions:
        yield Reason("transaction-unfinished", subject, detail, RESUME)
