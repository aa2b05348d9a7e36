"""Decompression of metadata files as a stream of chunks, bounded in size."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from typing import IO, Callable, cast

from interlock.errors import CommandMissing
from interlock.system.run import Runner, end_session

CHUNK = 256 * 1024
OPEN_LIMIT = 4 * 1024 * 1024 * 1024
_GZIP, _XZ, _BZIP2, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh", b"\x28\xb5\x2f\xfd"


def unpacked(path: str, runner: Runner, limit: int = OPEN_LIMIT) -> Iterator[bytes]:
    """Yield what the file at ``path`` unpacks to; its first bytes say how it is packed, not its name.

    ValueError where it is damaged, unpacks to more than ``limit`` bytes, or needs a program that is missing.
    """
    with open(path, "rb") as stream:
        head = stream.read(6)
    total = 0
    for chunk in _chunks(path, head, runner):
        total += len(chunk)
        if total > limit:
            raise ValueError(f"it unpacks to more than {limit} bytes")
        yield chunk


def _chunks(path: str, head: bytes, runner: Runner) -> Iterator[bytes]:
    if head.startswith(_ZSTD):
        return _zstd(path, runner)
    if head.startswith(_GZIP):
        return _library(path, lambda name: cast(IO[bytes], gzip.open(name, "rb")))
    if head.startswith(_XZ):
        return _library(path, lambda name: lzma.open(name, "rb"))
    if head.startswith(_BZIP2):
        return _library(path, lambda name: bz2.open(name, "rb"))
    return _library(path, lambda name: open(name, "rb"))


def _library(path: str, opened: Callable[[str], IO[bytes]]) -> Iterator[bytes]:
    try:
        with opened(path) as stream:
            while True:
                chunk = stream.read(CHUNK)
                if not chunk:
                    return
                yield chunk
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"it cannot be unpacked: {error}") from None


def _zstd(path: str, runner: Runner) -> Iterator[bytes]:
    argv: list[str] = ["zstd", "-dcq", "--memory=256MB", "--", path]
    reading, writing = os.pipe()
    try:
        child = runner.start(argv, stdout=writing)
    except CommandMissing:
        os.close(reading)
        raise ValueError("it is packed with zstd, and this host has no `zstd` program to unpack it") from None
    finally:
        os.close(writing)
    try:
        with os.fdopen(reading, "rb") as stream:
            yield from iter(lambda: stream.read(CHUNK), b"")
        if child.wait(timeout=60) != 0:
            raise ValueError("it cannot be unpacked: zstd finds it damaged")
    finally:
        end_session(child)
