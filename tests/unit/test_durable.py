"""Files: whole and new, or whole and old."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from interlock.system import durable


def test_replaces_content_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "hold.json"
    durable.write_file(str(path), "old")
    durable.write_file(str(path), "new", 0o600)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert os.listdir(tmp_path) == ["hold.json"]


def test_a_text_that_cannot_be_written_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "hold.json"
    durable.write_file(str(path), "old")
    with pytest.raises(UnicodeEncodeError):
        durable.write_file(str(path), "half \udc80")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["hold.json"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_disk_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "hold.json"
    durable.write_file(str(path), "old")

    def fail(*_arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="Input/output"):
        durable.write_file(str(path), "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["hold.json"]


def test_a_line_is_synced_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    seen: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: seen.append(path.read_text()))
    with open(path, "a") as stream:
        durable.append_line(stream, "one")
        durable.append_line(stream, "two")
    assert seen == ["one\n", "one\ntwo\n"]


def test_a_copy_has_content_mode_owner_and_times(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"x" * 3_000_000)
    os.chown(source, 12, 34)
    source.chmod(0o640)
    os.utime(source, ns=(10**18, 10**18 + 7))
    durable.copy_file(str(source), str(target))
    found = target.stat()
    assert target.read_bytes() == source.read_bytes()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777, found.st_mtime_ns) == (12, 34, 0o640, 10**18 + 7)


def test_what_is_not_there_is_removed_already(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").touch()
    durable.remove_trees([str(tmp_path / "a"), str(tmp_path / "none")])
    durable.remove_file(str(tmp_path / "none"))
    assert os.listdir(tmp_path) == []


def test_each_file_system_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(durable, "sync_filesystem", synced.append)
    roots = [str(tmp_path / name) for name in ("a", "b", "none")]
    os.mkdir(roots[0])
    os.mkdir(roots[1])
    durable.sync_payload([*roots, "/proc"])
    assert synced == [roots[0], "/proc"]
