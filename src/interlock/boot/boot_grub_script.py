"""Reads ``grub.cfg`` as GRUB would run it: its conditions are decided, its variables set, its menu collected.

It is a script. What is understood of it is what the generators of distributions write: ``if`` with tests of texts,
``set``, ``menuentry`` and ``submenu`` blocks, ``blscfg``. Tests of files count as false, commands as successful, and
functions are not run: none of these decides what is booted.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Optional

from interlock.boot.boot_entry import Entry, fill_in

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

LINUX = frozenset({"linux", "linux16", "linuxefi"})
INITRD = frozenset({"initrd", "initrd16", "initrdefi"})
HYPERVISOR = frozenset({"multiboot", "multiboot2", "xen_hypervisor"})
MODULE = frozenset({"module", "module2", "xen_module"})
SEPARATORS = frozenset({";", "&&", "||", "&", "|", ";;"})
ID_OPTIONS = ("$menuentry_id_option", "${menuentry_id_option}", "--id")
# What every GRUB of the last ten years can do.
FEATURES = ("menuentry_id", "timeout_style", "all_video_module", "platform_search_hint", "default_font_path")


class Menu(NamedTuple):
    """An entry with the ways to name it: by number, id or title, after those of its submenu (``1>2``)."""

    places: tuple[str, ...]
    entry: Entry


class Script(NamedTuple):
    """What came of a script: its menu, and its variables; of these ``default`` says what is booted."""

    menus: tuple[Menu, ...]
    variables: dict[str, str]


def read_script(text: str, path: str, environment: Mapping[str, str], entries: Sequence[Entry] = ()) -> Script:
    """Read ``grub.cfg``; ``environment`` are the variables it begins with, ``entries`` those that ``blscfg`` reads."""
    reader = _Reader(path, {**{f"feature_{name}": "y" for name in FEATURES}, **environment}, entries)
    for line in text.replace("\\\n", " ").splitlines():
        for words in _commands(line):
            reader.take(words)
    return Script(tuple(reader.menus), reader.variables)


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the commands in a line."""
    if not line.strip() or line.lstrip().startswith("#"):
        return
    command: list[str] = []
    for word in _words(line):
        if word in SEPARATORS:
            yield command
            command = []
        else:
            command.append(word)
    yield command


def _words(line: str) -> list[str]:
    reader = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    reader.whitespace_split, reader.commenters = True, ""
    try:
        return list(reader)
    except ValueError:
        return line.split()


