"""Finds the catalogue's cases that are circles: a transaction waits for a scriptlet that waits for the transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Optional

from interlock.waits.facts import Facts
from interlock.waits.finding import PROVEN, Finding
from interlock.waits.graph import WaitGraph

# A stop of a unit, or the first half of a restart.
STOPS = ("stop", "restart")


class Circle(NamedTuple):
    """Who waits for a lock or pid file (``resource``, a node's key) inside, and who holds it outside."""

    kind: str
    resource: str
    inner: int
    outer: int
    cycle: tuple[str, ...]


def find_nested(facts: Facts, graph: WaitGraph) -> Iterator[Finding]:
    """14, 15: a package tool in a scriptlet waits for the one that runs it."""
    seen: set[tuple[str, int, int]] = set()
    for cycle in sorted(graph.cycles, key=len):
        circle = _circle(facts, graph, cycle)
        if circle is None or (circle.kind, circle.inner, circle.outer) in seen:
            continue
        seen.add((circle.kind, circle.inner, circle.outer))
        yield _nested(facts, graph, circle)


def _circle(facts: Facts, graph: WaitGraph, cycle: tuple[str, ...]) -> Optional[Circle]:
    kinds = {graph.nodes[key].kind: key for key in cycle}
    if "job" in kinds or "mutex" in kinds:
        return None
    resource = kinds.get("pidfile") or kinds.get("lock", "")
    if not resource or (resource == kinds.get("lock") and not _is_transaction_lock(facts, graph, resource)):
        return None
    place = cycle.index(resource)
    inner, outer = graph.nodes[cycle[place - 1]], graph.nodes[cycle[(place + 1) % len(cycle)]]
    if inner.kind != "process" or outer.kind != "process":
        return None
    return Circle(graph.nodes[resource].kind, resource, inner.pid, outer.pid, cycle)


def _is_transaction_lock(facts: Facts, graph: WaitGraph, key: str) -> bool:
    return facts.database.lock != "" and facts.database.lock in graph.nodes[key].label


def _nested(facts: Facts, graph: WaitGraph, circle: Circle) -> Finding:
    name = "nested-dnf-deadlock" if circle.kind == "pidfile" else "nested-rpm-deadlock"
    path = circle.resource.partition(":")[2] if circle.kind == "pidfile" else facts.database.lock
    others = tuple(pid for pid in graph.pids_in(circle.cycle) if pid not in (circle.inner, circle.outer))
    process = facts.processes.get(circle.inner)
    since = 0.0 if process is None else process.age if circle.kind == "pidfile" else process.asleep or process.age
    data = {"inner": circle.inner, "outer": circle.outer}
    pids = (circle.inner, circle.outer, *others)
    return Finding(name, PROVEN, sentences(graph, circle.cycle), pids, (path,), (), since, data)


def sentences(graph: WaitGraph, cycle: tuple[str, ...]) -> tuple[str, ...]:
    """Return a cycle as sentences, each with where it was read."""
    steps = zip(cycle, (*cycle[1:], cycle[0]))
    edges = {(edge.source, edge.target): edge for edge in graph.edges}
    found = [edges[step] for step in steps if step in edges]
    return tuple(
        f"{graph.nodes[one.source].label} {one.verb} {graph.nodes[one.target].label} ({one.proof})" for one in found
    )


def find_own_stop(facts: Facts, graph: WaitGraph) -> Iterator[Finding]:
    """16: a scriptlet waits for the stop of the unit in which its own transaction runs."""
    for job in facts.jobs:
        top = next((pid for client in job.clients for pid in _top(facts, client, job.pids)), 0)
        circles = [one for one in graph.cycles if f"job:{job.number}" in one]
        # systemctl is in the unit too; the way round through the transaction says more.
        cycle = max(circles, key=lambda one: f"process:{top}" in one, default=None)
        if cycle is None or job.kind not in STOPS or not top:
            continue
        move = [top, *below(facts, top)]
        rest = [pid for pid in job.pids if pid not in move and pid in facts.processes]
        proof = (
            *sentences(graph, cycle),
            f"systemctl list-jobs: {job.number} {job.unit} {job.kind} {job.state}; after the unit's stop time limit"
            " systemd kills all of its processes, the transaction too",
        )
        process = facts.processes.get(job.clients[0])
        since = 0.0 if process is None else process.asleep or process.age
        data = {"number": job.number, "unit": job.unit, "move": move, "rest": rest, "top": top}
        yield Finding(
            "transaction-stops-itself", PROVEN, proof, tuple(dict.fromkeys((top, *job.clients, *move))), since=since,
            data=data,
        )  # fmt: skip


def _top(facts: Facts, client: int, pids: tuple[int, ...]) -> Iterator[int]:
    """Yield the uppermost process of the transaction above a client that is in the unit which is to stop."""
    found = 0
    process = facts.processes.get(client)
    while process is not None and process.parent not in (0, 1, process.pid):
        process = facts.processes.get(process.parent)
        if process is not None and process.pid in pids and process.name.startswith(("rpm", "dnf", "yum", "zypp")):
            found = process.pid
    if found:
        yield found


def below(facts: Facts, pid: int) -> list[int]:
    """Return all descendants of a process."""
    found = [pid]
    for parent in found:
        found += [one.pid for one in facts.processes.values() if one.parent == parent and one.pid not in found]
    return found[1:]
