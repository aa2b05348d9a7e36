"""What faces share: printing for people and for programs, tables, consent."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Optional, TextIO

from interlock.errors import InterlockError, UsageError

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def clean(text: str) -> str:
    """Return a text without what a terminal would obey, or turn around: names come from depots, and from strangers."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text)


def say(text: str = "") -> None:
    """Print a line for people."""
    print(clean(text), flush=True)


def print_json(value: Any) -> None:
    """Print one JSON value for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=True), flush=True)


def print_error(error: InterlockError, as_json: bool) -> None:
    """Print an error: for programs on stdout, for people on stderr with the next step."""
    if as_json:
        print_json(error.as_dict())
    else:
        print(clean(f"interlock: {error}\n  → {error.advice}"), file=sys.stderr, flush=True)


def say_end(event: dict[str, Any]) -> None:
    """Print how an operation ended: well on stdout, else as an error with the next step."""
    if event["exit_status"] == 0:
        say(f"{event['state']}: {event['message']}")
    else:
        hint = f"\n  → {event['hint']}" if event["hint"] else ""
        print(clean(f"interlock: {event['message']}{hint}"), file=sys.stderr, flush=True)


def count(number: int, word: str) -> str:
    """Say a number of things: ``1 upgrade``, ``2 upgrades``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def size(number: float) -> str:
    """Say a number of bytes as people do."""
    for unit in UNITS[:-1]:
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {UNITS[-1]}"


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]], indent: str = "  ") -> list[str]:
    """Return rows as aligned columns under their headings."""
    cells = [[str(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return [(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths))).rstrip() for row in cells]


def consent(question: str, given: bool, stream: Optional[TextIO] = None) -> bool:
    """Ask a person; True where ``--yes`` was given. UsageError where nobody is there to answer."""
    if given:
        return True
    source = stream or sys.stdin
    if stream is None and not sys.stdin.isatty():
        raise UsageError(detail="nobody can be asked for consent here (no terminal): add --yes, or --dry-run")
    print(f"{question} [y/N] ", end="", flush=True)
    return source.readline().strip().lower() in ("y", "yes")
