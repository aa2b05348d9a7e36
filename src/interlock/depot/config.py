"""Depots that have a name: ``/etc/interlock/depots.d/NAME.json``, so that ``--depot NAME`` says all of it.

An object with ``locations`` (the mirrors of one depot, best first), and if need be ``proxy`` (a URL, or ``none`` to use
none in spite of the environment), and ``trust`` (see `interlock.depot.trust`). A slip of the pen is an error.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from interlock.depot.trust import TrustPolicy
from interlock.depot.trust_errors import BadDepotConfig
from interlock.system.durable import remove_file, write_file

DIRECTORY = "/etc/interlock/depots.d"
NO_PROXY = "none"
FILE_LIMIT = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_FIELDS = ("locations", "proxy", "trust")


@dataclass(frozen=True)
class NamedDepot:
    """One depot: where it is (mirrors, best first), through which proxy, and what is demanded of it."""

    name: str
    locations: tuple[str, ...]
    proxy: str = ""
    trust: TrustPolicy = field(default_factory=TrustPolicy)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, for ``from_json``."""
        row: dict[str, Any] = {"locations": list(self.locations), "trust": self.trust.to_json()}
        return {**row, "proxy": self.proxy} if self.proxy else row

    @classmethod
    def from_json(cls, name: str, row: object) -> NamedDepot:
        """Read a configuration; ValueError names what is wrong with it."""
        if not isinstance(row, Mapping):
            raise ValueError("it is not an object")
        unknown = sorted(str(one) for one in row if one not in _FIELDS)
        if unknown:
            raise ValueError(f"it has unknown names: {', '.join(unknown)}")
        places, proxy = row.get("locations"), row.get("proxy", "")
        if not isinstance(places, list) or not places or not all(isinstance(one, str) and one for one in places):
            raise ValueError("locations is not a list of directories or URLs")
        if not isinstance(proxy, str) or (proxy not in ("", NO_PROXY) and "://" not in proxy):
            raise ValueError("proxy is neither a URL nor none")
        return cls(name, tuple(places), proxy, TrustPolicy.from_json(row.get("trust", {})))


def is_name(text: str) -> bool:
    """Say whether a depot can have this name; paths and URLs cannot be one."""
    return bool(_NAME.match(text))


def read_config(directory: str, name: str) -> Optional[NamedDepot]:
    """Return the depot of this name, or None where there is none. Raises BadDepotConfig."""
    if not is_name(name):
        return None
    path = path_of(directory, name)
    try:
        with open(path, "rb") as stream:
            content = stream.read(FILE_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadDepotConfig(file=path, detail=error.strerror or str(error)) from None
    try:
        return NamedDepot.from_json(name, json.loads(content))
    except (ValueError, RecursionError) as error:
        raise BadDepotConfig(file=path, detail=str(error)) from None


def names(directory: str) -> list[str]:
    """Return the names of the depots that are configured."""
    try:
        found = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(one[:-5] for one in found if one.endswith(".json") and is_name(one[:-5]))


def write_config(directory: str, depot: NamedDepot) -> None:
    """Write down a depot, durably, in the place of what had its name."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    write_file(path_of(directory, depot.name), json.dumps(depot.to_json(), indent=1) + "\n")


def remove_config(directory: str, name: str) -> bool:
    """Remove a depot's configuration; False where there is none."""
    if not is_name(name) or not os.path.exists(path_of(directory, name)):
        return False
    remove_file(path_of(directory, name))
    return True


def path_of(directory: str, name: str) -> str:
    """Return the file of a depot."""
    return os.path.join(directory, f"{name}.json")
