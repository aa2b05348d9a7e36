"""The wait graph for people in a terminal, and as JSON. Pure: lines and values, nothing is printed.

A tree goes from who waits, through what, to who holds it. A command line may have any characters in it: those that
a terminal would obey are shown as ``?``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from interlock.system.clock import age
from interlock.waits.edges import Edge, Node, label_of
from interlock.waits.facts import Facts, FileLock
from interlock.waits.graph import WaitGraph

DEADLOCK = "DEADLOCK, proven: they wait for each other, and none of them can go on by itself"
ORPHAN = "ORPHAN, proven: who holds it is gone and cannot give it back"
STUCK = "WAITS IN VAIN, proven: for one who can never go on"
WAITS = "waits, and may go on by itself"


def clean(text: str) -> str:
    """Return text that a terminal and a picture can show."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def draw(facts: Facts, graph: WaitGraph) -> list[str]:
    """Return the graph as lines: what is proven first, then who waits, then quietly who only holds."""
    lines = [_head(facts)]
    if not facts.complete:
        lines.append("  Not run as root: processes of other users could not be asked.")
    shown: set[str] = set()
    for start in starts(graph):
        if start in shown:
            continue
        lines += ["", verdict(graph, start), *_Tree(graph, shown).lines(start)]
    quiet = [f"  {clean(line)}" for line in held_lines(facts, graph)]
    lines += ["", "Held, and nobody waits for it:", *quiet] if quiet else []
    return lines if shown else [*lines[:1], "Nobody waits.", *lines[1:]]


def _head(facts: Facts) -> str:
    number = sum(not lock.waits for lock in facts.locks)
    locks = f"{number} lock{'' if number == 1 else 's'} held"
    return (
        f"{facts.database.path} ({facts.database.backend or 'no database'}), {len(facts.processes)} processes, {locks}"
    )


def starts(graph: WaitGraph) -> list[str]:
    """Return the processes to begin trees with: all who wait for more than a child, what is proven first."""
    waiting = {edge.source: graph.nodes[edge.source] for edge in graph.edges if _is_wait(graph, edge)}
    waiting = {key: node for key, node in waiting.items() if key in graph.hopeless or _matters(graph, key)}
    wanted = {edge.target for edge in graph.edges}
    circles = {key for cycle in graph.cycles for key in cycle}
    orphaned = {edge.source for edge in graph.edges if edge.target in graph.orphans}

    def rank(key: str) -> tuple[bool, bool, bool, bool, int]:
        proven = key not in circles, key not in orphaned, key not in graph.hopeless
        return (*proven, key in wanted, waiting[key].pid)

    return sorted(waiting, key=rank)


def _is_wait(graph: WaitGraph, edge: Edge) -> bool:
    return graph.nodes[edge.source].kind == "process" and graph.nodes[edge.target].kind != "process"


def _matters(graph: WaitGraph, start: str) -> bool:
    """Say whether one who waits does so for more than a pipe, as every reader does: if need be through others."""
    found, todo = {start}, [start]
    while todo:
        for edge in graph.after(todo.pop()):
            if graph.nodes[edge.target].kind not in ("process", "pipe"):
                return True
            if edge.target not in found:
                found.add(edge.target)
                todo.append(edge.target)
    return False


def verdict(graph: WaitGraph, start: str) -> str:
    """Say what is proven of one who waits."""
    if any(start in cycle for cycle in graph.cycles):
        return DEADLOCK
    if start not in graph.hopeless:
        return WAITS
    return ORPHAN if any(edge.target in graph.orphans for edge in graph.after(start)) else STUCK


class _Tree:
    """Draws one tree. A node that was drawn before is named again, without what follows from it."""

    def __init__(self, graph: WaitGraph, shown: set[str]) -> None:
        self._graph, self._shown = graph, shown

    def lines(self, start: str) -> list[str]:
        """Return the tree below a process."""
        self._shown.add(start)
        begin = self._graph.after(start)
        since = f", for up to {age(begin[0].age)}" if begin and begin[0].age is not None else ""
        return [f"  {clean(self._graph.nodes[start].label)}{since}", *self._below(start, "  ", (start,))]

    def _below(self, key: str, indent: str, way: tuple[str, ...]) -> Iterator[str]:
        edges = self._graph.after(key)
        for edge in edges:
            last = edge is edges[-1]
            node = self._graph.nodes[edge.target]
            yield f"{indent}{'└─' if last else '├─'} {self._sentence(edge, node, way)}"
            deeper = indent + ("   " if last else "│  ")
            yield f"{deeper}  proof: {clean(edge.proof)}"
            if edge.target not in self._shown:
                self._shown.add(edge.target)
                yield from self._below(edge.target, deeper, (*way, edge.target))

    def _sentence(self, edge: Edge, node: Node, way: tuple[str, ...]) -> str:
        one_of = "any of: " if edge.any else ""
        known = " ← the circle closes here" if node.key in way else " (see above)" if node.key in self._shown else ""
        # The way of a node that was drawn is drawn too, so that nothing is said twice.
        after = self._graph.after(node.key)
        since = f", for up to {age(after[0].age)}" if not known and after and after[0].age is not None else ""
        gone = " ← ORPHAN" if node.kind == "absent" else ""
        return f"{one_of}{edge.verb} {clean(node.label)}{since}{known}{gone}"


def held_lines(facts: Facts, graph: WaitGraph) -> list[str]:
    """Return who holds locks that nobody is shown to wait for, a line each."""
    found: dict[int, list[FileLock]] = {}
    for lock in unwanted(facts, graph):
        found.setdefault(lock.pid, []).append(lock)
    return [f"{_holder(facts, pid)}: {', '.join(_names(locks))}" for pid, locks in sorted(found.items())]


def unwanted(facts: Facts, graph: WaitGraph) -> list[FileLock]:
    """Return the held locks on files that nobody waits for."""
    wanted = {lock.inode for lock in facts.locks if lock.waits}
    polled = {edge.proof for edge in graph.edges}
    return [
        lock
        for lock in facts.locks
        if not lock.waits and lock.inode not in wanted and not any(lock.path in proof for proof in polled)
    ]


def _holder(facts: Facts, pid: int) -> str:
    process = facts.processes.get(pid)
    if process is None:
        return "somebody who was not seen"
    since = process.age if process.asleep is None else min(process.age, process.asleep)
    return f"{label_of(process)}, which last ran {age(since)} ago" if process.asleep is not None else label_of(process)


def _names(locks: Iterable[FileLock]) -> Iterator[str]:
    for name in sorted({(os.path.basename(lock.path), lock.write) for lock in locks}):
        yield f"{name[0]} ({'write' if name[1] else 'read'})"


def to_json(facts: Facts, graph: WaitGraph) -> dict[str, Any]:
    """Return what ``locks --json`` prints: the graph, and every lock that is held or wanted."""
    return {
        "at": facts.at,
        "database": {"path": facts.database.path, "backend": facts.database.backend},
        "processes": len(facts.processes),
        "complete": facts.complete,
        **graph.to_json(),
        "locks": [_lock_row(facts, lock) for lock in facts.locks],
    }


def _lock_row(facts: Facts, lock: FileLock) -> dict[str, Any]:
    process = facts.processes.get(lock.pid)
    return {
        **lock._asdict(), "command": process.command or process.name if process else "",
        "inner": process.inner or lock.pid if process else lock.pid,
    }  # fmt: skip
