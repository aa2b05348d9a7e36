"""The hold: durable, and unreadable counts as held."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.errors import Held
from interlock.host.hold import Hold, put_on_hold, read_hold, refuse_when_held
from interlock.host.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(str(tmp_path))
    Path(paths.state).mkdir(parents=True)
    return paths


def test_no_hold(paths: Paths) -> None:
    assert read_hold(paths) is None
    refuse_when_held(paths)


def test_read_back(paths: Paths) -> None:
    hold = Hold("op-1", "its engine died", 5.0, "/var/lib/.rpm.interlock-op-1")
    put_on_hold(paths, hold)
    assert read_hold(paths) == hold
    with pytest.raises(Held) as caught:
        refuse_when_held(paths)
    assert caught.value.exit_status == 5
    for said in ("op-1", "its engine died", "kept for a look: /var/lib/.rpm.interlock-op-1"):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b'"text"', b"{}", b'{"operation": "x"}', b"\xff\xfe", b'{"more": 1}']
)
def test_an_unreadable_hold_is_a_hold(paths: Paths, content: bytes) -> None:
    Path(paths.hold).write_bytes(content)
    found = read_hold(paths)
    assert found is not None
    assert found.operation == "unknown"
    assert paths.hold in found.reason
    with pytest.raises(Held, match="cannot be read"):
        refuse_when_held(paths)


def test_a_directory_in_its_place_is_a_hold(paths: Paths) -> None:
    Path(paths.hold).mkdir()
    with pytest.raises(Held, match="cannot be read"):
        refuse_when_held(paths)
