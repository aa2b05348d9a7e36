"""Files that survive a power cut: whole and new, or whole and old.

Guarantee: after ``write_file`` or ``append_line`` returns, the content is on the disk as far as the kernel can
say. Limit: a disk that lies about its cache can still lose it, and a file system error at the very fsync is
reported but leaves the old content.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from typing import IO

from interlock.system import linux


def sync_directory(path: str) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(path: str) -> None:
    """Make all that was written to the file system of ``path`` durable (syncfs)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        linux.syncfs(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    """Make one file's content durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_payload(roots: Iterable[str]) -> None:
    """Make what was written below some directories durable: each file system among them once."""
    seen = set()
    for root in roots:
        device = os.stat(root).st_dev if os.path.isdir(root) else None
        if device is not None and device not in seen:
            seen.add(device)
            sync_filesystem(root)


def write_file(path: str, text: str, mode: int = 0o644) -> None:
    """Replace ``path`` by ``text``: temporary file, fsync, rename, fsync of the directory."""
    temporary = f"{path}.tmp{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        remove_file(temporary)
        raise
    sync_directory(os.path.dirname(path) or ".")


def half_written(path: str) -> list[str]:
    """Return what writers of ``path`` that were killed have left beside it; one that is alive may be among them."""
    folder, name = os.path.split(path)
    pattern = re.compile(re.escape(name) + r"\.tmp[0-9]+")
    try:
        return [os.path.join(folder, one) for one in os.listdir(folder or ".") if pattern.fullmatch(one)]
    except FileNotFoundError:
        return []


def append_line(stream: IO[str], line: str) -> None:
    """Append one line and make it durable before returning."""
    stream.write(line + "\n")
    stream.flush()
    os.fdatasync(stream.fileno())


def remove_file(path: str) -> None:
    """Remove ``path`` if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def copy_file(source: str, target: str) -> None:
    """Copy content, mode, owner and times; blocks are shared where the file system can. Not synced."""
    with open(source, "rb") as reading, open(target, "wb") as writing:
        if not linux.clone_file(reading.fileno(), writing.fileno()):
            shutil.copyfileobj(reading, writing, 1 << 20)
        found = os.fstat(reading.fileno())
    os.chown(target, found.st_uid, found.st_gid)
    shutil.copystat(source, target)


def remove_trees(paths: Iterable[str]) -> None:
    """Remove directories with all they have, where they are there."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
