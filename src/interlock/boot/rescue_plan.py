"""Writes the restore plan as a plain list that a POSIX shell in an initramfs can carry out from top to bottom.

Layout, in the undo store's own folder: ``rescue.list``, one step a line, fields parted by tabs (kind, mode, owner,
group, name, path; ``-`` for none); ``rescue.sums``, the digests of the list and of every content of the store, as
``sha256sum -c`` reads them. In names and paths a backslash, a tab and a line's end are written with a backslash.

Order: directories that must be there, from the top; what only the new packages bring goes, from the bottom; contents;
further names of the same files; symbolic links. Extended attributes, times, devices and the modes of what rpm does not
strip are left to the recovery that follows once the host is up.

A store that keeps a directory's links in a folder of their own, each under the name that it has on the host
(``files/12/libc.so.6``), is restored a directory at a time; with other names it takes a program's start for each file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING

from interlock.system import durable

if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

LIST, SUMS = "rescue.list", "rescue.sums"
NONE = "-"
SPECIAL_BITS = 0o7000


class Row(Protocol):
    """What the plan needs to know of one path: an entry of the undo store's manifest is one.

    ``kind`` is ``file``, ``folder``, ``link``, ``absent`` or ``special``; ``how`` is ``link``, ``copy`` or empty;
    ``name`` the file in the store's ``files``; ``twin`` the first path of the same inode; ``digest`` is ``sha256:hex``.
    """

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def mode(self) -> int: ...  # noqa: D102
    @property
    def owner(self) -> int: ...  # noqa: D102
    @property
    def group(self) -> int: ...  # noqa: D102
    @property
    def how(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def twin(self) -> str: ...  # noqa: D102
    @property
    def target(self) -> str: ...  # noqa: D102


def write_plan(entries: Iterable[Row], folder: str) -> str:
    """Write the plan of an undo store, durably, and return the digest (hex) of its list of digests.

    ``entries`` are all that are to be restored: for a rollback, those which it is going to change; a ``twin`` comes
    with its first path. The store's ``files`` must be complete.
    """
    rows = sorted(entries, key=lambda row: row.path)
    steps = list(_steps(rows))
    content = b"".join(_line(step) for step in [*steps, ("end", NONE, NONE, NONE, NONE, str(len(steps)))])
    listed = hashlib.sha256(content).hexdigest()
    kept = [(row.digest.partition(":")[2], f"files/{row.name}") for row in rows if row.name]
    sums = "".join(f"{digest}  {name}\n" for digest, name in [(listed, LIST), *kept]).encode()
    _write(os.path.join(folder, LIST), content)
    _write(os.path.join(folder, SUMS), sums)
    durable.sync_directory(folder)
    return hashlib.sha256(sums).hexdigest()


def _steps(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    yield from (_step("folder", row) for row in rows if row.kind == "folder")
    yield from (_step("remove", row) for row in reversed(rows) if row.kind == "absent")
    files = [row for row in rows if row.kind == "file"]
    yield from (_step(row.how, row, row.name) for row in files if not row.twin)
    yield from (_step("twin", row, row.twin) for row in files if row.twin)
    yield from (_step("symlink", row, row.target) for row in rows if row.kind == "link")


def _step(kind: str, row: Row, name: str = NONE) -> tuple[str, ...]:
    # Of a linked file rpm changes nothing but the bits that it strips.
    asks_mode = kind == "folder" or (kind in ("link", "twin") and row.mode & SPECIAL_BITS)
    mode = f"{row.mode & 0o7777:o}" if asks_mode else NONE
    return kind, mode, str(row.owner), str(row.group), encode(name), encode(row.path)


def encode(text: str) -> str:
    """Return a name with what would end a field or a line written with a backslash."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _line(fields: Sequence[str]) -> bytes:
    return os.fsencode("\t".join(fields)) + b"\n"


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as stream:
        _put(stream, content)


def _put(stream: IO[bytes], content: bytes) -> None:
    stream.write(content)
    stream.flush()
    os.fsync(stream.fileno())
