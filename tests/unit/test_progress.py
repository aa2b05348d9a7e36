"""What people and programs see of an operation, on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from interlock.cli.progress import STATE_WORDS, EventCopy, Progress, all_of
from interlock.events import SCHEMA
from interlock.upgrade.state import STATES

ELEMENT = {"type": "element.started", "package": "a-1-1.noarch", "action": "install", "number": 5, "total": 10}
FAILED = {
    "type": "script.finished", "package": "a-1-1.noarch", "script": "%post", "failed": True, "fatal": False,
    "seconds": 1.0, "output": "no such user",
}  # fmt: skip
WELL = {**FAILED, "failed": False, "output": "restarted"}


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(*events: dict[str, Any], stream: io.StringIO | None = None, verbose: bool = False) -> str:
    target = stream or io.StringIO()
    progress = Progress(target, verbose)
    for event in events:
        progress(event)
    return target.getvalue()


def test_plain_lines_where_there_is_no_terminal() -> None:
    events = [{"type": "state.changed", "previous": "prepared", "state": "applying"}, ELEMENT, WELL, FAILED]
    assert shown(*events) == (
        f"  {STATE_WORDS['applying']}\n  %post of a-1-1.noarch failed: no such user\n"
    )  # fmt: skip


def test_all_of_it_where_that_is_asked_for() -> None:
    assert shown(ELEMENT, WELL, verbose=True) == (
        "  ██████████░░░░░░░░░░ 5/10 installing a-1-1.noarch\n    %post of a-1-1.noarch: restarted\n"
    )


def test_a_live_line_is_replaced_and_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    second = {**ELEMENT, "action": "erase", "number": 10}
    text = shown(
        ELEMENT, second, {"type": "note", "text": "hm"}, ELEMENT, {"type": "operation.ended"}, stream=Terminal()
    )
    pieces = text.split("\r\x1b[K")
    assert pieces[0] == ""
    assert pieces[1].startswith("  ██████████░░░░░░░░░░ 5/10")
    assert pieces[2].startswith("  ████████████████████ 10/10")
    assert {len(piece) for piece in (pieces[1], pieces[2])} == {29}, "a line that wraps could not be replaced"
    assert pieces[3] == "  hm\n"
    assert pieces[-1] == ""


def test_no_terminal_gets_no_control_characters() -> None:
    for verbose in (False, True):
        text = shown(ELEMENT, {"type": "note", "text": "hm"}, {"type": "operation.ended"}, verbose=verbose)
        assert "\x1b" not in text
        assert "\r" not in text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"type": "finding", "subject": "/a (b)", "detail": "is missing"}, "  /a (b) is missing\n"),
        ({**FAILED, "output": ""}, "  %post of a-1-1.noarch failed: it printed nothing\n"),
        (
            {"type": "script.slow", "package": "a", "script": "%post", "seconds": 19.96, "waits": "sleep (pid 7, S)"},
            "  %post of a has been running for 20 s: sleep (pid 7, S)\n",
        ),
        ({"type": "state.changed", "state": "a state to come"}, "  a state to come\n"),
        ({"type": "of.the.future", "more": 1}, ""),
        ({**ELEMENT, "total": 0, "number": 0}, ""),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_one_event(event: dict[str, Any], text: str) -> None:
    assert shown(event) == text


@pytest.mark.parametrize("kind", sorted(SCHEMA))
def test_every_event_of_the_schema_is_whole_lines_or_nothing(kind: str) -> None:
    numbers = {"number", "total", "seconds", "exit_status", "elements", "packages"}
    event: dict[str, Any] = {"type": kind, **{name: 1 if name in numbers else "x" for name in SCHEMA[kind]}}
    text = shown(event, verbose=True)
    assert text == "" or text.endswith("\n")
    assert shown({"type": "note", "text": "hm"}, event, stream=Terminal()).startswith("  hm\n")


def test_words_are_those_of_states() -> None:
    assert set(STATE_WORDS) <= set(STATES)


def test_a_copy_of_the_events_goes_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text('{"type": "from before"}\n')
    given: list[dict[str, Any]] = []
    handler = all_of([EventCopy(str(path)), given.append])
    handler(ELEMENT)
    assert [json.loads(line)["type"] for line in path.read_text().splitlines()] == ["from before", "element.started"]
    assert given == [ELEMENT]
    assert os.listdir(tmp_path) == ["events"]
