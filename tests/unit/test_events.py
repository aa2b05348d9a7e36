"""Events: only what the schema has is written; a follower reads whole lines from where it was."""

from __future__ import annotations

import io
import json

import pytest

from interlock.events import SCHEMA, EventWriter, UnknownEvent, read_events
from interlock.system.clock import ManualClock


def test_written_and_read_back() -> None:
    stream = io.StringIO()
    writer = EventWriter(stream, "op-1", ManualClock(at=5.0))
    writer.emit("note", text="one\nline")
    writer.emit("state.changed", previous="planned", state="staged")
    content = stream.getvalue().encode()
    assert content.count(b"\n") == 2
    rows = list(read_events(io.BytesIO(content), 0))
    assert rows[0][1] == {"v": 1, "seq": 1, "at": 5.0, "op": "op-1", "type": "note", "text": "one\nline"}
    assert rows[-1][0] == len(content)


def test_a_follower_goes_on_where_it_was() -> None:
    stream = io.StringIO()
    writer = EventWriter(stream, "op-1", ManualClock())
    writer.emit("note", text="a")
    offset = len(stream.getvalue())
    writer.emit("note", text="b")
    whole = stream.getvalue().encode()
    assert [event["text"] for _, event in read_events(io.BytesIO(whole), offset)] == ["b"]
    torn = whole[:-3]
    assert list(read_events(io.BytesIO(torn), offset)) == []


def test_lines_that_are_no_events_are_passed_over() -> None:
    content = b'garbage\n[1]\n{"type": 3}\n' + json.dumps({"type": "note"}).encode() + b"\n"
    assert [event for _, event in read_events(io.BytesIO(content), 0)] == [{"type": "note"}]


@pytest.mark.parametrize(("kind", "fields"), [("nothing", {}), ("note", {}), ("note", {"text": "a", "more": 1})])
def test_what_the_schema_does_not_have_is_refused(kind: str, fields: dict[str, object]) -> None:
    with pytest.raises(UnknownEvent):
        EventWriter(io.StringIO(), "op-1", ManualClock()).emit(kind, **fields)


def test_every_field_says_what_it_is() -> None:
    assert all(text for fields in SCHEMA.values() for text in fields.values())
