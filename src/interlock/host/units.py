"""What systemd knows of units, asked in one call; and the names that we put before an administrator's own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from interlock.host.context import Host
from interlock.system import durable

SHOW_LIMIT = 20.0
RELOAD_LIMIT = 60.0
NOWHERE = "/dev/null"
PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "Type", "BusName", "MainPID", "TriggeredBy",
    "After", "CanStart",
)  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """One unit as it is: ``active`` and ``sub`` are its states, ``file_state`` is enabled, masked, static...

    ``triggers`` are timers, sockets and paths that start it; ``after`` those that it starts after.
    """

    name: str
    loaded: str
    active: str
    sub: str
    file_state: str = ""
    kind: str = ""
    bus_name: str = ""
    main_pid: int = 0
    triggers: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it has processes, or waits to start some."""
        if self.active in ("active", "reloading"):
            # What has exited and counts as active has no process that could open a database.
            return self.sub != "exited"
        return self.active == "activating"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, for ``from_json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Unit:
        """Read what ``to_json`` wrote."""
        found = cls(**row)
        return replace(found, triggers=tuple(found.triggers), after=tuple(found.after))


def read_units(host: Host, names: Sequence[str]) -> dict[str, Unit]:
    """Return the units of these names, in their order; what systemd does not know is left out."""
    if not names or not os.path.isdir(host.paths.systemd):
        return {}
    argv = ["systemctl", "show", "--no-pager", f"--property={','.join(PROPERTIES)}", "--", *names]
    said = host.runner.run(argv, timeout=SHOW_LIMIT, check=False).stdout
    blocks = [_properties(block) for block in said.split("\n\n") if block.strip()]
    found = {name: _unit(name, block) for name, block in zip(names, blocks)}
    return {name: unit for name, unit in found.items() if unit.loaded not in ("not-found", "")}


def _properties(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.strip().splitlines())
    return {key: value for key, _, value in pairs}


def _unit(name: str, block: Mapping[str, str]) -> Unit:
    words = {key: tuple(block.get(key, "").split()) for key in ("TriggeredBy", "After")}
    return Unit(
        name, block.get("LoadState", ""), block.get("ActiveState", ""), block.get("SubState", ""),
        block.get("UnitFileState", ""), block.get("Type", ""), block.get("BusName", ""),
        int(block.get("MainPID", "0") or 0), words["TriggeredBy"], words["After"],
    )  # fmt: skip


def stop_order(units: Iterable[Unit], after: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return units in groups to be stopped one after the other: what starts others first, then dependents first.

    ``after`` adds to what systemd itself knows of who starts after whom.
    """
    units = list(units)
    starters = [one.name for one in units if not one.name.endswith(".service")]
    services = {one.name: {*one.after, *after.get(one.name, ())} for one in units if one.name.endswith(".service")}
    groups = [starters] if starters else []
    while services:
        needed = {name for own in services for name in services[own] if name != own}
        # Those that nobody left starts after; in a circle, all of them.
        free = [name for name in services if name not in needed] or list(services)
        groups.append(free)
        services = {name: rest for name, rest in services.items() if name not in free}
    return groups


def start_order(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the groups of ``stop_order`` to be started: sockets before their services, timers and paths last."""
    names = [name for group in groups for name in group]
    sockets = [name for name in names if name.endswith(".socket")]
    others = [name for name in names if not name.endswith((".socket", ".service"))]
    services = [[name for name in group if name.endswith(".service")] for group in reversed(groups)]
    return [group for group in (sockets, *services, others) if group]


def forbid(host: Host, names: Sequence[str]) -> None:
    """Have systemd start none of these units, for this boot, whoever asks; their own files stay as they are."""
    folder = f"{host.paths.systemd}.control"
    os.makedirs(folder, exist_ok=True)
    for name in names:
        path = os.path.join(folder, name)
        if not os.path.lexists(path):
            os.symlink(NOWHERE, path)
    _reload(host, names)


def allow(host: Host, names: Sequence[str]) -> None:
    """Take back what ``forbid`` did."""
    for name in names:
        path = os.path.join(f"{host.paths.systemd}.control", name)
        if os.path.islink(path) and os.readlink(path) == NOWHERE:
            durable.remove_file(path)
    _reload(host, names)


def _reload(host: Host, names: Sequence[str]) -> None:
    if names:
        host.runner.run(["systemctl", "daemon-reload"], timeout=RELOAD_LIMIT, check=False)
