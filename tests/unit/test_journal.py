"""The journal: what was appended is read back; a torn end is forgiven, damage is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from interlock.system.clock import ManualClock
from interlock.system.proc import ProcReader
from interlock.upgrade import state as states
from interlock.upgrade.journal import (
    Journal,
    JournalDamaged,
    JournalFromTheFuture,
    current_state,
    read_journal,
    unfinished_intents,
)


def write(path: Path) -> None:
    journal = Journal(str(path), ManualClock(), ProcReader())
    journal.state(states.Planned(packages=3))
    journal.intent("isolate", shadow="/var/lib/.rpm.interlock-1")
    journal.intent("commit", inode=7)
    journal.outcome("commit", previous="/old")
    journal.close()


def test_read_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path)
    records = read_journal(str(path))
    assert [(record.seq, record.kind, record.name) for record in records] == [
        (1, "state", "planned"),
        (2, "intent", "isolate"),
        (3, "intent", "commit"),
        (4, "outcome", "commit"),
    ]
    assert current_state(records) == states.Planned(packages=3)
    assert [record.name for record in unfinished_intents(records)] == ["isolate"]
    assert ProcReader().alive(records[0].writer)


def test_missing_journal_has_no_records(tmp_path: Path) -> None:
    assert read_journal(str(tmp_path / "none")) == []


@given(cut=some.integers(min_value=1, max_value=60))
def test_a_torn_last_line_is_ignored_and_then_overwritten(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "journal.jsonl"
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert len(read_journal(str(path))) == 3
    journal = Journal(str(path), ManualClock(), ProcReader())
    journal.outcome("commit", previous="/old")
    journal.close()
    assert [record.seq for record in read_journal(str(path))] == [1, 2, 3, 4]


@given(position=some.integers(min_value=0, max_value=10_000), value=some.integers(min_value=0, max_value=255))
def test_any_changed_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, position: int, value: int) -> None:
    path = tmp_path_factory.mktemp("changed") / "journal.jsonl"
    write(path)
    content = bytearray(path.read_bytes())
    position %= len(content)
    before = read_journal(str(path))
    content[position] = value
    path.write_bytes(bytes(content))
    try:
        after = read_journal(str(path))
    except (JournalDamaged, JournalFromTheFuture):
        return
    # Only a change of the last newline, or none at all, or white space inside JSON can go unnoticed.
    assert after == before[: len(after)]
    assert len(after) >= len(before) - 1


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({"v": 99, "crc": 0}) + "\n")
    with pytest.raises(JournalFromTheFuture, match="99"):
        read_journal(str(path))
