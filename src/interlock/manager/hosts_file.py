"""Reads a list of hosts: CSV with a heading, or JSON (a list of objects). Each bad line is named, and none taken."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from interlock.manager.errors import BadImport
from interlock.manager.inventory import Entry

FIELDS = ("name", "address", "port", "user", "identity", "jump", "sudo", "host_key", "product", "groups", "labels")
YES, NO = ("1", "true", "yes"), ("0", "false", "no", "")
MOST_DEFECTS = 10


def read_hosts(path: str) -> list[Entry]:
    """Return the hosts of a file. Raises BadImport, which names each line that cannot be used."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        rows = list(_rows(text))
    except (OSError, ValueError, csv.Error) as error:
        raise BadImport(file=path, detail=str(error)) from None
    found: dict[str, Entry] = {}
    defects: list[str] = []
    for number, row in rows:
        try:
            entry = _entry(row)
            if entry.name in found:
                raise ValueError(f"the name {entry.name} was there before")
            found[entry.name] = entry
        except ValueError as error:
            defects.append(f"line {number}: {error}")
    if defects or not found:
        more = f"; and {len(defects) - MOST_DEFECTS} more" if len(defects) > MOST_DEFECTS else ""
        raise BadImport(file=path, detail="; ".join(defects[:MOST_DEFECTS]) + more or "it has no hosts")
    return list(found.values())


def _rows(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if text.lstrip().startswith("["):
        for number, row in enumerate(json.loads(text), 1):
            yield number, row
        return
    reader = csv.DictReader(text.splitlines())
    for row in reader:
        yield reader.line_num, row


def _entry(row: Mapping[str, Any]) -> Entry:
    if not isinstance(row, Mapping):
        raise ValueError("it is not an object")
    unknown = sorted(str(name) for name in row if name not in FIELDS)
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not known; known are {', '.join(FIELDS)}")
    words = {name: _word(row, name) for name in ("name", "address", "identity", "jump", "host_key", "product")}
    port, user = _word(row, "port") or "22", _word(row, "user") or "root"
    if not port.isascii() or not port.isdigit() or len(port) > 5:
        raise ValueError(f"port cannot be {port[:20]!r}")
    entry = Entry(
        **words, port=int(port), user=user, sudo=_said(row), labels=_labels(row.get("labels")),
        groups=_groups(row.get("groups")),
    )  # fmt: skip
    entry.check()
    return entry


def _word(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, (dict, list, bool)):
        raise ValueError(f"{name} is not a word")
    return str(value).strip()


def _said(row: Mapping[str, Any]) -> bool:
    value = str(row.get("sudo") or "").strip().lower()
    if value not in (*YES, *NO):
        raise ValueError(f"sudo is neither yes nor no: {value[:20]!r}")
    return value in YES


def _groups(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list) else tuple((value or "").split())


def _labels(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(name): str(text) for name, text in value.items()}
    found: dict[str, str] = {}
    for word in (value or "").split():
        name, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"a label is written key=value, not {word[:40]!r}")
        found[name] = text
    return found
