"""The wait graph: who waits for what, and who holds it. A pure function of facts.

A process waits for a resource (a lock, a mutex in shared memory, a job, a pid file, a pipe, a child), and a resource
is held by processes. A process that waits needs all that it points to; only where the kernel would let any one of
several end the wait (the writers of a pipe) is the edge marked ``any``. A cycle of such waits is a proven deadlock:
none of its members can run again by itself. A resource whose holder does not exist any more is a proven orphan.
Everything else is a wait with an age. A process that ran while the look went on proves nothing by what it was seen
to wait for: all edges of a proof were true at the same moment. Only who polls runs between its naps, and waits on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Optional

from interlock.waits.edges import Edge, Node, all_edges, process_key
from interlock.waits.facts import Facts

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

POLLS = "polls"


class WaitGraph(NamedTuple):
    """Nodes by key, edges, and what they prove.

    ``cycles`` are tuples of node keys, each the smallest way round; ``orphans`` are resources whose holder is gone;
    ``hopeless`` are all nodes that can never go on by themselves: members of cycles, orphans, whoever waits for them.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    cycles: tuple[tuple[str, ...], ...] = ()
    orphans: tuple[str, ...] = ()
    hopeless: frozenset[str] = frozenset()

    def after(self, key: str) -> list[Edge]:
        """Return the edges that leave a node."""
        return [edge for edge in self.edges if edge.source == key]

    def before(self, key: str) -> list[Edge]:
        """Return the edges that lead to a node."""
        return [edge for edge in self.edges if edge.target == key]

    def pids_in(self, cycle: Iterable[str]) -> tuple[int, ...]:
        """Return the processes among some nodes."""
        return tuple(self.nodes[key].pid for key in cycle if self.nodes[key].kind == "process")

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "nodes": [node._asdict() for node in self.nodes.values()],
            "edges": [edge._asdict() for edge in self.edges],
            "cycles": [list(cycle) for cycle in self.cycles],
            "orphans": list(self.orphans),
            "hopeless": sorted(self.hopeless),
        }


def build_graph(facts: Facts) -> WaitGraph:
    """Return the wait graph of one look."""
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], Edge] = {}
    for source, target, edge in all_edges(facts):
        nodes.setdefault(source.key, source)
        nodes.setdefault(target.key, target)
        moved = source.kind == "process" and source.pid in facts.ran and edge.verb != POLLS
        edges.setdefault((edge.source, edge.target), edge._replace(sure=False) if moved else edge)
    kept = tuple(edges.values())
    hopeless = _hopeless(nodes, kept)
    orphans = tuple(edge.source for edge in kept if nodes[edge.target].kind == "absent")
    return WaitGraph(nodes, kept, tuple(_cycles(hopeless, kept)), tuple(dict.fromkeys(orphans)), hopeless)


def _hopeless(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> frozenset[str]:
    """Return the nodes that stay when all that can go on by itself is taken away, again and again."""
    after: dict[str, list[Edge]] = {key: [] for key in nodes}
    for edge in edges:
        if edge.sure:
            after[edge.source].append(edge)
    left = set(nodes)
    while True:
        free = [key for key in left if _goes_on(nodes[key], after[key], left)]
        if not free:
            return frozenset(left)
        left.difference_update(free)


def _goes_on(node: Node, edges: list[Edge], left: set[str]) -> bool:
    if node.kind == "absent":
        return False
    one_of = [edge for edge in edges if edge.any]
    if one_of and all(edge.target in left for edge in one_of):
        return False
    return not any(edge.target in left for edge in edges if not edge.any)


def _cycles(hopeless: frozenset[str], edges: Iterable[Edge]) -> Iterator[tuple[str, ...]]:
    after: dict[str, list[str]] = {key: [] for key in hopeless}
    for edge in edges:
        if edge.sure and edge.source in hopeless and edge.target in hopeless:
            after[edge.source].append(edge.target)
    seen: set[frozenset[str]] = set()
    for start in sorted(hopeless):
        found = _way_round(start, after)
        if found and frozenset(found) not in seen:
            seen.add(frozenset(found))
            yield found


def _way_round(start: str, after: Mapping[str, list[str]]) -> Optional[tuple[str, ...]]:
    """Return the shortest way from a node back to it."""
    ways: list[tuple[str, ...]] = [(start,)]
    known = {start}
    for way in ways:
        for target in after[way[-1]]:
            if target == start:
                return way
            if target not in known:
                known.add(target)
                ways.append((*way, target))
    return None


def waiting_pids(graph: WaitGraph) -> tuple[int, ...]:
    """Return the processes that wait for something, in order."""
    return tuple(
        sorted({graph.nodes[edge.source].pid for edge in graph.edges if graph.nodes[edge.source].kind == "process"})
    )


def waits_for(graph: WaitGraph, pid: int) -> frozenset[int]:
    """Return every process that ``pid`` waits for, directly or through others."""
    found: set[str] = set()
    todo = [process_key(pid)]
    while todo:
        for edge in graph.after(todo.pop()):
            if edge.target not in found:
                found.add(edge.target)
                todo.append(edge.target)
    return frozenset(graph.nodes[key].pid for key in found if graph.nodes[key].kind == "process")
