"""What the lab knows of its hosts: one JSON file each, written whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Optional

from interlock.lab.cache import Cache
from interlock.lab.errors import BadHostName, UnknownHost
from interlock.system.durable import write_file
from interlock.system.proc import ProcessId, ProcReader

_NAME = re.compile(r"^[a-z][a-z0-9-]{0,38}[a-z0-9]$|^[a-z]$")


@dataclass(frozen=True)
class HostRecord:
    """One host. ``maker`` is set while a command is making it, ``keeper`` while it runs."""

    name: str
    release: str
    address: str
    created: str
    agents: tuple[str, ...] = ()
    filesystem: str = "btrfs"
    maker: Optional[ProcessId] = None
    keeper: Optional[ProcessId] = None

    def with_keeper(self, keeper: Optional[ProcessId]) -> HostRecord:
        """Return this record for another keeper, with the making done."""
        return replace(self, keeper=keeper, maker=None)


def check_name(name: str) -> str:
    """Return ``name`` if a host may have it."""
    if not _NAME.match(name):
        raise BadHostName(name=name)
    return name


def record_to_json(record: HostRecord) -> dict[str, Any]:
    """Return a JSON object of a record."""
    processes = {"maker": record.maker, "keeper": record.keeper}
    return {**asdict(record), **{name: one and one._asdict() for name, one in processes.items()}}


def record_from_json(row: Mapping[str, Any]) -> HostRecord:
    """Read what ``record_to_json`` wrote."""
    maker, keeper = (ProcessId(**row[key]) if row[key] else None for key in ("maker", "keeper"))
    agents, filesystem = tuple(row["agents"]), row.get("filesystem", "btrfs")
    return HostRecord(row["name"], row["release"], row["address"], row["created"], agents, filesystem, maker, keeper)


def _path(cache: Cache, name: str) -> Path:
    return cache.state / f"{name}.json"


def save(cache: Cache, record: HostRecord) -> None:
    """Write a host's record."""
    write_file(str(_path(cache, record.name)), json.dumps(record_to_json(record), indent=1) + "\n")


def forget(cache: Cache, name: str) -> None:
    """Remove a host's record."""
    _path(cache, name).unlink(missing_ok=True)


def load_all(cache: Cache) -> list[HostRecord]:
    """Return all hosts, in order of their names."""
    found = []
    for path in sorted(cache.state.glob("*.json")):
        try:
            found.append(record_from_json(json.loads(path.read_text())))
        except (ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
    return found


def load(cache: Cache, name: str) -> HostRecord:
    """Return one host, or say which there are."""
    known = {record.name: record for record in load_all(cache)}
    if name not in known:
        raise UnknownHost(name=name, known=", ".join(known) or "none")
    return known[name]


def runs(record: HostRecord, proc: ProcReader) -> bool:
    """Say whether the process that keeps a host up is alive."""
    return record.keeper is not None and proc.alive(record.keeper)


def is_being_made(record: HostRecord, proc: ProcReader) -> bool:
    """Say whether a living command is making this host."""
    return record.maker is not None and proc.alive(record.maker)
