"""What people see of a wait graph: the tree, the picture, and the changes that a watch tells."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from test_waits_graph import LOCK, facts_of, futex, lock, nested, process

from interlock.waits import draw as drawing
from interlock.waits.draw import draw, to_json
from interlock.waits.facts import Facts, Pipe
from interlock.waits.graph import build_graph
from interlock.waits.svg import picture
from interlock.waits.watch_look import Follower, line

SVG = "{http://www.w3.org/2000/svg}"


def drawn(facts: Facts) -> str:
    return "\n".join(draw(facts, build_graph(facts)))


def test_a_deadlock_as_a_tree() -> None:
    text = drawn(nested())
    assert (
        text
        == f"""\
/var/lib/rpm (sqlite), 3 processes, 1 lock held

{drawing.DEADLOCK}
  program 12 (pid 12), for up to 60 s
  └─ waits for the lock on {LOCK}
       proof: /proc/locks: -> POSIX WRITE 12 08:01:7 0 EOF ({LOCK})
     └─ is held by program 10 (pid 10), for up to 60 s
          proof: /proc/locks: POSIX WRITE 10 08:01:7 0 EOF ({LOCK})
        └─ waits for its child program 11 (pid 11), for up to 60 s
             proof: /proc/10/syscall: wait; /proc/11/stat: its parent is 10
           └─ waits for its child program 12 (pid 12) ← the circle closes here
                proof: /proc/11/syscall: wait; /proc/12/stat: its parent is 11"""
    )


def test_an_orphan_and_who_queues_behind_it() -> None:
    facts = facts_of(
        [process(5, call=(202, 1)), process(6)], [lock(5), lock(6, waits=True)], futexes=(futex(confirmed=True),)
    )
    text = drawn(facts)
    assert drawing.ORPHAN in text
    assert drawing.STUCK in text
    assert "is held by pid 3, which is gone ← ORPHAN" in text


def test_nobody_waits() -> None:
    text = drawn(facts_of([process(1), process(2)], [lock(2)]))
    assert text.splitlines()[1] == "Nobody waits."
    assert "  program 2 (pid 2): .rpm.lock (write)" in text
    assert drawn(facts_of([process(1)])).splitlines() == ["/var/lib/rpm (sqlite), 1 processes, 0 locks held",
                                                          "Nobody waits."]  # fmt: skip


def test_a_parent_that_only_waits_for_its_child_is_not_shown() -> None:
    assert "Nobody waits." in drawn(facts_of([process(1, call=(61, 2)), process(2, 1)]))


def test_a_reader_of_a_pipe_is_not_shown_unless_it_waits_for_more() -> None:
    pipes = (Pipe(77, 1, 0, True, (2,)),)
    facts = facts_of([process(1, call=(0, 0)), process(2), process(3)], pipes=pipes)
    assert "Nobody waits." in drawn(facts)
    assert list(Follower().changes(facts, build_graph(facts), 1.0)) == []
    assert "reads from pipe 77" in drawn(facts._replace(locks=(lock(3), lock(2, waits=True))))


def test_a_queue_names_the_lock_and_its_holder_once() -> None:
    text = drawn(
        facts_of([process(pid) for pid in range(1, 9)], [lock(1), *(lock(n, waits=True) for n in range(2, 9))])
    )
    assert text.count("is held by program 1 (pid 1)") == 1
    assert text.count("(see above)") == 6
    assert drawing.DEADLOCK not in text


def test_a_terminal_is_not_obeyed_by_a_command_line() -> None:
    evil = process(12, 11, (72, 3, 7))._replace(command='rpm \x1b]0;title\x07\x1b[2J -i \u202e <x>&"')
    facts = nested()
    facts = facts._replace(processes={**facts.processes, 12: evil})
    graph = build_graph(facts)
    for text in (drawn(facts), picture(facts, graph), *(line(row) for row in Follower().changes(facts, graph, 1.0))):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
    ET.fromstring(picture(facts, graph))


def test_a_pid_of_a_container_is_shown_both_ways() -> None:
    facts = facts_of([process(900, inner=12), process(901)], [lock(901), lock(900, waits=True)])
    assert "program 900 (pid 900, 12 inside)" in drawn(facts)


def test_json_has_the_graph_and_every_lock() -> None:
    facts = nested()
    row = json.loads(json.dumps(to_json(facts, build_graph(facts))))
    assert [sorted(key for key in cycle if key.startswith("process")) for cycle in row["cycles"]] == [
        ["process:10", "process:11", "process:12"]
    ]
    assert [(one["pid"], one["waits"], one["path"]) for one in row["locks"]] == [(10, False, LOCK), (12, True, LOCK)]
    assert {edge["source"] for edge in row["edges"]} <= {node["key"] for node in row["nodes"]}


def texts(facts: Facts) -> Iterator[tuple[str, str]]:
    for element in ET.fromstring(picture(facts, build_graph(facts))).iter(f"{SVG}text"):
        yield element.get("class") or "", element.text or ""


def test_a_picture_has_its_text_as_text() -> None:
    found = [text for _, text in texts(nested())]
    assert "program 10" in found
    assert "(pid 10)" in found
    assert f"the lock on {LOCK}" in found
    assert found.count("waits for its child") == 2
    assert found[0].startswith("Deadlock, proven")


def test_a_picture_of_nothing() -> None:
    assert next(text for _, text in texts(facts_of([process(1)]))) == "Nobody waits"


def test_boxes_do_not_overlap_and_lie_in_the_picture() -> None:
    facts = facts_of([process(pid) for pid in range(1, 30)], [lock(1), *(lock(n, waits=True) for n in range(2, 30))])
    top = ET.fromstring(picture(facts, build_graph(facts)))
    boxes = [tuple(int(one.get(name, "0")) for name in ("x", "y", "width", "height")) for one in top.iter(f"{SVG}rect")
             if one.get("class") == "box"]  # fmt: skip
    assert len(boxes) == 30
    for number, (x, y, width, height) in enumerate(boxes):
        assert x >= 0
        assert x + width <= int(top.get("width", "0"))
        assert y + height <= int(top.get("height", "0"))
        for other in boxes[number + 1 :]:
            assert abs(x - other[0]) >= width or abs(y - other[1]) >= height


@pytest.mark.parametrize("kind", ["wait", "deadlock", "lock"])
def test_a_watch_tells_what_appears_and_ends_once(kind: str) -> None:
    follower, facts, quiet = Follower(), nested(), facts_of([process(1)])
    first = [row for row in follower.changes(facts, build_graph(facts), 10.0) if row["kind"] == kind]
    assert [row["event"] for row in first] == ["appeared"]
    assert list(follower.changes(facts, build_graph(facts), 11.0)) == []
    ended = [row for row in follower.changes(quiet, build_graph(quiet), 12.5) if row["kind"] == kind]
    assert [(row["event"], row["at"], row["lasted"]) for row in ended] == [("ended", 12.5, 2.5)]
    assert list(follower.changes(quiet, build_graph(quiet), 13.0)) == []


def test_a_watch_names_who_is_in_a_deadlock() -> None:
    facts = nested()
    rows = [row for row in Follower().changes(facts, build_graph(facts), 10.0) if row["kind"] == "deadlock"]
    assert rows[0]["pids"] == [10, 11, 12]
    assert all(edge["proof"] for edge in rows[0]["edges"])
    assert "deadlock, proven: program 10 (pid 10)" in line(rows[0])
