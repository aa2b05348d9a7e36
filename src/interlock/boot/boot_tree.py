"""Reads a system's files below its root directory, as that system itself would see them.

Links are followed inside the tree, never out of it: ``/sbin/init -> /lib/systemd/systemd`` of a system at ``/mnt`` is
``/mnt/lib/systemd/systemd``. What cannot be read is absent: absence is what the judgements speak about.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Optional

from interlock.system.proc import read_bytes, read_text

MOST_LINKS = 40
LARGEST_TEXT = 4 << 20


class Tree:
    """The files of one system. Paths given and returned are its own and absolute, links resolved where it says so."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root)

    @property
    def live(self) -> bool:
        """Say whether this is the system that runs."""
        return self.root == "/"

    def outside(self, path: str) -> str:
        """Return where this process finds a path that has no links left in it."""
        return path if self.live else self.root + path

    def resolve(self, path: str) -> Optional[str]:
        """Return a path without links; None where it leads nowhere (dangling, a loop, no directory on the way)."""
        done, todo, links = "/", _parts(path), 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = os.path.dirname(done)
                continue
            step = os.path.join(done, part)
            target = self._look(step)
            if target is None or links > MOST_LINKS:
                return None
            if target:
                links += 1
                todo += _parts(target)
                done = "/" if target.startswith("/") else done
            else:
                done = step
        return done

    def _look(self, step: str) -> Optional[str]:
        """Return where a link leads, an empty text for anything else, None where nothing is."""
        try:
            return os.readlink(self.outside(step)) or None
        except OSError as error:
            return "" if error.errno == errno.EINVAL else None
        except ValueError:
            return None

    def status(self, path: str) -> Optional[os.stat_result]:
        """Return what stat(2) says of what a path leads to; None where that is nothing."""
        real = self.resolve(path)
        try:
            return None if real is None else os.lstat(self.outside(real))
        except OSError:
            return None

    def is_file(self, path: str) -> bool:
        """Say whether a path leads to a regular file."""
        found = self.status(path)
        return found is not None and stat.S_ISREG(found.st_mode)

    def is_directory(self, path: str) -> bool:
        """Say whether a path leads to a directory."""
        found = self.status(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def is_link(self, path: str) -> bool:
        """Say whether the path itself is a link, dangling or not."""
        return self.link(path) is not None

    def link(self, path: str) -> Optional[str]:
        """Return where a link points, as it is written; None where the path is no link."""
        parent = self.resolve(os.path.dirname(path))
        return None if parent is None else self._look(os.path.join(parent, os.path.basename(path))) or None

    def exists(self, path: str) -> bool:
        """Say whether a path leads to anything."""
        return self.status(path) is not None

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, in order; none where it cannot be read."""
        real = self.resolve(path)
        try:
            return [] if real is None else sorted(os.listdir(self.outside(real)))
        except OSError:
            return []

    def text(self, path: str) -> str:
        """Return a file's text, bounded; empty where it cannot be read."""
        real = self.resolve(path)
        return "" if real is None else read_text(self.outside(real), LARGEST_TEXT)

    def start(self, path: str, size: int) -> bytes:
        """Return a file's first bytes; empty where it cannot be read."""
        real = self.resolve(path)
        return b"" if real is None else read_bytes(self.outside(real), size) or b""

    def lines(self, path: str) -> Iterator[str]:
        """Yield a file's lines without comments, blank lines and the white space around."""
        for line in self.text(path).splitlines():
            words = line.strip()
            if words and not words.startswith("#"):
                yield words


def _parts(path: str) -> list[str]:
    """Return a path's parts, the first last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
