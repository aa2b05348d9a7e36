"""Scriptlets that install packages by themselves: what of that has not come about, and that nobody would notice.

A transaction holds rpm's lock, so that rpm in a scriptlet fails at once ("can't create transaction lock"), dnf after
it has done all the rest; most scriptlets ignore it, and rpm reports success. Here such commands are found in the text
of a scriptlet, and what they were to install is compared with what is there at the end. A command that is put together
at run time cannot be read; the message that rpm prints then still shows that there was one.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from interlock.errors import InterlockError
from interlock.system.run import Runner

REFUSED = "can't create transaction lock"
QUERY_LIMIT = 30.0
SECTIONS = (
    ("PRETRANS", "%pretrans"), ("PREIN", "%pre"), ("POSTIN", "%post"), ("POSTTRANS", "%posttrans"),
    ("PREUN", "%preun"), ("POSTUN", "%postun"),
)  # fmt: skip
_FRONT_ENDS = frozenset({"dnf", "dnf-3", "dnf5", "microdnf", "yum", "zypper"})
_INSTALL = frozenset({"install", "in", "localinstall", "reinstall", "update", "upgrade", "up"})
_MENTIONED = re.compile(r"\b(?:rpm|dnf|dnf-3|dnf5|microdnf|yum|zypper)\b")
_BREAK = ";"
_REDIRECTION = re.compile(r"[0-9]*[<>]+&?[ \t]*[^\s;|&()]*")
_DEEPEST = 3


class Nested(NamedTuple):
    """A command of a scriptlet that is to install something. ``wanted`` are package files and names."""

    package: str
    script: str
    command: str
    wanted: tuple[str, ...]


def nested_commands(package: str, script: str, text: str) -> list[Nested]:
    """Return the commands of a scriptlet that are to install packages."""
    if not _MENTIONED.search(text):
        return []
    joined = text.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if not line.lstrip().startswith("#")]
    plain = _REDIRECTION.sub(" ", "\n".join(lines))
    return [Nested(package, script, command, wanted) for command, wanted in _commands(plain) if wanted]


def _commands(text: str, depth: int = 0) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each command that installs something, with what it names; a quoted command of a command, too."""
    try:
        words = [_BREAK if word.strip(";|&()") == "" else word for word in _words(text)]
    except ValueError:
        # A quotation mark that is none: what stands between blanks will do.
        words = re.sub(r"([;|&()`]+)", f" {_BREAK} ", text).split()
    for position, word in enumerate(words):
        rest = list(itertools.takewhile(lambda one: one != _BREAK, words[position + 1 :]))
        name = os.path.basename(word)
        if (name == "rpm" and _rpm_installs(rest)) or (name in _FRONT_ENDS and _INSTALL & set(rest)):
            yield " ".join([word, *rest]), tuple(_wanted(rest))
        elif " " in word and depth < _DEEPEST:
            yield from _commands(word, depth + 1)


def _words(text: str) -> list[str]:
    """Return the words of a shell script; what parts commands is a word of its own."""
    split = shlex.shlex(text.replace("\n", " ; "), posix=True, punctuation_chars=";|&()`")
    split.whitespace_split, split.commenters = True, ""
    return list(split)


def _rpm_installs(words: Sequence[str]) -> bool:
    if {"--install", "--upgrade", "--freshen", "--reinstall"} & set(words):
        return True
    first = next((word for word in words if re.match(r"-[A-Za-z]", word)), "")
    return bool(first) and first[1] in "iUF" and "q" not in first and "-q" not in words


def _wanted(words: Sequence[str]) -> list[str]:
    """Return what a command names: no options, no redirections, nothing that the shell would only fill in."""
    return [word for word in words if not word.startswith(("-", "$")) and word not in _INSTALL]


def missing(runner: Runner, wanted: Iterable[str], nevras: Sequence[str]) -> list[str]:
    """Return those of the wanted packages that are not among the installed ones."""
    names = {nevra.rpartition("-")[0].rpartition("-")[0] for nevra in nevras}
    found: list[str] = []
    for one in wanted:
        if "/" in one or one.endswith(".rpm"):
            found += [nevra for nevra in _in_files(runner, one) if nevra not in nevras]
        elif re.fullmatch(r"[A-Za-z0-9][\w.+-]*", one) and one not in names and not _is_nevra(one, nevras):
            found.append(one)
    return list(dict.fromkeys(found))


def _is_nevra(text: str, nevras: Sequence[str]) -> bool:
    return any(nevra == text or nevra.startswith(f"{text}.") or nevra.startswith(f"{text}-") for nevra in nevras)


def _in_files(runner: Runner, pattern: str) -> list[str]:
    """Return the NEVRA of a package file; its path where rpm cannot read it, nothing where there is no such file."""
    if not os.path.isfile(pattern):
        return [] if set(pattern) & set("*?[$") or "://" in pattern else [pattern]
    try:
        done = runner.run(["rpm", "-qp", "--nosignature", "--qf", "%{NEVRA}\\n", pattern], timeout=QUERY_LIMIT)
    except (InterlockError, OSError):
        return [pattern]
    return done.stdout.split() or [pattern]
