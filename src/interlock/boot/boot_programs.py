"""Reads the programs that every boot runs, with all the libraries that the loader would find for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Optional

from interlock.boot.boot_elf import BrokenElf, Elf, is_elf, read_elf
from interlock.boot.boot_tree import Tree

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

INIT, SHELL = "/sbin/init", "/bin/sh"
# Started at every boot where they are there; a system without one of them has no use for it.
ALSO = (
    "/usr/lib/systemd/systemd-executor", "/usr/lib/systemd/systemd-journald", "/usr/lib/systemd/systemd-udevd",
    "/usr/bin/udevadm", "/usr/lib/systemd/systemd-logind", "/usr/bin/mount", "/usr/bin/kmod", "/usr/sbin/agetty",
    "/usr/bin/dbus-daemon", "/usr/bin/dbus-broker", "/usr/sbin/sshd",
)  # fmt: skip
FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
SETTINGS = "/etc/ld.so.conf"
DEEPEST = 8


class Part(NamedTuple):
    """A program or library. ``elf`` is None for a script, and where ``wrong`` says what is wrong with the file.

    ``interpreter`` is what runs it, the loader or a script's program, as it is written, and ``interpreter_at`` where
    that is; ``needs`` has each library by name with the path that was found, or an empty text.
    """

    path: str
    elf: Optional[Elf]
    wrong: str = ""
    interpreter: str = ""
    interpreter_at: str = ""
    needs: tuple[tuple[str, str], ...] = ()


class Start(NamedTuple):
    """A program that is started by its path. ``path`` is where it really is, empty if nowhere."""

    asked: str
    path: str
    runnable: bool


class Programs(NamedTuple):
    """Everything that starting a system runs, each file by its path without links."""

    starts: tuple[Start, ...]
    parts: Mapping[str, Part]


def read_programs(tree: Tree, init: str = INIT) -> Programs:
    """Return ``init``, the shell and the other programs of a boot, with all that they load."""
    asked = (init, SHELL, *(path for path in ALSO if tree.is_file(path)))
    starts = tuple(_start(tree, path) for path in asked)
    collector = _Collector(tree)
    collector.collect(one.path for one in starts if one.path)
    return Programs(starts, collector.parts)


def _start(tree: Tree, asked: str) -> Start:
    found = tree.status(asked)
    path = tree.resolve(asked) if tree.is_file(asked) else None
    return Start(asked, path or "", found is not None and bool(found.st_mode & 0o111))


def library_folders(tree: Tree) -> list[str]:
    """Return where libraries are looked for, as ``ld.so.conf`` says and as loaders know by themselves."""
    known = [folder for folder in FOLDERS if tree.is_directory(folder)]
    debian = [f"{folder}/{name}" for folder in ("/lib", "/usr/lib") for name in _triplets(tree)]
    return list(dict.fromkeys([*_configured(tree, SETTINGS, DEEPEST), *debian, *known]))


def _triplets(tree: Tree) -> list[str]:
    return [name for name in tree.names("/usr/lib") if name.endswith("-linux-gnu")]


def _configured(tree: Tree, path: str, depth: int) -> list[str]:
    found: list[str] = []
    for line in tree.lines(path) if depth else ():
        word, _, rest = line.partition(" ")
        if word == "include":
            for name in _matching(tree, os.path.dirname(path), rest.strip()):
                found += _configured(tree, name, depth - 1)
        else:
            found.append(line.partition("=")[0].strip())
    return found


def _matching(tree: Tree, beside: str, pattern: str) -> list[str]:
    """Return the files that an ``include`` means; the pattern's folder is a plain one."""
    from fnmatch import fnmatchcase  # noqa: PLC0415 - here alone

    folder, last = os.path.split(os.path.join(beside, pattern))
    return [f"{folder}/{name}" for name in tree.names(folder) if fnmatchcase(name, last)]


class _Collector:
    """Follows programs to their libraries, each file once."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.folders = library_folders(tree)
        self.parts: dict[str, Part] = {}
        self.known: dict[str, tuple[Optional[Elf], str]] = {}

    def collect(self, paths: Iterable[str]) -> None:
        todo = list(paths)
        while todo:
            path = todo.pop()
            if path not in self.parts:
                part = self.parts[path] = self._part(path)
                todo += [found for _, found in part.needs if found]
                todo += [part.interpreter_at] if part.interpreter_at else []
        self._share()

    def _share(self) -> None:
        """Give a library by a name to those who find none by themselves: once loaded, the loader has it for all."""
        loaded = {name: found for part in self.parts.values() for name, found in part.needs if found}
        for path, part in self.parts.items():
            needs = tuple((name, found or loaded.get(name, "")) for name, found in part.needs)
            self.parts[path] = part._replace(needs=needs)

    def _part(self, path: str) -> Part:
        start = self.tree.start(path, 256)
        if start.startswith(b"#!"):
            words = start[2:].split(b"\n")[0].decode("utf-8", "replace").split()
            return self._with_interpreter(Part(path, None), words[0] if words else "")
        elf, wrong = self._read(path)
        if elf is None:
            return Part(path, None, wrong)
        needs = tuple((name, self._find(name, path, elf)) for name in elf.needed)
        return self._with_interpreter(Part(path, elf, "", "", "", needs), elf.interpreter)

    def _with_interpreter(self, part: Part, interpreter: str) -> Part:
        found = self.tree.resolve(interpreter) if interpreter else None
        return part._replace(interpreter=interpreter, interpreter_at=found or "")

    def _read(self, path: str) -> tuple[Optional[Elf], str]:
        if path not in self.known:
            try:
                self.known[path] = (read_elf(self.tree.outside(path)), "")
            except BrokenElf as error:
                self.known[path] = (None, str(error))
            except (OSError, ValueError) as error:
                self.known[path] = (None, f"it cannot be read: {error}")
        return self.known[path]

    def _find(self, name: str, user: str, elf: Elf) -> str:
        """Return the library that a program gets by a name, one that is broken if there is no better one."""
        if "/" in name:
            return self.tree.resolve(name) or ""
        own = [one.replace("$ORIGIN", os.path.dirname(user)).replace("${ORIGIN}", os.path.dirname(user))
               for one in elf.search]  # fmt: skip
        for folder in (*own, *self.folders):
            path = self.tree.resolve(f"{folder}/{name}")
            if path is not None and self.tree.is_file(path) and self._fits(path, elf):
                return path
        return ""

    def _fits(self, path: str, elf: Elf) -> bool:
        """Say whether the loader would take a file: it goes past one for another machine, not past a broken one."""
        found, _ = self._read(path)
        if found is not None:
            return found.machine == elf.machine
        start = self.tree.start(path, 20)
        other_class = is_elf(start) and start[4:5] == b"\x01"
        return not other_class
