"""The wait graph as an SVG picture: who waits on the left, who holds on the right. Pure; text stays text.

It is readable on light and on dark ground: the colours follow what the reader's system prefers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from interlock.system.clock import age
from interlock.waits.draw import clean, held_lines, starts
from interlock.waits.edges import Edge
from interlock.waits.facts import Facts
from interlock.waits.graph import WaitGraph

WIDTH, HEIGHT = 340, 70
ACROSS, DOWN = 500, 100
LEFT, TOP = 30, 110
LETTERS = 41
STYLE = """\
svg { --ground: #ffffff; --text: #1b1f24; --quiet: #57606a; --line: #6e7781; --box: #f3f5f7; --bad: #b3261e;
  --badbox: #fdecea; background: var(--ground); font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
@media (prefers-color-scheme: dark) { svg { --ground: #16191d; --text: #e8eaed; --quiet: #a3abb4; --line: #8b949e;
  --box: #23282e; --bad: #ff8a80; --badbox: #3d1f1d; } }
.ground { fill: var(--ground); } text { fill: var(--text); } .quiet { fill: var(--quiet); }
.head { font-size: 17px; font-weight: bold; } .bad text, text.bad { fill: var(--bad); }
rect.box { fill: var(--box); stroke: var(--line); } .bad rect.box { fill: var(--badbox); stroke: var(--bad); }
.bad rect.box, .bad path { stroke-width: 2; } .bad .name { fill: var(--text); }
path { fill: none; stroke: var(--line); stroke-width: 1.3; } .bad path { stroke: var(--bad); }
.any path { stroke-dasharray: 6 4; } marker path { fill: var(--line); stroke: none; }
marker.bad path { fill: var(--bad); stroke: none; } .halo { paint-order: stroke; stroke: var(--ground);
  stroke-width: 5px; stroke-linejoin: round; }
"""
MARKERS = "".join(
    f'<marker id="{name}" class="{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
    'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z"/></marker>'
    for name, kind in (("tip", ""), ("badtip", "bad"))
)


class Spot(NamedTuple):
    """Where a node stands: the corner of its box."""

    x: int
    y: int


def picture(facts: Facts, graph: WaitGraph) -> str:
    """Return the picture as text."""
    spots = places(graph)
    quiet = held_lines(facts, graph)
    below = max((spot.y + HEIGHT for spot in spots.values()), default=TOP)
    bottom = below + _depth(graph, spots)
    width = max([880, *(spot.x + WIDTH + LEFT for spot in spots.values())])
    height = bottom + 40 + 20 * len(quiet) + (20 if quiet else 0)
    body = [
        *_head(facts, graph, bool(spots)),
        *_edges(graph, spots, below),
        *_nodes(graph, spots),
        *_held(quiet, bottom),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{_escape(_verdict(graph, bool(spots)))}">\n<style>\n{STYLE}</style>\n'
        f'<defs>{MARKERS}</defs>\n<rect class="ground" width="{width}" height="{height}"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def places(graph: WaitGraph) -> Mapping[str, Spot]:
    """Return where each node stands that a waiting process leads to: columns by how far it is from who waits."""
    columns: dict[str, int] = {}
    for start in starts(graph):
        todo = [] if start in columns else [(start, 0)]
        for key, column in todo:
            if key not in columns:
                columns[key] = column
                todo += [(edge.target, column + 1) for edge in graph.after(key)]
    rows: dict[int, int] = {}
    spots: dict[str, Spot] = {}
    for key, column in columns.items():
        row = rows[column] = rows.get(column, -1) + 1
        spots[key] = Spot(LEFT + column * ACROSS, TOP + row * DOWN)
    return spots


def _verdict(graph: WaitGraph, waits: bool) -> str:
    if graph.cycles:
        return "Deadlock, proven: they wait for each other, and none can go on by itself"
    if graph.orphans:
        return "Orphan, proven: who holds it is gone"
    return "Who waits for whom" if waits else "Nobody waits"


def _head(facts: Facts, graph: WaitGraph, waits: bool) -> Iterator[str]:
    bad = " bad" if graph.cycles or graph.orphans else ""
    yield _text(LEFT, 42, _verdict(graph, waits), f"head{bad}")
    about = f"{facts.database.path} ({facts.database.backend or 'no database'}), {len(facts.processes)} processes"
    yield _text(LEFT, 68, about, "quiet")


def _nodes(graph: WaitGraph, spots: Mapping[str, Spot]) -> Iterator[str]:
    for key, spot in spots.items():
        node = graph.nodes[key]
        bad = "bad" if key in graph.hopeless else ""
        after = [edge.age for edge in graph.after(key) if edge.age is not None]
        waits = f"waits, for up to {age(max(after))}" if after else node.kind
        round_off = 6 if node.kind == "process" else HEIGHT // 2
        label = clean(node.label)
        lines = _lines(label)
        yield f'<g class="{bad}"><title>{_escape(label)}</title>' + _box(spot, round_off)
        for number, line in enumerate(lines):
            yield _text(spot.x + WIDTH // 2, spot.y + (22 if len(lines) == 2 else 30) + 17 * number, line, "name", True)
        yield _text(spot.x + WIDTH // 2, spot.y + HEIGHT - 9, waits, "quiet", True) + "</g>"


def _lines(label: str) -> list[str]:
    """Return a label in at most two lines; the pid has the second to itself."""
    command, bracket, pid = label.rpartition(" (pid ")
    if bracket:
        return [_cut(command), f"(pid {pid}"]
    return [label] if len(label) <= LETTERS else [label[:LETTERS], _cut(label[LETTERS:])]


def _cut(text: str) -> str:
    """Return text that fits, with its begin and its end."""
    return text if len(text) <= LETTERS else f"{text[: LETTERS // 2]}…{text[1 - LETTERS // 2 :]}"


def _box(spot: Spot, round_off: int) -> str:
    return f'<rect class="box" x="{spot.x}" y="{spot.y}" width="{WIDTH}" height="{HEIGHT}" rx="{round_off}"/>'


def _edges(graph: WaitGraph, spots: Mapping[str, Spot], below: int) -> Iterator[str]:
    back = 0
    for edge in graph.edges:
        if edge.source not in spots or edge.target not in spots:
            continue
        one, other = spots[edge.source], spots[edge.target]
        if other.x > one.x:
            yield _edge(graph, edge, *_forward(one, other))
        else:
            back += 1
            yield _edge(graph, edge, *_backward(one, other, below + 34 * back))


def _forward(one: Spot, other: Spot) -> tuple[str, int, int]:
    begin, end = one.x + WIDTH, other.x - 2
    first, last = one.y + HEIGHT // 2, other.y + HEIGHT // 2
    middle = (begin + end) // 2
    return f"M{begin} {first} C{middle} {first} {middle} {last} {end} {last}", middle, (first + last) // 2 - 8


def _backward(one: Spot, other: Spot, depth: int) -> tuple[str, int, int]:
    begin, end = one.x + WIDTH // 2, other.x + WIDTH // 2 + (24 if one.x == other.x else 0)
    top, bottom = one.y + HEIGHT, other.y + HEIGHT + 2
    down = f"M{begin} {top} V{depth - 12} Q{begin} {depth} {begin - 12} {depth}"
    way = f"{down} H{end + 12} Q{end} {depth} {end} {depth - 12} V{bottom}"
    return way, (begin + end) // 2, depth - 8


def _edge(graph: WaitGraph, edge: Edge, way: str, x: int, y: int) -> str:
    bad = edge.sure and edge.source in graph.hopeless and edge.target in graph.hopeless
    kinds = f"{'bad ' if bad else ''}{'any' if edge.any else ''}".strip()
    tip = "badtip" if bad else "tip"
    return (
        f'<g class="{kinds}"><title>{_escape(clean(edge.proof))}</title><path d="{way}" marker-end="url(#{tip})"/>'
        f"{_text(x, y, edge.verb, 'halo', True)}</g>"
    )


def _depth(graph: WaitGraph, spots: Mapping[str, Spot]) -> int:
    """Return how much room the edges need that lead back."""
    ends = [
        (spots[edge.source], spots[edge.target])
        for edge in graph.edges
        if edge.source in spots and edge.target in spots
    ]
    return 34 * sum(other.x <= one.x for one, other in ends) + 20


def _held(lines: list[str], top: int) -> Iterator[str]:
    if lines:
        yield _text(LEFT, top + 20, "Held, and nobody waits for it:", "quiet")
    for number, line in enumerate(lines, 2):
        yield _text(LEFT + 16, top + 20 * number, clean(line), "quiet")


def _text(x: int, y: int, text: str, kind: str, middle: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text class="{kind}" x="{x}" y="{y}"{anchor}>{_escape(text)}</text>'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
