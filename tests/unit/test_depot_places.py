"""Depots that have a name, their mirrors, and bundles: what each gives, and what it says where it cannot."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import depot_tools
import pytest

from interlock.depot.bundle import export
from interlock.depot.config import NamedDepot, names, read_config, remove_config, write_config
from interlock.depot.errors import DepotMissing, DepotUnreadable, FileMissing
from interlock.depot.mirrors import MirrorSource
from interlock.depot.repository import open_depot
from interlock.depot.source import DirectorySource, UrlSource, open_source
from interlock.depot.sync import sync
from interlock.depot.trust import TrustPolicy
from interlock.depot.trust_errors import BadDepotConfig, UnsignedMetadata
from interlock.errors import UnknownBulletin

# -- named depots


def test_a_depot_is_written_read_listed_and_removed(tmp_path: Path) -> None:
    depot = NamedDepot("updates", ("/a", "https://b.example/c"), "none", TrustPolicy(keys=("A" * 40,), max_age=60))
    write_config(str(tmp_path), depot)
    assert read_config(str(tmp_path), "updates") == depot
    assert names(str(tmp_path)) == ["updates"]
    assert read_config(str(tmp_path), "/updates") is None
    assert remove_config(str(tmp_path), "updates")
    assert not remove_config(str(tmp_path), "updates")
    assert names(str(tmp_path)) == names(str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting"), ("[]", "not an object"), ('{"locations": []}', "locations"), ("{}", "locations"),
        ('{"locations": "x"}', "locations"), ('{"locations": ["/a"], "proxy": 1}', "proxy"),
        ('{"locations": ["/a"], "proxy": "here"}', "proxy"), ('{"locations": ["/a"], "trsut": {}}', "trsut"),
        ('{"locations": ["/a"], "trust": {"metadata": "no"}}', "metadata"), ("[" * 30000, "recursion"),
    ],
)  # fmt: skip
def test_a_slip_of_the_pen_is_an_error(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BadDepotConfig, match=why) as caught:
        open_source("x", str(tmp_path))
    assert str(tmp_path / "x.json") in str(caught.value)
    assert caught.value.exit_status == 3


# -- mirrors


class Stops(DirectorySource):
    """A mirror that stops in the middle of each file."""

    def chunks(self, path: str, limit: int) -> Iterator[bytes]:
        for chunk in super().chunks(path, limit):
            yield chunk[: len(chunk) // 2]
            raise DepotUnreadable(depot=self.location, detail="it stopped")


def mirrors(*places: Path, kind: type[DirectorySource] = DirectorySource) -> MirrorSource:
    first = partial(kind, "first", str(places[0]))
    return MirrorSource("named", (first, *(partial(DirectorySource, "next", str(one)) for one in places[1:])))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(range(256)) * 4000)
    return tmp_path / "a", tmp_path / "b"


def test_a_file_goes_on_at_the_same_byte_from_another_mirror(two: tuple[Path, Path]) -> None:
    source = mirrors(*two, kind=Stops)
    assert b"".join(source.chunks("file", 1 << 30)) == (two[1] / "file").read_bytes()


def test_what_one_mirror_lacks_another_has(two: tuple[Path, Path]) -> None:
    (two[0] / "file").unlink()
    (two[0] / "own").write_text("own")
    source = mirrors(*two)
    assert b"".join(source.chunks("file", 1 << 30)) == (two[1] / "file").read_bytes()
    assert b"".join(source.chunks("own", 9)) == b"own"
    with source.open("file") as stream:
        assert stream.read(2) == b"\0\1"
    with pytest.raises(FileMissing, match="neither"):
        list(source.chunks("neither", 9))


def test_a_mirror_that_failed_is_said_and_is_not_a_missing_file(two: tuple[Path, Path]) -> None:
    (two[0] / "only").write_text("x" * 9)
    with pytest.raises(DepotUnreadable, match="it stopped"):
        list(mirrors(*two, kind=Stops).chunks("only", 9))


def test_a_named_depot_is_read_from_the_first_mirror_that_is_there(tmp_path: Path) -> None:
    write_config(str(tmp_path), NamedDepot("d", ("/nowhere/at/all", "http://127.0.0.1:1/", depot_tools.repository())))
    depot = b"".join(open_source("d", str(tmp_path)).chunks("repodata/repomd.xml", 1 << 20))
    assert depot == (Path(depot_tools.repository()) / "repodata/repomd.xml").read_bytes()
    write_config(str(tmp_path), NamedDepot("d", ("/nowhere/at/all",)))
    with pytest.raises(DepotMissing, match=r"d \(/nowhere/at/all\)"):
        list(open_source("d", str(tmp_path)).chunks("repodata/repomd.xml", 1 << 20))


class Counting(SimpleHTTPRequestHandler):
    """A proxy of a kind: answers whatever host is asked for, and notes the address."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_arguments: object) -> None:
        """Be quiet."""


def test_a_depot_has_its_own_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        source = UrlSource("d", "http://depot.invalid/x", address)
        assert b"".join(source.chunks("file", 9)) == b"ok"
        assert Counting.asked == ["http://depot.invalid/x/file"]
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert b"".join(UrlSource("d", f"{address}/y", "none").chunks("file", 9)) == b"ok"
        assert Counting.asked[-1] == "/y/file"
        server.shutdown()


# -- bundles


def test_a_bundle_is_a_depot_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "one.zip", tmp_path / "two.zip"
    done = export(depot_tools.repository(), str(first), allow_unsigned=True)
    export(depot_tools.repository(), str(second), allow_unsigned=True)
    assert first.read_bytes() == second.read_bytes()
    assert done.bytes == first.stat().st_size
    there, here = open_depot(depot_tools.repository()), open_depot(str(first))
    assert here.packages == there.packages
    assert here.bulletins == there.bulletins
    assert sync(str(first), str(tmp_path / "out")).packages == done.packages
    assert open_depot(str(tmp_path / "out")).packages == there.packages


def test_a_bundle_of_some_bulletins_has_their_packages_only(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    (bulletin,) = open_depot(depot_tools.repository()).bulletins
    export(depot_tools.repository(), str(path), [bulletin.id], allow_unsigned=True)
    found = [name for name in zipfile.ZipFile(path).namelist() if name.endswith(".rpm")]
    named = {one.nevra for one in open_depot(str(path)).packages} & set(bulletin.packages)
    assert len(found) == len(named) > 0
    with pytest.raises(UnknownBulletin):
        export(depot_tools.repository(), str(path), ["NONE"], allow_unsigned=True)


def test_an_unsigned_depot_makes_no_bundle_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnsignedMetadata):
        export(depot_tools.repository(), str(tmp_path / "x.zip"))
    assert list(tmp_path.iterdir()) == []


def test_hostile_bundles_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK junk")
    with pytest.raises(DepotUnreadable, match="no zip file"):
        open_source(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", "2")
    with pytest.raises(DepotUnreadable, match="twice"):
        open_source(str(path))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/passwd", "x")
        archive.writestr("bomb", b"\0" * 10_000_000)
    with pytest.raises(ValueError, match="leads out"):
        list(open_source(str(path)).chunks("../../etc/passwd", 9))
    with pytest.raises(DepotUnreadable, match="larger than 1000"):
        list(open_source(str(path)).chunks("bomb", 1000))
    content = bytearray(path.read_bytes())
    content[content.index(b"bomb") + 30] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DepotUnreadable, match="bomb"):
        list(open_source(str(path)).chunks("bomb", 1 << 30))
