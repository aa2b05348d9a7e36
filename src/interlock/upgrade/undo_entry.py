"""What the undo store remembers of one path, and how it is written down.

A manifest is JSON Lines, sorted by path, one entry a line, closed by a line that counts them and carries a checksum:
a manifest that was cut short is no manifest. Paths are text with surrogate escapes, as the interpreter gives them.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import zlib
from collections.abc import Iterable, Mapping
from typing import IO, NamedTuple, Optional

from interlock.errors import InterlockError

VERSION = 1
FILE, FOLDER, LINK, SPECIAL, ABSENT = "file", "folder", "link", "special", "absent"
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: LINK}


class ManifestDamaged(InterlockError):
    """The undo store's list {path} cannot be used: {detail}."""

    hint = "Nothing was changed. What this operation replaced cannot be put back from its undo store."


class Entry(NamedTuple):
    """One path as it was. ``modified`` in nanoseconds; ``digest`` as ``sha256:hex``, empty for what has no content.

    ``how`` says how the content is kept: ``link`` (a hard link of the very file), ``copy``, or empty; ``name`` is the
    file in the store. ``twin`` is the first path of the same inode, where a file has several. ``target`` is a link's.
    """

    path: str
    kind: str
    mode: int = 0
    owner: int = 0
    group: int = 0
    size: int = 0
    modified: int = 0
    digest: str = ""
    how: str = ""
    name: str = ""
    twin: str = ""
    target: str = ""
    device: int = 0
    attributes: Mapping[str, str] = {}


def look_at(path: str) -> tuple[Entry, Optional[os.stat_result]]:
    """Return what is at a path now, without content, and its ``lstat``; an ABSENT entry where there is nothing."""
    found = lstat(path)
    return (Entry(path, ABSENT), None) if found is None else (describe(path, path, found), found)


def describe(
    path: str, real: str, found: os.stat_result, *, digest: str = "", how: str = "", name: str = "", twin: str = ""
) -> Entry:
    """Return the entry of a path that is there; ``real`` is where, ``found`` its ``lstat``."""
    kind = kind_of(found)
    return Entry(
        path, kind, found.st_mode if kind == SPECIAL else stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid,
        found.st_size if kind == FILE else 0, found.st_mtime_ns, digest, how, name, twin,
        os.readlink(real) if kind == LINK else "", found.st_rdev if kind == SPECIAL else 0, read_attributes(real),
    )  # fmt: skip


def lstat(path: str) -> Optional[os.stat_result]:
    """Return a path's own ``lstat``; None where nothing is there."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def has_metadata(entry: Entry, found: os.stat_result, path: str) -> bool:
    """Say whether a path, whose ``lstat`` is ``found``, has an entry's owners, mode, time and attributes."""
    if (found.st_uid, found.st_gid, found.st_mtime_ns) != (entry.owner, entry.group, entry.modified):
        return False
    if entry.kind != LINK and stat.S_IMODE(found.st_mode) != stat.S_IMODE(entry.mode):
        return False
    return read_attributes(path) == entry.attributes


def kind_of(found: os.stat_result) -> str:
    """Return the kind of entry that a path is."""
    return _KINDS.get(stat.S_IFMT(found.st_mode), SPECIAL)


def read_attributes(path: str) -> dict[str, str]:
    """Return the extended attributes of a path itself (capabilities, labels, access lists), in base64."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {
            name: base64.b64encode(os.getxattr(path, name, follow_symlinks=False)).decode() for name in sorted(names)
        }
    except OSError:
        return {}


def write_manifest(stream: IO[str], entries: Iterable[Entry]) -> int:
    """Write entries, and the line that closes them; return how many there were."""
    check = number = 0
    for entry in entries:
        line = json.dumps([*entry[:-1], dict(entry.attributes)])
        check = zlib.crc32(line.encode(), check)
        number += 1
        stream.write(line + "\n")
    stream.write(json.dumps({"v": VERSION, "entries": number, "crc": check}) + "\n")
    return number


def read_manifest(path: str) -> list[Entry]:
    """Return the entries of a manifest; ManifestDamaged where it is not whole."""
    try:
        with open(path, "rb") as stream:
            return _checked(path, stream.read())
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ManifestDamaged(path=path, detail=str(error)) from None


def _checked(path: str, content: bytes) -> list[Entry]:
    *lines, last = content.splitlines()
    end = json.loads(last)
    check = zlib.crc32(b"".join(lines))
    if not isinstance(end, dict) or (end["v"], end["entries"], end["crc"]) != (VERSION, len(lines), check):
        raise ManifestDamaged(path=path, detail="it was cut short, or a line of it was changed")
    # All at once: a call for each line takes three times as long.
    return [Entry(*row) for row in json.loads(b"[" + b",".join(lines) + b"]")]
