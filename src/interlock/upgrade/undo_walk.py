"""Which parts of a system an undo store looks at as a whole, and what was there that it did not keep."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Collection, Iterator

# Trees that scriptlets write to without owning what they write: looked at as a whole, and copied.
COPIED_TREES = ("/etc", "/boot")
# Here packages own nearly everything; what they do not own is copied, what others own is left alone.
WATCHED_TREES = ("/usr", "/opt")
# Never the upgrade's business: the administrator's own programs, sources that are only built here; and where package
# databases are that are not below /var, which are kept in a way of their own.
LEFT_OUT = ("/usr/local", "/usr/src", "/usr/lib/sysimage", "/boot/lost+found")
SKIPPED = "skipped.z"


def walk(tree: str, root: str) -> Iterator[str]:
    """Yield every path of a tree as the host names it, the tree itself first."""
    begin = _real(tree, root)
    todo = [tree] if os.path.isdir(begin) and not os.path.islink(begin) else []
    while todo:
        folder = todo.pop()
        yield folder
        for found in os.scandir(_real(folder, root)):
            path = os.path.join(folder, found.name)
            if path in LEFT_OUT:
                continue
            if found.is_dir(follow_symlinks=False):
                todo.append(path)
            else:
                yield path


def watched(root: str) -> set[str]:
    """Return every path of every tree that is looked at."""
    return {path for tree in (*COPIED_TREES, *WATCHED_TREES) for path in walk(tree, root)}


def _real(path: str, root: str) -> str:
    return path if root == "/" else os.path.join(root, path.lstrip("/"))


def write_skipped(folder: str, paths: Collection[str]) -> None:
    """Write down what was there and is not kept, because packages own it that stay. Not synced."""
    with open(os.path.join(folder, SKIPPED), "wb") as stream:
        stream.write(zlib.compress(json.dumps(sorted(paths)).encode(), 1))


def read_skipped(folder: str) -> frozenset[str]:
    """Return what ``write_skipped`` wrote. OSError, ValueError or zlib.error where it is not whole."""
    with open(os.path.join(folder, SKIPPED), "rb") as stream:
        return frozenset(json.loads(zlib.decompress(stream.read())))
