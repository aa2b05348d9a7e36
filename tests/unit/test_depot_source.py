from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import depot_tools
import pytest

from interlock.depot import source as sources
from interlock.depot.errors import DepotUnreadable, FileMissing, NotARepository
from interlock.depot.repository import open_depot
from interlock.depot.source import open_source, safe_path, without_password
from interlock.system.child import call_in_child


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/away/"):
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path.startswith("/loop/"):
            self.send_response(302)
            self.send_header("Location", self.path + "x")
            self.end_headers()
        elif self.path.startswith("/broken/"):
            self.send_error(500)
        elif self.path.startswith("/cut/"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"<repomd>")
        elif self.path.startswith("/stall/"):
            stalled.wait(20)
        else:
            super().do_GET()


stalled = threading.Event()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    def handler(*args: object) -> Handler:
        return Handler(*args, directory=depot_tools.repository())  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        stalled.set()
        found.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_depot_is_read_over_http(server: str) -> None:
    depot = open_depot(server)
    assert len(depot.packages) == 3
    assert "/usr/share/helper/data" in depot.with_file_lists().by_file


def test_what_the_server_does_not_have(server: str) -> None:
    with pytest.raises(NotARepository):
        open_depot(f"{server}/none")
    with pytest.raises(FileMissing, match=r"x\.rpm"), open_source(server).open("x.rpm"):
        pass


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("broken", "the server answered 500"),
        ("away", "redirect|not allowed|file"),
        ("loop", "redirect"),
        ("cut", "was cut off, 992 bytes are missing"),
    ],
)
def test_a_server_that_misbehaves(server: str, place: str, message: str) -> None:
    with pytest.raises(DepotUnreadable, match=message):
        open_depot(f"{server}/{place}")


def test_a_server_that_says_nothing_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "STALL_SECONDS", 0.05)
    with pytest.raises(DepotUnreadable, match="timed out"):
        open_depot(f"{server}/stall")


def test_a_server_that_drips_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FIRST_MINUTE", -1000.0)
    with pytest.raises(DepotUnreadable, match="too slowly"):
        open_depot(server)


def test_nobody_listens() -> None:
    with pytest.raises(DepotUnreadable, match="refused"):
        open_depot("http://127.0.0.1:1")


@pytest.mark.parametrize("location", ["ftp://host/x", "gopher://x", "http://[broken"])
def test_other_places_are_refused(location: str) -> None:
    with pytest.raises(DepotUnreadable):
        open_source(location)


def test_a_password_is_never_shown() -> None:
    assert without_password("https://me:secret@host:8/x") == "https://host:8/x"
    assert without_password("/a@b:c/d") == "/a@b:c/d"
    with pytest.raises(DepotUnreadable) as caught:
        open_depot("http://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)


def test_a_file_with_more_bytes_than_allowed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100)
    found = open_source(str(tmp_path))
    assert b"".join(found.chunks("f", 100)) == b"x" * 100
    with pytest.raises(DepotUnreadable, match="larger than 99 bytes"):
        list(found.chunks("f", 99))


def test_permissions_are_named(tmp_path: Path) -> None:
    """Root may read everything, so the reading is done as an ordinary user, in a child that may change its mind."""
    (tmp_path / "f").touch(0o000)
    source = open_source(str(tmp_path))

    def read() -> str:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        with pytest.raises(DepotUnreadable, match="Permission denied"):
            list(source.chunks("f", 1))
        return "refused"

    assert call_in_child("reading", read, 30.0) == "refused"


@pytest.mark.parametrize("path", ["a", "Packages/a-1:2-3.x86_64.rpm", "a..b/c", "ä"])
def test_paths_inside_a_depot(path: str) -> None:
    assert safe_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "./a",
        "a//b",
        "a/",
        "http://x/y",
        "a\nb",
        "a\0b",
        "a\\b",
        "x" * 5000,
    ],
)
def test_paths_that_lead_out_of_it(path: str) -> None:
    with pytest.raises(ValueError, match="leads out"):
        safe_path(path)


def test_a_directory_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(DepotUnreadable, match="f is not a regular file"):
        list(open_source(str(tmp_path)).chunks("f", 1))
