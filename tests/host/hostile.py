"""Hostile and broken depots: how each is made from a good one, and what is to be said of it.

A hostile *mirror* changes what somebody else has signed; a hostile *publisher* signs what it has made. What is made
here is signed again where the publisher is the one, so that it gets past the signature.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import re
import socketserver
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from interlock.lab.key_maker import THEN, KeyMaker
from interlock.lab.signing import SigningKey
from interlock.system.run import Runner

MIRROR, PUBLISHER = False, True
GOOD, BAD, REFUSED = 0, 7, 3


@dataclass(frozen=True)
class Made:
    """One depot on its way to be hostile: ``folder`` is a copy of a good one."""

    folder: Path
    key: SigningKey
    runner: Runner
    maker: KeyMaker

    @property
    def repomd(self) -> Path:
        return self.folder / "repodata/repomd.xml"

    def file(self, kind: str) -> Path:
        return self.folder / re.findall(rf'type="{kind}".*?href="([^"]+)"', self.repomd.read_text(), re.DOTALL)[0]

    def put(self, kind: str, content: bytes, sized: bool = True) -> None:
        """Replace a metadata file, with digest and size as they ought to be."""
        path = self.file(kind)
        path.write_bytes(content)
        text = self.repomd.read_text()
        row = re.findall(rf'<data type="{kind}">.*?</data>', text, re.DOTALL)[0]
        new = re.sub(r"(<checksum [^>]*>)[^<]*", rf"\g<1>{hashlib.sha256(content).hexdigest()}", row)
        new = re.sub(r"<open-(checksum|size)[^>]*>[^<]*</open-\1>", "", new)
        new = re.sub(r"<size>[^<]*", f"<size>{len(content)}", new) if sized else new
        self.repomd.write_text(text.replace(row, new))

    def text(self, kind: str) -> str:
        return gzip.decompress(self.file(kind).read_bytes()).decode()

    def change(self, kind: str, old: str, new: str, count: int = 1) -> None:
        text = self.text(kind)
        assert old in text, (kind, old)
        self.put(kind, gzip.compress(text.replace(old, new, count).encode()))


@dataclass(frozen=True)
class Case:
    """``status`` and ``said`` are what is expected; ``again`` is whether the metadata is signed again."""

    make: Callable[[Made], None]
    status: int
    said: str
    again: bool = PUBLISHER


def shorten(name: str) -> Callable[[Made], None]:
    def make(one: Made) -> None:
        path = one.repomd if name == "repomd" else one.file(name)
        path.write_bytes(path.read_bytes()[:-40])

    return make


def primary(content: bytes) -> Callable[[Made], None]:
    return lambda one: one.put("primary", gzip.compress(content, 1))


def bulletins(old: str, new: str, count: int = 1) -> Callable[[Made], None]:
    return lambda one: one.change("updateinfo", old, new, count)


def packages(old: str, new: str) -> Callable[[Made], None]:
    return lambda one: one.change("primary", old, new)


def repomd(old: str, new: str) -> Callable[[Made], None]:
    def make(one: Made) -> None:
        text = one.repomd.read_text()
        assert re.search(old, text)
        one.repomd.write_text(re.sub(old, new, text, count=1))

    return make


def signature(name: str, *how: str) -> Callable[[Made], None]:
    def make(one: Made) -> None:
        one.repomd.with_name("repomd.xml.asc").write_bytes(one.maker.sign(name, one.repomd.read_bytes(), *how))

    return make


def unsigned(one: Made) -> None:
    one.repomd.with_name("repomd.xml.asc").unlink()


def fifo(one: Made) -> None:
    one.repomd.unlink()
    os.mkfifo(one.repomd)


def loop(one: Made) -> None:
    one.repomd.unlink()
    one.repomd.symlink_to("repomd.xml")


def cyclic(one: Made) -> None:
    """Two packages that require each other: nothing is wrong with that."""
    for name, other in (("hostile-a", "hostile-b"), ("hostile-b", "hostile-a")):
        block = re.findall(rf"<package type=\"rpm\">\s*<name>{name}<.*?</package>", one.text("primary"), re.DOTALL)[0]
        entry = f'<rpm:requires><rpm:entry name="{other}"/></rpm:requires>'
        one.change("primary", block, block.replace("</format>", f"{entry}</format>"))


def zeros(length: int) -> bytes:
    """Return gzipped white space: a thousand times as large when it is unpacked."""
    return gzip.compress(b" " * length, 9)


HEAD = b'<?xml version="1.0"?><metadata xmlns="http://linux.duke.edu/metadata/common">'
LAUGHS = b"".join(b'<!ENTITY a%d "%s">' % (n + 1, b"&a%d;" % n * 10) for n in range(9))
TITLE = "<title>Hostile</title>"
IDENTITY = "<id>HOST-1</id>"
CASES = {
    "metadata-cut": Case(shorten("repomd"), REFUSED, "it was not made for these bytes", MIRROR),
    "metadata-cut-by-its-publisher": Case(shorten("repomd"), BAD, "not well-formed"),
    "unsigned": Case(unsigned, REFUSED, "not signed", MIRROR),
    "wrong-key": Case(signature("unknown"), REFUSED, "nobody has added", MIRROR),
    "expired-key": Case(signature("expired", "--faked-system-time", THEN), REFUSED, "has expired", MIRROR),
    "weak-digest": Case(signature("trusted", "--digest-algo", "SHA1"), REFUSED, "can be forged", MIRROR),
    "signature-junk": Case(
        lambda one: one.repomd.with_name("repomd.xml.asc").write_bytes(b"\xc2\x01\x04" * 20_000) and None,
        REFUSED, "gpg cannot read it", MIRROR),
    "signature-of-a-gigabyte": Case(
        lambda one: os.truncate(one.repomd.with_name("repomd.xml.asc"), 1 << 30), BAD, "larger than", MIRROR),
    "packages-cut": Case(shorten("primary"), BAD, "bytes, repomd.xml says"),
    "packages-exchanged": Case(
        lambda one: one.file("primary").write_bytes(os.urandom(one.file("primary").stat().st_size)) and None, BAD,
        "checksum is not the one in repomd.xml", MIRROR),
    "packages-missing": Case(lambda one: one.file("primary").unlink(), BAD, "does not have it", MIRROR),
    "no-packages-at-all": Case(repomd('type="primary"', 'type="other-thing"'), BAD, "names no primary metadata"),
    "weak-checksum": Case(repomd('checksum type="sha256"', 'checksum type="md5"'), BAD, "unknown checksum type"),
    "leads-out": Case(repomd('href="[^"]*"', 'href="../../../etc/shadow"'), BAD, "leads out of the depot"),
    "size-beyond-numbers": Case(repomd("<size>", "<size>9" + "9" * 5000), BAD, "size"),
    "a-pipe": Case(fifo, BAD, "not a regular file", MIRROR),
    "a-link-to-itself": Case(loop, BAD, "symbolic links", MIRROR),
    "billion-laughs": Case(
        primary(b'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a0 "ha">' + LAUGHS + b"]><metadata>&a9;</metadata>"), BAD,
        "document type"),
    "outer-entity": Case(
        primary(b'<?xml version="1.0"?><!DOCTYPE m SYSTEM "file:///etc/shadow"><metadata/>'), BAD, "document type"),
    "bomb": Case(lambda one: one.put("primary", zeros(1 << 30)), BAD, "one record has more than"),
    "gigabyte-of-one-element": Case(
        lambda one: one.put("primary", gzip.compress(HEAD + b"<package><name>" + b"x" * (1 << 28), 1)), BAD,
        "one record has more than"),
    "deep": Case(primary(HEAD + b"<a>" * 3_000_000), BAD, "levels deep"),
    "millions-of-elements": Case(primary(HEAD + b"<package>" + b"<a/>" * 20_000_000), BAD, "one record has more than"),
    "encoding-unknown": Case(primary(b'<?xml version="1.0" encoding="klingon"?><metadata/>'), BAD, "encoding"),
    "encoding-wrong": Case(primary(HEAD + b"<package><name>\xff\xfe\xfd</name></package></metadata>"), BAD,
                           "not well-formed"),
    "a-web-page": Case(primary(b"<html><body>Not found</body></html>"), BAD, "root element is <html>"),
    "bulletins-cut": Case(shorten("updateinfo"), BAD, "bytes, repomd.xml says"),
    # What is wrong with one package or bulletin is left out, and the rest is read.
    "package-leads-out": Case(packages('href="hostile-a', 'href="../../../tmp/hostile-a'), GOOD, "leads out of the"),
    "package-name-leads-out": Case(packages("<name>hostile-a<", "<name>../../hostile-a<"), GOOD, "left out"),
    "package-name-an-option": Case(packages("<name>hostile-a<", "<name>--root=/x<"), GOOD, "left out"),
    "package-size-negative": Case(packages('<size package="', '<size package="-'), GOOD, "left out"),
    "requirements-in-a-circle": Case(cyclic, GOOD, ""),
    "bulletin-without-id": Case(bulletins(IDENTITY, "<id></id>"), GOOD, "left out"),
    "bulletin-of-ten-kilobytes": Case(bulletins(IDENTITY, f"<id>{'X' * 10_000}</id>"), GOOD, "left out"),
    "bulletin-twice": Case(bulletins("<id>HOST-2</id>", IDENTITY), GOOD, "with this id before"),
    "bulletin-with-odd-dates": Case(bulletins('date="2026', 'date="99999-77', 9), GOOD, ""),
    "title-commands-the-terminal": Case(
        bulletins(TITLE, f"<title>{escape(chr(0x9B))}31m{chr(0x202E)}x</title>"), GOOD, ""),
}  # fmt: skip


def bundle(folder: Path, path: Path, slip: bool) -> None:
    """Write a zip of a depot by hand, with a file that leads out of it, or a bomb in place of a package list."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in sorted(folder.rglob("*")):
            if one.is_file():
                archive.write(one, one.relative_to(folder))
        if slip:
            archive.writestr("../../../../tmp/slipped", "x")


