"""Takes single files out of a package file, without its scriptlets: its payload as rpm2cpio gives it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any, NamedTuple, Optional

from interlock.system.child import call_in_child
from interlock.system.run import Runner, end_session
from interlock.waits.content_disk import ALGORITHMS, digest_of
from interlock.waits.content_nested import header_of_file
from interlock.waits.hands import StepFailed

MAGIC = (b"070701", b"070702")
HEAD = 110
TRAILER = "TRAILER!!!"
CHUNK = 1 << 20
LIMIT = 600.0


class Taken(NamedTuple):
    """A file of a package, taken out: where it lies now, and what it is to be on the disk.

    ``capabilities`` are in setcap's words, mostly empty.
    """

    content: str
    mode: int
    owner: str
    group: str
    modified: int
    capabilities: str = ""


class _Entry(NamedTuple):
    path: str
    inode: int
    mode: int
    size: int


def take(runner: Runner, package: str, wanted: Collection[str], folder: str) -> dict[str, Taken]:
    """Take some files out of a package into ``folder``, each checked against the package's digest of it.

    StepFailed where one is not in the package, or its content is not what the package's header says.
    """
    about = call_in_child(f"reading {package}", lambda: _about(package, frozenset(wanted)), LIMIT)
    contents = _unpack(runner, package, frozenset(wanted), folder)
    taken = {}
    for path in wanted:
        row, content = about.get(path), contents.get(path)
        if row is None or content is None:
            raise StepFailed(detail=f"{package} has no file {path}")
        algorithm, digest, *rest = row
        if digest_of(content, algorithm) != digest:
            raise StepFailed(detail=f"{path} in {package} is not what the package says; the package file is damaged")
        taken[path] = Taken(content, *rest)
    return taken


def _about(package: str, wanted: frozenset[str]) -> Mapping[str, tuple[str, str, int, str, str, int, str]]:
    header = header_of_file(package)
    algorithm = ALGORITHMS.get(int(header["filedigestalgo"] or 1), "")
    tags = ("filenames", "filedigests", "filemodes", "fileusername", "filegroupname", "filemtimes")
    capabilities = header["filecaps"] or [""] * len(header["filenames"])
    rows = zip(*(header[tag] for tag in tags), capabilities)
    found: Iterator[list[Any]] = (
        [_text(value) if isinstance(value, bytes) else value for value in row] for row in rows
    )
    return {
        path: (algorithm, digest, stat.S_IMODE(mode), owner, group, modified, caps.strip())
        for path, digest, mode, owner, group, modified, caps in found
        if path in wanted
    }


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _unpack(runner: Runner, package: str, wanted: frozenset[str], folder: str) -> dict[str, str]:
    reading, writing = os.pipe()
    try:
        child = runner.start(["rpm2cpio", package], stdout=writing)
    finally:
        os.close(writing)
    timer = threading.Timer(LIMIT, end_session, [child])
    timer.daemon = True
    timer.start()
    try:
        with os.fdopen(reading, "rb") as stream:
            return _members(stream, wanted, folder)
    except ValueError as error:
        raise StepFailed(detail=f"{package} cannot be unpacked: {error}") from None
    finally:
        timer.cancel()
        end_session(child)


def _members(stream: IO[bytes], wanted: frozenset[str], folder: str) -> dict[str, str]:
    """Return where the content of each wanted file is; of hard links only the last has it, so it goes by inode."""
    contents: dict[int, str] = {}
    inodes: dict[str, int] = {}
    while True:
        entry = _entry(stream)
        if entry is None:
            return {path: contents[inode] for path, inode in inodes.items() if inode in contents}
        if entry.path in wanted:
            inodes[entry.path] = entry.inode
        needed = entry.size and stat.S_ISREG(entry.mode) and entry.inode in inodes.values()
        target = os.path.join(folder, str(entry.inode)) if needed else None
        _copy(stream, entry.size, target)
        if target:
            contents[entry.inode] = target


def _entry(stream: IO[bytes]) -> Optional[_Entry]:
    head = _exactly(stream, HEAD)
    if head[:6] not in MAGIC:
        raise ValueError("its payload is in a format that is not known here")
    fields = [int(head[start : start + 8], 16) for start in range(6, HEAD, 8)]
    inode, mode, size, length = fields[0], fields[1], fields[6], fields[11]
    name = _text(_exactly(stream, length)[:-1])
    _exactly(stream, -(HEAD + length) % 4)
    if name == TRAILER:
        return None
    return _Entry(f"/{name[2:] if name.startswith('./') else name.lstrip('/')}", inode, mode, size)


def _copy(stream: IO[bytes], size: int, target: Optional[str]) -> None:
    with open(target or os.devnull, "wb") as writing:
        left = size
        while left:
            writing.write(_exactly(stream, min(left, CHUNK)))
            left -= min(left, CHUNK)
    _exactly(stream, -size % 4)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size) if size else b""
    if len(content) != size:
        raise ValueError("it ends too early")
    return content
