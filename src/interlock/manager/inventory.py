"""The hosts that are known: how to reach each, its groups and labels, and what was last seen of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Optional

from sqlalchemy import Connection, Engine, delete, insert, select, update

from interlock.manager.errors import HostNotListed, HostThere
from interlock.manager.tables import GROUPS, HOSTS

NEW, REACHABLE, FAILED, NOT_OURS = "new", "reachable", "failed", "not-ours"
PORT, USER = 22, "root"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?\Z")
_ADDRESS = re.compile(r"[A-Za-z0-9:._%-]{1,255}\Z")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,62}\Z")
BATCH = 500


@dataclass(frozen=True)
class Entry:
    """One host, as an administrator describes it. ``product`` is set for what is no RPM system, and never asked."""

    name: str
    address: str = ""
    port: int = PORT
    user: str = USER
    identity: str = ""
    jump: str = ""
    sudo: bool = False
    host_key: str = ""
    product: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise ValueError, which names the field, where one cannot be."""
        for name, value, pattern in (
            ("name", self.name, _NAME), ("address", self.address or self.name, _ADDRESS), ("user", self.user, _WORD),
            ("jump", self.jump or "x", _NAME),
        ):  # fmt: skip
            if not pattern.match(value):
                raise ValueError(f"{name} cannot be {value[:80]!r}")
        if not 0 < self.port < 65536:
            raise ValueError(f"port cannot be {self.port}")
        for word in (*self.groups, *self.labels):
            if not _WORD.match(word):
                raise ValueError(f"a group or label cannot be {word[:80]!r}")

    def to_row(self) -> dict[str, Any]:
        """Return the columns of the table of hosts."""
        row = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("groups", "labels")}
        state = {"state": NOT_OURS} if self.product else {}
        return {**row, **state, "address": self.address or self.name, "labels": dict(self.labels)}


@dataclass(frozen=True)
class Known:
    """A host of the inventory: the entry, and what was seen of it. ``seen_at`` is in seconds since 1970."""

    id: int
    entry: Entry
    state: str = NEW
    reason: str = ""
    seen_at: Optional[float] = None
    package_set: Optional[int] = None
    facts: Optional[Mapping[str, Any]] = None
    status: Optional[Mapping[str, Any]] = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; the host's key is left to ``show``."""
        entry = self.entry
        product = entry.product or _product(self.facts)
        return {
            "name": entry.name, "address": entry.address, "port": entry.port, "user": entry.user, "jump": entry.jump,
            "sudo": entry.sudo, "groups": list(entry.groups), "labels": dict(entry.labels), "product": product,
            "state": self.state, "reason": self.reason, "seen_at": self.seen_at, "pinned": bool(entry.host_key),
        }  # fmt: skip


def _product(facts: Optional[Mapping[str, Any]]) -> str:
    found = (facts or {}).get("product") or {}
    return " ".join(str(found[name]) for name in ("name", "version") if found.get(name))


def add(engine: Engine, entry: Entry) -> None:
    """Add one host. Raises ValueError, HostThere."""
    entry.check()
    with engine.begin() as connection:
        if _ids(connection, [entry.name]):
            raise HostThere(host=entry.name)
        _put(connection, [entry])


def bring(engine: Engine, entries: Sequence[Entry]) -> tuple[int, int]:
    """Add hosts, or bring what is known of them up to date; return how many were added and changed. All or none."""
    for entry in entries:
        entry.check()
    with engine.begin() as connection:
        known = _ids(connection, [one.name for one in entries])
        _put(connection, [one for one in entries if one.name not in known])
        _change(connection, {known[one.name]: one for one in entries if one.name in known})
    return len(entries) - len(known), len(known)


def _ids(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(names), BATCH):
        rows = connection.execute(
            select(HOSTS.c.name, HOSTS.c.id).where(HOSTS.c.name.in_(names[start : start + BATCH]))
        )
        found.update({str(row.name): int(row.id) for row in rows})
    return found