class Server(http.server.BaseHTTPRequestHandler):
    """Servers of the kind that one would rather not meet."""

    released = threading.Event()

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        try:
            getattr(self, f"do_{kind}")()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _head(self, *rows: tuple[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in rows:
            self.send_header(name, value)
        self.end_headers()

    def do_redirects(self) -> None:
        self._head(("Location", f"{self.path}x"), status=302)

    def do_elsewhere(self) -> None:
        self._head(("Location", "file:///etc/passwd"), status=302)

    def do_stalls(self) -> None:
        self.released.wait(120)

    def do_cuts(self) -> None:
        self._head(("Content-Length", "100000"))
        self.wfile.write(b"<repomd>")

    def do_headers(self) -> None:
        self._head(*((f"X-{number}", "x" * 500) for number in range(2000)))

    def do_line(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 3_000_000 + b"\r\n\r\n")

    def do_endless(self) -> None:
        self._head()
        while not self.released.is_set():
            self.wfile.write(b"<!--" + b"x" * 1_000_000)

    def do_nonsense(self) -> None:
        self.wfile.write(b"\x00\x01\x02 this is not http\r\n\r\n")

    def do_forbids(self) -> None:
        self.send_error(403)


SERVERS = {
    "redirects": "redirect", "elsewhere": "", "stalls": "timed out", "cuts": "cut off", "headers": "headers",
    "line": "line", "endless": "larger than", "nonsense": "", "forbids": "403",
}  # fmt: skip


class _Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


@contextmanager
def server(address: str) -> Iterator[str]:
    """Give the address of such a server; the first part of a path says which kind."""
    Server.released.clear()
    with _Threads((address, 0), Server) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://{address}:{found.server_address[1]}"
        Server.released.set()
        found.shutdown()
