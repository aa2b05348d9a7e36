"""Reads what the dynamic loader would read of a program or library (ELF, 64 bit), without running anything.

Every offset in a file is checked before it is used: a file cut off in the middle is what this is for.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

MAGIC = b"\x7fELF"
LOAD, DYNAMIC, INTERPRETER = 1, 2, 3
NEEDED, STRINGS, SYMBOLS, SONAME, RPATH, RUNPATH = 1, 5, 6, 14, 15, 29
VERSION_OF_SYMBOL, DEFINED, DEFINED_COUNT, REQUIRED, REQUIRED_COUNT = (
    0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF,
)  # fmt: skip
SYMBOL_SIZE = 24
WEAK = 2
PRIVATE = "GLIBC_PRIVATE"
RELEASE = re.compile(rb"release version (\d+\.\d+)")
Data = mmap.mmap


class BrokenElf(ValueError):
    """A file that the loader could not use; the text says why."""


class Elf(NamedTuple):
    """What the loader takes from a file.

    ``requires`` has the symbol versions wanted of each library, ``defines`` those that it has itself. ``wanted`` are
    the symbols that glibc's parts have for each other alone (GLIBC_PRIVATE), with the library that is to have them;
    ``private`` are those that it has. ``release`` is glibc's own, where the file is a part of it that says so.
    """

    machine: int
    interpreter: str
    needed: tuple[str, ...]
    search: tuple[str, ...]
    requires: Mapping[str, frozenset[str]]
    defines: frozenset[str]
    wanted: tuple[tuple[str, str], ...]
    private: frozenset[str]
    release: str


def is_elf(start: bytes) -> bool:
    """Say whether a file that begins like this is meant to be ELF."""
    return start.startswith(MAGIC)


def read_elf(path: str) -> Elf:
    """Read a file; BrokenElf where the loader could not load it, OSError where it cannot be read."""
    with open(path, "rb") as stream:
        if os.fstat(stream.fileno()).st_size < 64:
            raise BrokenElf("it is empty or cut off within its first 64 bytes")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _Reader(data).read()
            except BrokenElf:
                raise
            except (struct.error, IndexError, ValueError, OverflowError):
                raise BrokenElf("what is in it contradicts itself") from None


def _next(at: int, step: int) -> int:
    """Return where the next record of a chain begins; the last one's step is nothing, and ends it."""
    return at + step if step else sys.maxsize