class _Reader:
    """Runs the script, one command at a time."""

    def __init__(self, path: str, variables: dict[str, str], entries: Sequence[Entry]) -> None:
        self.path = path
        self.variables = variables
        self.entries = entries
        self.menus: list[Menu] = []
        # Open conditions: whether this branch is taken, and whether one has been.
        self.branches: list[tuple[bool, bool]] = []
        # Open submenus: what stands before the names in them; and how many entries each menu has.
        self.prefixes: list[tuple[str, ...]] = [("",)]
        self.counts = [0]
        self.blocks: list[str] = []
        self.open: Optional[Menu] = None

    def take(self, words: list[str]) -> None:
        """Run one command."""
        while words and words[0] in ("then", "do"):
            words = words[1:]
        if not words:
            return
        if words[0] == "}":
            self._end()
        elif "skip" in self.blocks:
            self.blocks += ["skip"] if words[-1] == "{" else []
        elif words[0] in ("if", "elif", "else", "fi"):
            self._branch(words)
            if words[0] == "else":
                self.take(words[1:])
        elif not all(taken for taken, _ in self.branches) or words[0] == "function":
            self.blocks += ["skip"] if words[-1] == "{" else []
        else:
            self._run(words)

    def _branch(self, words: list[str]) -> None:
        if words[0] == "if":
            taken = self._holds(words[1:])
            self.branches.append((taken, taken))
        elif words[0] == "fi":
            self.branches = self.branches[:-1]
        elif self.branches:
            _, before = self.branches.pop()
            taken = not before and (words[0] == "else" or self._holds(words[1:]))
            self.branches.append((taken, before or taken))

    def _holds(self, words: list[str]) -> bool:
        """Decide a test; what is no test is a command, which succeeds."""
        if words[:1] not in (["["], ["test"]):
            return True
        inside = [fill_in(word, self.variables) for word in words[1:] if word != "]"]
        return any(all(_is_so(term) for term in _split(part, "-a")) for part in _split(inside, "-o"))

    def _run(self, words: list[str]) -> None:
        command = words[0]
        if command in ("menuentry", "submenu") and "{" in words and len(words) > 2:
            at = words.index("{")
            self._begin(command, words[:at])
            # All of it may stand in one line.
            self.take([word for word in words[at + 1 :] if word != "}"])
            self.take(["}"] if "}" in words[at + 1 :] else [])
        elif words[-1] == "{":
            self.blocks.append("block")
        elif command == "blscfg":
            self.menus += [Menu(self._places(one.id, one.title), one) for one in self.entries]
        elif command == "set" or "=" in command:
            self._set((words[1] if command == "set" and len(words) > 1 else command).partition("="))
        elif self.open is not None:
            self.open = self.open._replace(entry=_with(self.open.entry, command, words[1:]))

    def _begin(self, command: str, words: list[str]) -> None:
        title, ident = words[1] if len(words) > 1 else "", _identifier(words)
        places = self._places(ident, title)
        self.blocks.append(command)
        if command == "submenu":
            self.prefixes.append(tuple(f"{place}>" for place in places))
            self.counts.append(0)
        else:
            self.open = Menu(places, Entry(ident or title, title, self.path))

    def _places(self, ident: str, title: str) -> tuple[str, ...]:
        """Return the ways to name the next entry of the innermost menu."""
        number = str(self.counts[-1])
        self.counts[-1] += 1
        return tuple(prefix + name for prefix in self.prefixes[-1] for name in (number, ident, title) if name)

    def _end(self) -> None:
        block = self.blocks.pop() if self.blocks else ""
        if block == "submenu":
            self.prefixes.pop()
            self.counts.pop()
        elif block == "menuentry" and self.open is not None:
            self.menus.append(self.open)
            self.open = None

    def _set(self, setting: tuple[str, str, str]) -> None:
        name, mark, value = setting
        if mark and self.open is None:
            self.variables[name] = fill_in(value, self.variables)
        elif mark and name != "default":
            # Done when the entry is chosen: of use to its own commands only.
            self.variables.setdefault(name, value)


def _split(words: list[str], mark: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == mark:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _is_so(term: list[str]) -> bool:
    """Decide one test of texts."""
    if term[:1] == ["!"]:
        return not _is_so(term[1:])
    if len(term) == 3 and term[1] in ("=", "==", "-eq"):
        return term[0] == term[2]
    if len(term) == 3 and term[1] in ("!=", "-ne"):
        return term[0] != term[2]
    if term[:1] == ["-z"]:
        return not any(term[1:])
    if term[:1] == ["-n"] or len(term) == 1:
        return any(term[-1:]) if len(term) > 1 or term[0] != "-n" else False
    return False


def _identifier(words: list[str]) -> str:
    for mark in ID_OPTIONS:
        if mark in words[:-1]:
            return words[words.index(mark) + 1]
    return next((word[5:] for word in words if word.startswith("--id=")), "")


def _with(entry: Entry, command: str, words: list[str]) -> Entry:
    """Return an entry with one of its commands understood."""
    words = [word for word in words if word not in ("--nounzip", "--")]
    if command in LINUX and words:
        return entry._replace(kernel=words[0], options=" ".join(words[1:]))
    if command in HYPERVISOR and words:
        return entry._replace(hypervisor=words[0])
    if command in MODULE and words:
        if not entry.kernel:
            return entry._replace(kernel=words[0], options=" ".join(words[1:]))
        return entry._replace(initramfs=(*entry.initramfs, words[0]))
    if command in INITRD:
        return entry._replace(initramfs=(*entry.initramfs, *words))
    return entry
