"""Plans the cures of the catalogue's cases: SQLite, its files, and who uses them beside rpm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Callable

from interlock.waits.cure import Cure, Step
from interlock.waits.facts import Facts
from interlock.waits.finding import Finding
from interlock.waits.naming import label


def _named(facts: Facts, pids: Iterable[int]) -> dict[str, Any]:
    """Return what a hand needs to know a process again."""
    there = [pid for pid in pids if pid in facts.processes]
    return {"pids": there, "started": [facts.processes[pid].started for pid in there]}


def _end(facts: Facts, pids: Iterable[int], why: str) -> Step:
    data = _named(facts, pids)
    return Step("end", f"end {', '.join(label(facts, pid) for pid in data['pids'])}{why}", data)


def cure_foreign_writer(finding: Finding, facts: Facts) -> Cure:
    """18: have the holder end; rpm goes on by itself. What failed meanwhile is installed again."""
    steps = [_end(facts, finding.pids[:1], ", which holds the write lock")]
    files = dict(finding.data.get("missing", {}))
    if files:
        text = f"install what failed meanwhile, once its rpm has ended: {', '.join(sorted(files))}"
        # Not marked as writing: the host's own rpm does it, with its own lock, after the one that waits has ended.
        waiting = _named(facts, finding.data.get("waiting", ()))
        steps.append(Step("install-again", text, {"files": files, "after": waiting["pids"]}))
    return Cure(finding.id, tuple(steps))


def cure_stalled_reader(finding: Finding, facts: Facts) -> Cure:
    """19: a stopped reader goes on; one that nobody reads from is ended. It loses nothing: it only reads."""
    reader = finding.pids[:1]
    if finding.data.get("stopped"):
        return Cure(finding.id, (Step("continue", f"continue {label(facts, reader[0])}", _named(facts, reader)),))
    return Cure(finding.id, (_end(facts, reader, ", which only reads"),))


def cure_dropped_lock(finding: Finding, facts: Facts) -> Cure:
    """20: end the process before it writes; the next look checks the database."""
    return Cure(finding.id, (_end(facts, finding.pids, " before it writes without a lock"),))


def cure_malformed(finding: Finding, facts: Facts) -> Cure:
    """21: rebuild in a copy."""
    text = "rebuild the database in a copy, compare its packages before and after, put the copy in place"
    return Cure(finding.id, (Step("rebuild", text, {}, writes=True),))


def cure_replaced(finding: Finding, facts: Facts) -> Cure:
    """23: end those that have not written; name what must be run again."""
    if "from" in finding.data:
        text = f"put a copy of {finding.data['from']} in place of the empty database"
        return Cure(finding.id, (Step("put-back", text, {"from": finding.data["from"]}, writes=True),))
    busy = [pid for pid in finding.pids if pid in facts.moving]
    if busy:
        text = f"{label(facts, busy[0])} makes progress in a database or under a lock that nobody else sees: begin no"
        return Cure(finding.id, decide=f"{text} other transaction, wait until it has ended, and look again")
    again = f"; run its transaction again: {', '.join(finding.packages)}" if finding.packages else ""
    family = [*finding.pids, *_below(facts, finding.pids)]
    return Cure(finding.id, (_end(facts, family, f" before it writes{again}"),))


def _below(facts: Facts, pids: Iterable[int]) -> list[int]:
    """Return all descendants of some processes: a scriptlet must not go on without its transaction."""
    found, todo = [], list(pids)
    while todo:
        parent = todo.pop()
        children = [one.pid for one in facts.processes.values() if one.parent == parent and one.pid not in found]
        found += children
        todo += children
    return found


def cure_log_removed(finding: Finding, facts: Facts) -> Cure:
    """24: who still uses the removed files is ended; then root opens the database once."""
    busy = [pid for pid in finding.pids if pid in facts.moving]
    if busy:
        return Cure(finding.id, decide=f"wait until {label(facts, busy[0])} has ended, which uses the removed files")
    steps = [_end(facts, finding.pids, ", which uses the removed files")] if finding.pids else []
    text = "open the database once as root, so that SQLite makes the files of its log again"
    return Cure(finding.id, (*steps, Step("reopen", text, {}, writes=True)))


CURES: Mapping[str, Callable[[Finding, Facts], Cure]] = {
    "sqlite-foreign-writer": cure_foreign_writer,
    "sqlite-stalled-reader": cure_stalled_reader,
    "database-lock-dropped": cure_dropped_lock,
    "sqlite-malformed": cure_malformed,
    "database-replaced": cure_replaced,
    "sqlite-wal-removed": cure_log_removed,
}
