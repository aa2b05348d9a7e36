"""Finds the end of compressed data by its own form, without decompressing it: the library cannot for most of these.

Of zstd and lz4 the blocks are followed, xz has its index at the end; what is left of others cannot be known.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import Optional, Union

GZIP, XZ, ZSTD, LZ4_OLD, LZ4 = b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"\x04\x22\x4d\x18"
OTHERS = (b"BZh", b"\x5d\0\0", b"\x89LZO")
# Within compressed data so many zeros in a row are a hole that a power cut has left.
HOLE = b"\0" * 4096
CUT = "it ends in the middle of its compressed part"
UNKNOWN = "it has a part that is no archive and no compressed file"
Data = Union[bytes, mmap.mmap]


def follow(data: Data, at: int) -> tuple[str, int]:
    """Return what is wrong with the compressed data that begins at a place, and where it ends; gzip is not for here."""
    head = data[at : at + 6]
    if head.startswith(XZ):
        wrong, end = _xz(data)
    elif head.startswith(ZSTD):
        wrong, end = _zstd(data, at)
    elif head.startswith(LZ4_OLD):
        wrong, end = _old_lz4(data, at)
    elif head.startswith((LZ4, *OTHERS)):
        wrong, end = "", len(data)
    else:
        return UNKNOWN, at
    hole = not wrong and data.find(HOLE, at, end) >= 0
    return "there is a hole of zeros in its compressed part" if hole else wrong, end


def _end(data: Data) -> int:
    """Return where the content ends, zeros after it left out."""
    at = len(data)
    while at > 0:
        block = data[max(0, at - 4096) : at]
        rest = block.rstrip(b"\0")
        if rest:
            return at - len(block) + len(rest)
        at -= len(block)
    return 0


def _xz(data: Data) -> tuple[str, int]:
    """Check the end, which names the size of the index before it (the .xz format, section 2.1.2)."""
    end = (_end(data) + 3) & ~3
    footer = data[end - 12 : end]
    if len(footer) < 12 or footer[10:] != b"YZ" or zlib.crc32(footer[4:10]) != struct.unpack("<I", footer[:4])[0]:
        return CUT, end
    begin = end - 12 - (struct.unpack("<I", footer[4:8])[0] + 1) * 4
    return "" if begin > 0 and data[begin] == 0 else "its compressed part is damaged", end


def _zstd(data: Data, at: int) -> tuple[str, int]:
    """Follow the blocks of all frames (RFC 8878, section 3.1.1)."""
    while data[at : at + 4] == ZSTD:
        after = _zstd_frame(data, at)
        if after is None or after > len(data):
            return CUT, len(data)
        at = after
    return "", at


def _zstd_frame(data: Data, at: int) -> Optional[int]:
    """Return where a frame ends; None where it does not."""
    flags = data[at + 4] if at + 4 < len(data) else 0
    single, checksum = flags >> 5 & 1, flags >> 2 & 1
    content = (single, 2, 4, 8)[flags >> 6]
    at += 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + content
    while at + 3 <= len(data):
        header = int.from_bytes(data[at : at + 3], "little")
        at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        if header & 1:
            return at + 4 * checksum
        if not header:
            return None
    return None


def _old_lz4(data: Data, at: int) -> tuple[str, int]:
    """Follow the blocks of the form that the kernel reads: a size and so many bytes, up to the end."""
    end = _end(data)
    while at < end:
        size = 0 if data[at : at + 4] == LZ4_OLD else int.from_bytes(data[at : at + 4], "little")
        at += 4 + size
        if at > len(data):
            return CUT, end
    return "", at
