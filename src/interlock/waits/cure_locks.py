"""Plans the cures of the catalogue's cases: transactions, scriptlets, package managers, and what they wait for.

Whoever is ended here has changed nothing yet: it waits. The transaction itself is never ended, and is waited for, for
a while, so that what comes next finds the database free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Callable

from interlock.waits.cure import Cure, Step
from interlock.waits.facts import Facts
from interlock.waits.find_locks import ancestors, label
from interlock.waits.finding import Finding

# Whoever waits for no longer than this may still go on by itself.
PATIENCE = 60.0
AFTERWARDS = 60.0
MANAGER_SECONDS = 20.0


def named(facts: Facts, pids: Iterable[int]) -> dict[str, Any]:
    """Return what a hand needs to know a process again."""
    there = [pid for pid in dict.fromkeys(pids) if pid in facts.processes]
    return {"pids": there, "started": [facts.processes[pid].started for pid in there]}


def _labels(facts: Facts, pids: Iterable[int]) -> str:
    return ", ".join(label(facts, pid) for pid in pids)


def _wait(facts: Facts, pids: Iterable[int], seconds: float = AFTERWARDS) -> tuple[Step, ...]:
    """Return the step that waits for the end of processes; it touches none of them."""
    data = named(facts, pids)
    if not data["pids"]:
        return ()
    others = {"others": data["pids"], "others_started": data["started"], "seconds": seconds}
    text = f"wait up to {seconds:.0f} s until {_labels(facts, data['pids'])} has ended by itself"
    return (Step("wait-for-end", text, others),)


def cure_waits(finding: Finding, facts: Facts) -> Cure:
    """12: wait for a while; if that does not help, end those that wait."""
    holder, waiters = finding.data["holder"], finding.data["waiters"]
    if holder in facts.moving:
        return Cure(finding.id, decide=f"wait: {label(facts, holder)} makes progress, and the others go on after it")
    if finding.since < PATIENCE:
        return Cure(finding.id, _wait(facts, [holder, *waiters]))
    text = f"end {_labels(facts, waiters)}: it has changed nothing yet, run it again later"
    return Cure(finding.id, (Step("end", text, named(facts, waiters)),))


def cure_beside(finding: Finding, facts: Facts) -> Cure:
    """34: the one that waits has planned for a database that changes: it is ended, and has to plan again."""
    holder, waiters = finding.data["holder"], finding.data["waiters"]
    if holder in facts.moving:
        decide = f"wait: {label(facts, holder)} makes progress; then end {_labels(facts, waiters)}, and run it again"
        return Cure(finding.id, decide=decide)
    text = f"end {_labels(facts, waiters)}, which has changed nothing yet; run it again, so that it plans again"
    return Cure(finding.id, (Step("end", text, named(facts, waiters)), *_wait(facts, [holder])))


def cure_nested(finding: Finding, facts: Facts) -> Cure:
    """14, 15: end the inner one; the scriptlet goes on, and the outer one ends by itself."""
    inner, outer = finding.data["inner"], finding.data["outer"]
    text = f"end {label(facts, inner)}, which has changed nothing; the scriptlet that runs it goes on"
    return Cure(finding.id, (Step("end", text, named(facts, [inner])), *_wait(facts, [outer])))


def cure_own_stop(finding: Finding, facts: Facts) -> Cure:
    """16: move the transaction out of the unit; if the rest of the unit waits for it, systemctl must not wait."""
    data = finding.data
    text = f"move {label(facts, data['top'])} and all that it has started into a scope of their own; nothing is ended"
    steps = [Step("move-to-scope", text, named(facts, data["move"]))]
    if set(ancestors(facts, data["top"])) & set(data["rest"]):
        text = f"cancel job {data['number']} ({data['unit']}), for that unit itself waits for the transaction"
        steps.append(Step("cancel-job", text, {"number": data["number"], "unit": data["unit"]}))
    return Cure(finding.id, (*steps, *_wait(facts, [data["top"]])))


def cure_job(finding: Finding, facts: Facts) -> Cure:
    """17: cancel the job: systemctl returns with an error, and the scriptlet goes on."""
    data = finding.data
    text = f"cancel job {data['number']} of systemd ({data['unit']}); systemctl returns, and the scriptlet goes on"
    step = Step("cancel-job", text, {"number": data["number"], "unit": data["unit"]})
    return Cure(finding.id, (step, *_wait(facts, data["transactions"])))


def cure_pid_file(finding: Finding, facts: Facts) -> Cure:
    """25: put the file aside; whoever polls it goes on."""
    data = {"files": list(finding.files), "contents": [finding.data["content"]]}
    step = Step("put-pid-file-aside", f"put {finding.files[0]} aside", data)
    return Cure(finding.id, (step, *_wait(facts, finding.data.get("waiters", ()), MANAGER_SECONDS)))


def cure_lost(finding: Finding, facts: Facts) -> Cure:
    """28: let it end; if it does not, only a person can say what it waits for."""
    pid = finding.pids[0]
    if finding.since >= PATIENCE and pid not in facts.moving:
        decide = f"whether {label(facts, pid)} is to be ended, which has not run for {finding.since:.0f} s"
        return Cure(finding.id, decide=f"{decide}; what it leaves half done is found by the next look")
    return Cure(finding.id, _wait(facts, [pid]))


def cure_held(finding: Finding, facts: Facts) -> Cure:
    """33: end the process that was left behind."""
    left = finding.data["left"]
    text = f"end {_labels(facts, left)}, which a scriptlet left behind; its transaction is done, nothing is lost"
    return Cure(finding.id, (Step("end", text, named(facts, left)),))


CURES: Mapping[str, Callable[[Finding, Facts], Cure]] = {
    "transaction-waits": cure_waits,
    "rpm-beside-dnf": cure_beside,
    "nested-rpm-deadlock": cure_nested,
    "nested-dnf-deadlock": cure_nested,
    "transaction-stops-itself": cure_own_stop,
    "scriptlet-waits-for-job": cure_job,
    "stale-pid-file": cure_pid_file,
    "front-end-lost": cure_lost,
    "output-held": cure_held,
}