def _put(connection: Connection, entries: Sequence[Entry]) -> None:
    if not entries:
        return
    connection.execute(insert(HOSTS), [{"state": NEW, **one.to_row()} for one in entries])
    ids = _ids(connection, [one.name for one in entries])
    _group(connection, {ids[one.name]: one.groups for one in entries})


def _change(connection: Connection, entries: Mapping[int, Entry]) -> None:
    for number, entry in entries.items():
        row = entry.to_row()
        if not entry.host_key:
            # A file without keys does not take away what somebody has pinned.
            row.pop("host_key")
        connection.execute(update(HOSTS).where(HOSTS.c.id == number).values(**row))
        connection.execute(delete(GROUPS).where(GROUPS.c.host == number))
    _group(connection, {number: entry.groups for number, entry in entries.items()})


def _group(connection: Connection, groups: Mapping[int, Iterable[str]]) -> None:
    rows = [{"host": number, "name": name} for number, some in groups.items() for name in dict.fromkeys(some)]
    if rows:
        connection.execute(insert(GROUPS), rows)


def remove(engine: Engine, name: str) -> None:
    """Remove a host from the inventory; the host itself is not touched. Raises HostNotListed."""
    with engine.begin() as connection:
        if not connection.execute(delete(HOSTS).where(HOSTS.c.name == name)).rowcount:
            raise HostNotListed(host=name)


def pin(engine: Engine, name: str, host_key: str) -> None:
    """Pin a host's ssh key. Raises HostNotListed."""
    with engine.begin() as connection:
        if not connection.execute(update(HOSTS).where(HOSTS.c.name == name).values(host_key=host_key)).rowcount:
            raise HostNotListed(host=name)


def choose(
    engine: Engine, names: Collection[str] = (), groups: Collection[str] = (), labels: Mapping[str, str] | None = None
) -> list[Known]:
    """Return the hosts of these names, or all; narrowed to those in one of ``groups`` with all ``labels``.

    Raises HostNotListed for a name that nobody has.
    """
    with engine.connect() as connection:
        members: dict[int, list[str]] = {}
        for row in connection.execute(select(GROUPS).order_by(GROUPS.c.name)):
            members.setdefault(int(row.host), []).append(str(row.name))
        found = [_known(row, members) for row in connection.execute(select(HOSTS).order_by(HOSTS.c.name))]
    there = {one.entry.name for one in found}
    for name in names:
        if name not in there:
            raise HostNotListed(host=name)
    return [
        one
        for one in found
        if (not names or one.entry.name in names)
        and (not groups or set(groups) & set(one.entry.groups))
        and all(one.entry.labels.get(key) == value for key, value in (labels or {}).items())
    ]


def find(engine: Engine, name: str) -> Known:
    """Return one host. Raises HostNotListed."""
    with engine.connect() as connection:
        row = connection.execute(select(HOSTS).where(HOSTS.c.name == name)).first()
        if row is None:
            raise HostNotListed(host=name)
        names = connection.execute(select(GROUPS.c.name).where(GROUPS.c.host == row.id).order_by(GROUPS.c.name))
        return _known(row, {row.id: [str(one.name) for one in names]})


class Entries:
    """Hosts by name, each read when it is asked for: the jump hosts of one are few, the hosts of a fleet are not."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def get(self, name: str) -> Optional[Entry]:
        """Return the entry of a host, or None."""
        try:
            return find(self.engine, name).entry
        except HostNotListed:
            return None


def _known(row: Any, members: Mapping[int, Sequence[str]]) -> Known:
    entry = Entry(
        row.name, row.address, row.port, row.user, row.identity, row.jump, row.sudo, row.host_key, row.product,
        row.labels, tuple(members.get(row.id, ())),
    )  # fmt: skip
    return Known(row.id, entry, row.state, row.reason, row.seen_at, row.package_set, row.facts, row.status)
