"""Looks at an initramfs: is it whole, as far as its own form tells?

It is a chain of cpio archives, the last of which is compressed, as the kernel reads it. What cannot be checked with
the standard library (zstd, lz4, lzo) counts as whole unless it is empty.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from typing import IO, Any, Optional

CHUNK = 1 << 20
MAGIC = (b"070701", b"070702")
HEADER = 110
LAST = b"TRAILER!!!"
_LONGEST_NAME = 4096


def what_is_wrong(path: str) -> str:
    """Say what is wrong with an initramfs; empty where nothing is seen."""
    if not os.path.isfile(path):
        return "it is no file"
    try:
        with open(path, "rb") as stream:
            return _check(stream)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def _check(stream: IO[bytes]) -> str:
    found = False
    while True:
        position = _next(stream)
        head = stream.read(6)
        stream.seek(position)
        if not head:
            return "" if found else "it is empty"
        if head in MAGIC:
            if not _skip_archive(stream):
                return "it ends in the middle of an archive"
            found = True
            continue
        decompressor = _decompressor(head)
        return "" if decompressor is None or _whole(stream, decompressor) else "it ends in the middle"


def _next(stream: IO[bytes]) -> int:
    """Go past the zeros between two archives."""
    while True:
        begin = stream.tell()
        block = stream.read(512)
        rest = block.lstrip(b"\0")
        if rest or not block:
            stream.seek(begin + len(block) - len(rest))
            return stream.tell()


def _skip_archive(stream: IO[bytes]) -> bool:
    """Go past one archive; False where it has no end."""
    begin = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(begin)
    while True:
        head = stream.read(HEADER)
        if len(head) < HEADER or head[:6] not in MAGIC:
            return False
        try:
            length, name_length = int(head[54:62], 16), int(head[94:102], 16)
        except ValueError:
            return False
        name = stream.read(min(name_length, _LONGEST_NAME)).rstrip(b"\0")
        end = _aligned(_aligned(stream.tell() - begin) + length) + begin
        if name == LAST:
            return True
        if end > size:
            return False
        stream.seek(end)


def _aligned(number: int) -> int:
    return (number + 3) & ~3


def _decompressor(head: bytes) -> Optional[Any]:
    if head.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31)
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor()
    if head.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    return None


def _whole(stream: IO[bytes], decompressor: Any) -> bool:
    try:
        while not decompressor.eof:
            block = stream.read(CHUNK)
            if not block:
                return False
            decompressor.decompress(block)
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        return False
    return True