class _Reader:
    """Reads one file."""

    def __init__(self, data: Data) -> None:
        if data[:4] != MAGIC:
            raise BrokenElf("it does not begin as a program does")
        if data[4] != 2:
            raise BrokenElf("it is not a 64-bit program")
        self.data = data
        self.order = "<" if data[5] == 1 else ">"
        self.machine = self.number("H", 18)
        self.segments = self._segments()
        self.dynamic = self._dynamic()
        self.strings = self.place(STRINGS)

    def number(self, kind: str, offset: int) -> int:
        return int(struct.unpack_from(self.order + kind, self.data, offset)[0])

    def _segments(self) -> list[tuple[int, int, int, int]]:
        """Return kind, offset, address and size of each segment; all must lie within the file."""
        offset, size, count = self.number("Q", 32), self.number("H", 54), self.number("H", 56)
        found = []
        for at in range(offset, offset + size * count, size):
            kind, _, start, address, _, length = struct.unpack_from(self.order + "IIQQQQ", self.data, at)
            if start + length > len(self.data) and kind in (LOAD, DYNAMIC, INTERPRETER):
                raise BrokenElf(f"it is cut off: {len(self.data)} bytes are left of at least {start + length}")
            found.append((kind, start, address, length))
        return found

    def _dynamic(self) -> list[tuple[int, int]]:
        for kind, start, _, length in self.segments:
            if kind == DYNAMIC:
                pairs = struct.iter_unpack(self.order + "qQ", self.data[start : start + length // 16 * 16])
                found = []
                for tag, value in pairs:
                    if tag == 0:
                        break
                    found.append((tag, value))
                if not found:
                    raise BrokenElf("its table for the loader is empty")
                return found
        return []

    def value(self, tag: int) -> int:
        return next((value for one, value in self.dynamic if one == tag), 0)

    def place(self, tag: int) -> int:
        """Return where in the file the address lies that a tag has; 0 where there is no such tag."""
        address = self.value(tag)
        for kind, start, begin, length in self.segments:
            if kind == LOAD and begin <= address < begin + length:
                return start + address - begin
        return 0

    def text(self, offset: int) -> str:
        end = self.data.find(b"\0", offset)
        return self.data[offset:end].decode()

    def word(self, index: int) -> str:
        return self.text(self.strings + index)

    def read(self) -> Elf:
        requires, numbers = self._required()
        search = tuple(
            path for tag in (RUNPATH, RPATH) for one, value in self.dynamic if one == tag
            for path in self.word(value).split(":") if path
        )  # fmt: skip
        defined = self._defined()
        wanted, private = self._private(numbers, defined)
        interpreter = next((self.text(start) for kind, start, _, _ in self.segments if kind == INTERPRETER), "")
        needed = tuple(self.word(value) for tag, value in self.dynamic if tag == NEEDED)
        return Elf(
            self.machine, interpreter, needed, search, requires, frozenset(defined.values()), wanted, private,
            self._release(defined),
        )  # fmt: skip

    def _required(self) -> tuple[dict[str, frozenset[str]], dict[int, tuple[str, str]]]:
        """Return the versions wanted of each library, and library and version of each version's number."""
        at, found, numbers = self.place(REQUIRED), {}, {}
        for _ in range(self.value(REQUIRED_COUNT)):
            _, count, name, first, following = struct.unpack_from(self.order + "HHIII", self.data, at)
            library, inner, versions = self.word(name), at + first, set()
            for _ in range(count):
                _, flags, number, text, step = struct.unpack_from(self.order + "IHHII", self.data, inner)
                numbers[number] = (library, self.word(text))
                if not flags & WEAK:
                    versions.add(self.word(text))
                inner = _next(inner, step)
            found[library] = frozenset(versions)
            at = _next(at, following)
        return found, numbers

    def _defined(self) -> dict[int, str]:
        """Return the versions that the file has itself, by their numbers."""
        at, found = self.place(DEFINED), {}
        for _ in range(self.value(DEFINED_COUNT)):
            _, _, number, _, _, first, following = struct.unpack_from(self.order + "HHHHIII", self.data, at)
            found[number] = self.word(self.number("I", at + first))
            at = _next(at, following)
        return found

    def _private(
        self, numbers: Mapping[int, tuple[str, str]], defined: Mapping[int, str]
    ) -> tuple[tuple[tuple[str, str], ...], frozenset[str]]:
        """Return glibc's private symbols: those wanted, with their library, and those that the file has."""
        theirs = {number: library for number, (library, version) in numbers.items() if version == PRIVATE}
        ours = {number for number, version in defined.items() if version == PRIVATE}
        wanted, private = [], set()
        for version, name, info, section in self._symbols() if theirs or ours else ():
            if section == 0 and version in theirs and info >> 4 != WEAK:
                wanted.append((self.word(name), theirs[version]))
            elif section and version in ours:
                private.add(self.word(name))
        return tuple(wanted), frozenset(private)

    def _symbols(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield the version's number, name, kind and section of each symbol: up to what the linker put behind them."""
        begin, versions = self.place(SYMBOLS), self.place(VERSION_OF_SYMBOL)
        behind = [
            place for place in (self.strings, versions, self.place(DEFINED), self.place(REQUIRED)) if place > begin
        ]
        if not begin or not versions or not behind:
            return
        count = (min(behind) - begin) // SYMBOL_SIZE
        rows = struct.iter_unpack(self.order + "IBBHQQ", self.data[begin : begin + count * SYMBOL_SIZE])
        marks = struct.unpack_from(f"{self.order}{count}H", self.data, versions)
        for (name, info, _, section, _, _), mark in zip(rows, marks):
            yield mark & 0x7FFF, name, info, section

    def _release(self, defined: Mapping[int, str]) -> str:
        """Return the release that a part of glibc names in a text of its own."""
        if PRIVATE not in defined.values():
            return ""
        match: Optional[re.Match[bytes]] = RELEASE.search(self.data)
        return match.group(1).decode() if match else ""
