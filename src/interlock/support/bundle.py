"""Writes the bundle: one gzipped tar, its index first, every text without its secrets, the whole of it bounded.

Two passes: all parts are read and what they show to be secret is learned; then each is cleaned and written. What does
not fit any more is named in the index, as is what could not be read.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any, Callable

from interlock import __version__
from interlock.errors import InterlockError, UsageError
from interlock.host.context import Host
from interlock.support.looks import looks
from interlock.support.parts import Part, bounded, parts, secret_texts
from interlock.support.redact import Redactor

TOTAL = 24 * 1024 * 1024
FOLDER = "interlock-support"


class BundleExists(UsageError):
    """{path} is there already."""

    hint = "Give the bundle another name, or remove that file."


class BundleNotWritten(InterlockError):
    """The support bundle {path} cannot be written: {detail}."""

    hint = "Give a path on a file system that has room and can be written, such as /tmp or a removable disk."


@dataclass(frozen=True)
class Entry:
    """One file of the bundle as the index has it. ``fault`` says why it is not there, or empty."""

    name: str
    about: str
    size: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Bundle:
    """What was written: its path, its size in bytes, its entries, how many places lost a secret."""

    path: str
    size: int
    entries: tuple[Entry, ...]
    removed: int


Tell = Callable[[str], None]


def write_bundle(host: Host, path: str, tell: Tell = lambda name: None) -> Bundle:
    """Write the bundle to ``path``, readable by its owner only. Raises BundleExists, BundleNotWritten."""
    if os.path.lexists(path):
        raise BundleExists(path=path)
    redactor = Redactor()
    for text in secret_texts(host):
        redactor.learn(text)
    read = [_read(part, redactor, tell) for part in (*looks(host), *parts(host))]
    cleaned = list(_cleaned(read, redactor))
    entries = tuple(entry for entry, _ in cleaned)
    files = [("INDEX.txt", index(host, entries, redactor)), *((one.name, text) for one, text in cleaned if text)]
    try:
        size = _write(path, files, host.clock.now())
    except OSError as error:
        raise BundleNotWritten(path=path, detail=error.strerror or error) from error
    return Bundle(path, size, entries, redactor.count)


def _read(part: Part, redactor: Redactor, tell: Tell) -> tuple[Part, Any, str]:
    """Return a part's content, or why there is none. Whatever goes wrong with one is no reason to have no bundle."""
    tell(part.name)
    try:
        content = part.read()
    except Exception as error:
        return part, None, f"{type(error).__name__}: {error}"
    redactor.learn(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str))
    return part, content, ""


def _cleaned(read: Iterable[tuple[Part, Any, str]], redactor: Redactor) -> Iterable[tuple[Entry, str]]:
    left = TOTAL
    for part, content, fault in read:
        if fault:
            yield Entry(part.name, part.about, fault=redactor.clean(fault)), ""
            continue
        text = _text(content, redactor)
        if len(text) > left:
            yield Entry(part.name, part.about, fault=f"left out: the bundle has its {TOTAL >> 20} MiB"), ""
            continue
        left -= len(text)
        yield Entry(redactor.clean(part.name), part.about, len(text.encode("utf-8", "replace"))), text


def _text(content: Any, redactor: Redactor) -> str:
    if isinstance(content, str):
        return redactor.clean(content)
    return bounded(json.dumps(redactor.clean_json(content), indent=1, ensure_ascii=False, default=str))


def index(host: Host, entries: Sequence[Entry], redactor: Redactor) -> str:
    """Return the page that a person reads first."""
    there = [one for one in entries if not one.fault]
    width = max((len(one.name) for one in entries), default=0)
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(host.clock.now()))
    lines = [
        "Interlock support bundle", "",
        f"host: {os.uname().nodename}", f"made: {when}, by Interlock {__version__}",
        f"read as: {'root' if os.geteuid() == 0 else 'an ordinary user: much is missing'}",
        f"{redactor.count} places have [removed] where a secret stood, or what looked like one. Have a look before you",
        "send it: what nobody could tell from plain text is still there.", "",
        "Read first: state.json (what is unfinished), reboot.json (why a reboot is refused), waits.txt (who waits for",
        "whom), doctor.json (what is wrong, and its cure), then operations/, newest first: journal.jsonl says what was",
        "done, events.jsonl how it went, scriptlets.log and output.log what was printed.", "",
    ]  # fmt: skip
    lines += [f"{one.name.ljust(width)}  {one.size:>9}  {one.about}" for one in there]
    missing = [one for one in entries if one.fault]
    if missing:
        lines += ["", "Not there:", *(f"{one.name.ljust(width)}  {one.fault}" for one in missing)]
    return "\n".join(lines) + "\n"


def _write(path: str, files: Iterable[tuple[str, str]], now: float) -> int:
    temporary = f"{path}.tmp{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            _write_archive(stream, files, now)
            stream.flush()
            os.fsync(stream.fileno())
        # Not rename: what came into that place meanwhile stays.
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
    return os.stat(path).st_size


def _write_archive(stream: IO[bytes], files: Iterable[tuple[str, str]], now: float) -> None:
    with (
        gzip.GzipFile("", "wb", fileobj=stream, mtime=int(now)) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, text in files:
            content = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(now), 0o600
            archive.addfile(entry, io.BytesIO(content))
