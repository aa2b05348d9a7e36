"""Plans the cures of the catalogue's cases: Berkeley DB environments and their users.

The regions are put aside while those who hang in them still keep everybody else out; only then are these ended. The
other way round the next in the queue would open the same regions and hang in its turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from interlock.waits.cure import Cure, Step
from interlock.waits.facts import Facts
from interlock.waits.finding import Finding


def regions_aside(finding: Finding, _facts: Facts) -> Cure:
    """Put the regions aside and end those who hang in them; nobody else may be inside."""
    others = finding.data["others"]
    if others:
        return Cure(
            finding.id, decide=f"pid {others[0]} uses the shared regions too: wait until it has ended, or end it"
        )
    return Cure(finding.id, (_aside(finding.data["end"]), *_end(finding.data["end"], "it hangs for ever")))


def release(finding: Finding, facts: Facts) -> Cure:
    """Let rpm free the logical locks of the dead, as it can; a mutex of the dead nobody can free."""
    cure = regions_aside(finding, facts)
    if not finding.data.get("logical") or not cure.steps:
        return cure
    end = finding.data["end"]
    text = f"have rpm release what dead readers held; if {_who(end)} sleeps on, put __db.* aside and end it"
    return Cure(finding.id, (Step("release", text, end, writes=True),))


def free_table(finding: Finding, facts: Facts) -> Cure:
    """End the one who fills the table: the next rpm frees what a dead process had. Nobody inside: regions aside."""
    others = [pid for pid in finding.data["others"] if pid in facts.processes]
    if len(others) != 1:
        return regions_aside(finding, facts)
    end = {"pids": others, "started": [facts.processes[pid].started for pid in others]}
    return Cure(finding.id, tuple(_end(end, "it fills the lock table, and rpm frees what the dead had")))


def wake(finding: Finding, facts: Facts) -> Cure:
    """Have the sleepers look again if their word has changed; else nothing can wake them."""
    end = finding.data["end"]
    if finding.data.get("stale"):
        text = f"stop and continue {_who(end)}: a sleeper looks at its lock again then"
        return Cure(finding.id, (Step("wake", text, end),))
    return regions_aside(finding, facts)


def go_on(finding: Finding, _facts: Facts) -> Cure:
    """Continue the stopped ones; end those who cannot write."""
    stopped, blocked = finding.data["stopped"], finding.data["blocked"]
    steps = [Step("continue", f"continue {_who(stopped)}, which is stopped", stopped)] if stopped["pids"] else []
    return Cure(finding.id, (*steps, *_end(blocked, "its output is what blocks it")))


def free_gate(finding: Finding, _facts: Facts) -> Cure:
    """Continue a holder that is stopped; what to do with any other is for a person to say."""
    stopped = finding.data["stopped"]
    if not stopped["pids"]:
        text = f"{finding.data['holder']} holds .dbenv.lock and does not go on: find out what it is for, and end it"
        return Cure(finding.id, decide=text)
    return Cure(finding.id, (Step("continue", f"continue {_who(stopped)}, which holds .dbenv.lock", stopped),))


def end_users(finding: Finding, _facts: Facts) -> Cure:
    """End who uses regions that are gone."""
    return Cure(finding.id, tuple(_end(finding.data["end"], "nobody else sees the regions that it uses")))


def end_old(finding: Finding, _facts: Facts) -> Cure:
    """End who runs with the old library; if nobody else is inside, the regions are made anew after that."""
    end = finding.data["end"]
    first = [_aside(end)] if finding.data["alone"] else []
    return Cure(finding.id, (*first, *_end(end, "it runs with the old C library")))


def rebuild(finding: Finding, _facts: Facts) -> Cure:
    """Make the indexes anew from the packages, in a copy."""
    return Cure(finding.id, (Step("rebuild", "rebuild the indexes in a copy and put it in place", {}, writes=True),))


def _aside(end: Mapping[str, Any]) -> Step:
    return Step("regions", "put the shared regions (__db.*) aside; rpm makes them anew", end, writes=True)


def _end(end: Mapping[str, Any], why: str) -> list[Step]:
    return [Step("end", f"end {_who(end)}: {why}", end)] if end["pids"] else []


def _who(end: Mapping[str, Any]) -> str:
    pids = ", ".join(str(pid) for pid in end["pids"])
    return f"pid {pids}" if len(end["pids"]) == 1 else f"pids {pids}"


CURES: Mapping[str, Callable[[Finding, Facts], Cure]] = {
    "bdb-dead-reader": regions_aside,
    "bdb-dead-owner": release,
    "bdb-panic": regions_aside,
    "bdb-lost-wakeup": wake,
    "bdb-glibc-replaced": end_old,
    "bdb-lockers-exhausted": free_table,
    "bdb-version-mismatch": regions_aside,
    "bdb-queue": free_gate,
    "bdb-stopped-reader": go_on,
    "bdb-region-removed": end_users,
}
