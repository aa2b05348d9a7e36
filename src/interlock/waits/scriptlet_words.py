"""Finds what scriptlets do to the package database themselves: commands that install or remove packages. Pure.

A small part of the shell's grammar is enough: where a command begins, its words, and what it is given. Text that is
only printed, or that asks (``rpm -q``), is no such command.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MANAGERS = frozenset({"dnf", "dnf5", "yum", "microdnf", "tdnf", "zypper"})
INSTALL = frozenset({"install", "localinstall", "reinstall", "in", "upgrade", "update", "up", "localupdate"})
REMOVE = frozenset({"remove", "erase", "rm"})
# Words before which a command begins, or which are followed by one.
BEFORE = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "{", "exec", "nohup", "setsid", "time"})
OPENS = frozenset({"if", "case", "while", "until", "for"})
CLOSES = frozenset({"fi", "esac", "done"})
SEPARATORS = frozenset("();<>|&\n")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_COMMENT = re.compile(r"(?:^|(?<=[\s;]))#.*$", re.MULTILINE)
_HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1([^\n]*)\n.*?^\s*\2$", re.MULTILINE | re.DOTALL)
_CLUSTER = re.compile(r"-[A-Za-z]+$")
_ASKS = frozenset({"--query", "--verify", "--checksig", "--import", "--eval", "--version", "--test", "--showrc"})


class Call(NamedTuple):
    """A command of a scriptlet: ``verb`` is install or remove, ``things`` what it is given, ``text`` all its words.

    ``always`` is false where it stands under a condition, so that nobody can say whether it was run at all.
    """

    verb: str
    things: tuple[str, ...]
    text: str
    always: bool = True


def calls(script: str) -> Iterator[Call]:
    """Yield the commands of a scriptlet that install or remove packages."""
    for words, always in commands(script):
        program = os.path.basename(words[0])
        found = _rpm(words) if program == "rpm" else _manager(words) if program in MANAGERS else ()
        yield from (call._replace(always=always) for call in found)


def commands(script: str) -> Iterator[tuple[list[str], bool]]:
    """Yield the simple commands of a shell script, and whether each is run in any case.

    What stands before the first word of a command (``if``, an assignment) is left out.
    """
    words: list[str] = []
    depth, chained, redirected = 0, False, False
    for token in (*_tokens(script), "\n"):
        if not set(token) <= SEPARATORS:
            words, redirected = words if redirected else [*words, token], False
        elif set(token) & set("<>"):
            redirected = True
            # A descriptor's number belongs to the redirection.
            words = words[:-1] if words[-1:] and words[-1].isdigit() else words
        else:
            depth += sum(word in OPENS for word in words[:1])
            yield from ((simple, not depth and not chained) for simple in _simple(words))
            depth -= sum(word in CLOSES for word in words[:1])
            chained, words = "&&" in token or "||" in token, []


def _tokens(script: str) -> list[str]:
    text = _COMMENT.sub("", _HERE.sub(r"\3", script.replace("\\\n", " "))).replace("$(", "\n(").replace("`", "\n")
    try:
        return _split(text)
    except ValueError:
        # A quotation mark without its fellow: line by line, the others can still be read.
        return [token for line in text.splitlines() for token in (*_line(line), "\n")]


def _line(line: str) -> list[str]:
    try:
        return _split(line)
    except ValueError:
        return []


def _split(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    return list(lexer)


def _simple(words: Sequence[str]) -> Iterator[list[str]]:
    for number, word in enumerate(words):
        if word not in BEFORE and not _ASSIGNMENT.match(word):
            yield list(words[number:])
            return


def _rpm(words: Sequence[str]) -> Iterator[Call]:
    options = [word for word in words[1:] if word.startswith("-")]
    clusters = {letter for word in options if _CLUSTER.match(word) for letter in word[1:]}
    if clusters & set("qVKE") or _ASKS & set(options):
        return
    things = tuple(word for word in words[1:] if not word.startswith("-"))
    if clusters & set("iUF") or {"--install", "--upgrade", "--freshen", "--reinstall"} & set(options):
        yield Call("install", things, " ".join(words))
    elif "e" in clusters or "--erase" in options:
        yield Call("remove", things, " ".join(words))


def _manager(words: Sequence[str]) -> Iterator[Call]:
    plain = [word for word in words[1:] if not word.startswith("-")]
    if not plain:
        return
    for verb, names in (("install", INSTALL), ("remove", REMOVE)):
        if plain[0] in names:
            yield Call(verb, tuple(plain[1:]), " ".join(words))
