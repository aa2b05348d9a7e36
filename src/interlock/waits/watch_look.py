"""Looks again and again, and tells what appeared and what ended: waits, deadlocks, orphans, transaction locks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from interlock.system.clock import age
from interlock.waits.draw import clean, starts
from interlock.waits.edges import label_of
from interlock.waits.facts import Facts
from interlock.waits.graph import WaitGraph, build_graph
from interlock.waits.look import Place, look

# A deadlock is told within a second: the pause and the two looks that may be under way stay below that.
PAUSE_SECONDS = 0.25
LONGEST_PAUSE = 0.4
HOPELESS = 3
Row = dict[str, Any]


class Follower:
    """Remembers the last look, and says what is new in the next."""

    def __init__(self) -> None:
        self.known: dict[str, Row] = {}

    def changes(self, facts: Facts, graph: WaitGraph, now: float) -> Iterator[Row]:
        """Yield what ended, then what appeared."""
        there = {row["key"]: row for row in rows(facts, graph)}
        for key in [key for key in self.known if key not in there]:
            row = self.known.pop(key)
            yield {"event": "ended", **row, "at": now, "lasted": round(now - row["at"], 3)}
        for key, row in there.items():
            if key not in self.known:
                self.known[key] = {**row, "at": now}
                yield {"event": "appeared", **self.known[key]}


def rows(facts: Facts, graph: WaitGraph) -> Iterator[Row]:
    """Yield what there is to tell of one look; ``key`` is the same as long as it lasts."""
    for cycle in graph.cycles:
        edges = [edge for edge in graph.edges if edge.source in cycle and edge.target in cycle]
        pids = sorted(graph.pids_in(cycle))
        text = "deadlock, proven: " + ", ".join(graph.nodes[f"process:{pid}"].label for pid in pids)
        yield {"key": _key("deadlock", *sorted(cycle)), "kind": "deadlock", "pids": pids, "text": clean(text),
               "edges": [edge._asdict() for edge in edges]}  # fmt: skip
    for key in graph.orphans:
        pids = sorted(graph.nodes[edge.source].pid for edge in graph.before(key) if graph.nodes[edge.source].pid)
        text = f"orphan, proven: the holder of {graph.nodes[key].label} is gone"
        yield {"key": _key("orphan", key), "kind": "orphan", "pids": pids, "text": clean(text),
               "edges": [edge._asdict() for edge in graph.after(key)]}  # fmt: skip
    yield from _waits(graph)
    yield from _transactions(facts)


def _waits(graph: WaitGraph) -> Iterator[Row]:
    told = set(starts(graph))
    for edge in graph.edges:
        source, target = graph.nodes[edge.source], graph.nodes[edge.target]
        if edge.source in told and target.kind != "process":
            holders = [graph.nodes[one.target].label for one in graph.after(edge.target)]
            text = f"{source.label} {edge.verb} {target.label}" + (f", held by {', '.join(holders)}" if holders else "")
            yield {"key": _key("wait", edge.source, edge.target), "kind": "wait", "pids": [source.pid],
                   "text": clean(text), "edges": [edge._asdict()]}  # fmt: skip


def _transactions(facts: Facts) -> Iterator[Row]:
    """Yield the write locks on whole files: transactions, and who keeps them out."""
    for lock in facts.locks:
        if lock.write and not lock.waits and (lock.first, lock.last) == (0, None):
            process = facts.processes.get(lock.pid)
            text = f"{label_of(process) if process else f'pid {lock.pid}'} holds the lock on {lock.path}"
            yield {"key": _key("lock", lock.path, str(lock.pid)), "kind": "lock", "pids": [lock.pid],
                   "text": clean(text), "edges": []}  # fmt: skip


def _key(*parts: str) -> str:
    return " ".join(parts)


def watch(place: Place, as_json: bool, svg: Optional[str] = None) -> int:
    """Follow until Ctrl-C; return the exit status that the last look gives."""
    follower, status = Follower(), 0
    try:
        while True:
            begun = place.clock.monotonic()
            facts = look(place, thorough=False)
            graph = build_graph(facts)
            status = HOPELESS if graph.cycles or graph.orphans else 0
            found = list(follower.changes(facts, graph, place.clock.now()))
            for row in found:
                _tell(row, as_json)
            if svg and found:
                _picture(svg, facts, graph)
            took = place.clock.monotonic() - begun
            place.clock.sleep(min(LONGEST_PAUSE, max(PAUSE_SECONDS, 2 * took)))
    except KeyboardInterrupt:
        return status


def _picture(path: str, facts: Facts, graph: WaitGraph) -> None:
    from interlock.waits.svg import picture  # noqa: PLC0415 - only where a picture is wanted

    with open(path, "w", encoding="utf-8") as stream:
        stream.write(picture(facts, graph))


def _tell(row: Mapping[str, Any], as_json: bool) -> None:
    text = json.dumps(row, ensure_ascii=True) if as_json else line(row)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def line(row: Mapping[str, Any]) -> str:
    """Return a change as people read it."""
    at = time.strftime("%H:%M:%S", time.localtime(row["at"])) + f".{int(row['at'] * 10 % 10)}"
    if row["event"] == "appeared":
        return f"{at}  + {row['text']}"
    return f"{at}  - {row['text']}, after {age(row['lasted'])}"
