"""Reads which file systems a system wants, and which of them exist: ``fstab``, ``crypttab``, ``mountinfo``, devices."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

from interlock.boot.boot_tree import Tree

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

FSTAB, CRYPTTAB, MOUNTS = "/etc/fstab", "/etc/crypttab", "/proc/self/mountinfo"
TAGS = ("UUID", "LABEL", "PARTUUID", "PARTLABEL", "ID")
DEVICES = "/dev/disk"
NO_DEVICES = ("/dev/nfs", "/dev/ram", "/dev/root")
BOOT_PLACES = ("/boot", "/boot/efi", "/efi")


class Wanted(NamedTuple):
    """A line of ``fstab``, or one of ``crypttab``: then ``where`` is the name of what it makes."""

    what: str
    where: str
    kind: str
    options: frozenset[str]


class Room(NamedTuple):
    """The space of a file system, in bytes. ``files`` is how many more it takes, -1 where it does not say."""

    where: str
    size: int
    free: int
    files: int


class Mounts(NamedTuple):
    """What is wanted and what is there.

    ``absent`` are the devices of ``fstab`` and of the root argument that do not exist; None where devices cannot be
    looked at: in a container, or in another system's tree. ``mounted`` is None likewise.
    """

    wanted: tuple[Wanted, ...]
    bad_lines: tuple[str, ...]
    absent: Optional[frozenset[str]]
    absent_sources: frozenset[str]
    mounted: Optional[frozenset[str]]
    crypts: tuple[Wanted, ...]
    rooms: tuple[Room, ...]


def read_mounts(tree: Tree, root_argument: str) -> Mounts:
    """Return the file systems that the system wants, and what there is of them."""
    wanted, bad = _wanted(tree)
    crypts = tuple(_crypts(tree))
    devices = [one.what for one in (*wanted, *crypts)] + ([root_argument] if root_argument else [])
    # There are none in a container, and none in the tree of a system that does not run.
    looked = tree.is_directory(DEVICES)
    absent = frozenset(one for one in devices if is_device(one) and not _exists(tree, one)) if looked else None
    binds = frozenset(one.what for one in wanted if is_bind(one) and not tree.exists(one.what))
    return Mounts(wanted, bad, absent, binds, _mounted(tree), crypts, tuple(_rooms(tree)))


def _crypts(tree: Tree) -> Iterator[Wanted]:
    for line in tree.lines(CRYPTTAB):
        words = line.split()
        if len(words) > 1:
            options = words[3] if len(words) > 3 else ""
            yield Wanted(words[1].replace('"', ""), words[0], "crypt", frozenset(options.split(",")))


def _wanted(tree: Tree) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    found, bad = [], []
    for line in tree.lines(FSTAB):
        words = [_decoded(word) for word in line.split()]
        if len(words) < 3:
            bad.append(line)
            continue
        options = words[3] if len(words) > 3 else "defaults"
        where = words[1] if words[1] == "/" else words[1].rstrip("/")
        found.append(Wanted(words[0].replace('"', ""), where, words[2], frozenset(options.split(","))))
    return tuple(found), tuple(bad)


def _decoded(word: str) -> str:
    r"""Return a word of fstab or mountinfo with its blanks back, which stand there as ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), word)


def is_device(what: str) -> bool:
    """Say whether a source names one device of this machine; several are joined with colons (bcachefs)."""
    tag, mark, value = what.partition("=")
    if mark and tag in TAGS:
        return bool(value)
    return what.startswith("/dev/") and ":" not in what and not what.startswith(NO_DEVICES)


def is_bind(one: Wanted) -> bool:
    """Say whether a line shows a directory at another place."""
    return one.what.startswith("/") and not is_device(one.what) and bool({"bind", "rbind"} & one.options)


def _exists(tree: Tree, what: str) -> bool:
    tag, mark, value = what.partition("=")
    if not mark or tag not in TAGS:
        return tree.exists(what)
    # A partition may be named by its distance from another: PARTUUID=.../PARTNROFF=1.
    value = value.partition("/")[0] if tag == "PARTUUID" else value
    folder = f"{DEVICES}/by-{tag.lower()}"
    # udev writes what is no usual character of a name as \xNN.
    names = {re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match.group(1), 16)), one) for one in tree.names(folder)}
    return value in names or value.lower() in {one.lower() for one in names if tag in ("UUID", "PARTUUID")}


def _mounted(tree: Tree) -> Optional[frozenset[str]]:
    if not tree.live:
        return None
    rows = [line.split() for line in tree.text(MOUNTS).splitlines()]
    return frozenset(_decoded(row[4]) for row in rows if len(row) > 4) or None


def _rooms(tree: Tree) -> Iterator[Room]:
    """Yield the space where boot files are, each file system once."""
    seen = set()
    for where in BOOT_PLACES:
        found = tree.status(where)
        real = tree.resolve(where)
        if found is None or real is None or found.st_dev in seen:
            continue
        seen.add(found.st_dev)
        room = os.statvfs(tree.outside(real))
        files = room.f_favail if room.f_files else -1
        yield Room(where, room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize, files)
