"""Old metadata is not taken for new."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.depot.trust_errors import ReplayedMetadata
from interlock.depot.trust_seen import Seen, check_replay, from_future, path_of, read_seen, write_seen

KNOWN = Seen("1000", 1000, "aa", "K")


@pytest.mark.parametrize(
    "found",
    [Seen("999", 999, "bb"), Seen("1000", 999, "bb"), Seen("1001", 999, "bb"), Seen("999", 1000, "bb"),
     Seen("v2", 999, "bb"), Seen("999", 0, "bb")],
)  # fmt: skip
def test_older_metadata_is_refused(found: Seen) -> None:
    with pytest.raises(ReplayedMetadata, match="1970-01-01 00:16") as caught:
        check_replay("D", KNOWN, found)
    assert caught.value.exit_status == 3


@pytest.mark.parametrize(
    "found",
    [
        KNOWN,
        Seen("1001", 1001, "bb"),
        Seen("1000", 1001, "bb"),
        Seen("1001", 1000, "bb"),
        Seen("v2", 1001, "b"),
        Seen("1000", 1000, "bb"),
        Seen("999", 1001, "bb"),
        Seen("v2", 1000, "b"),
        Seen("1001", 0, "b"),
    ],
)
def test_newer_metadata_passes(found: Seen) -> None:
    check_replay("D", KNOWN, found)
    check_replay("D", None, found)


def test_what_was_seen_is_remembered_for_each_depot(tmp_path: Path) -> None:
    folder = str(tmp_path / "depots")
    assert read_seen(folder, "D") == (None, "")
    write_seen(folder, "D", KNOWN)
    assert read_seen(folder, "D") == (KNOWN, "")
    assert read_seen(folder, "../D") == (None, "")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"revision": "1"}', "[" * 30000, "\x00",
                                  '{"revision": 1, "timestamp": "x", "digest": "", "key": ""}'])  # fmt: skip
def test_a_damaged_file_is_named_and_set_aside(tmp_path: Path, text: str) -> None:
    path = Path(path_of(str(tmp_path), "D"))
    path.write_text(text)
    seen, defect = read_seen(str(tmp_path), "D")
    assert seen is None
    assert str(path) in defect
    write_seen(str(tmp_path), "D", KNOWN)
    assert read_seen(str(tmp_path), "D") == (KNOWN, "")
    assert Path(f"{path}.damaged").read_text() == text


def test_metadata_from_the_future_is_noticed() -> None:
    assert from_future(Seen("0", 100_001, ""), 13_600)
    assert not from_future(Seen("0", 100_000, ""), 13_600)
