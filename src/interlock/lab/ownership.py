"""Decides which package owns which path of a tree, and how it is marked. Pure but for the walk over the tree."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from interlock.lab.accounts import Accounts
from interlock.lab.debs import Deb, canonical

SETUP = "lab-setup"
RELEASE_PACKAGE = "lab-release"

# The package manager of the tree's origin, what only it needs, and what would bring it back. A host of the lab is
# managed by rpm alone.
DROPPED = (
    "apt", "dpkg", "debconf", "cdebconf", "debian-archive-keyring", "gpgv", "sqv", "ucf", "adduser",
    "init-system-helpers", "sensible-utils", "libdebconfclient0", "libtext-charwidth-perl", "libtext-wrapi18n-perl",
)  # fmt: skip
DROPPED_PREFIXES = ("libapt-pkg",)

# Mount points and what a running system makes for itself: nobody owns these.
RUNTIME_TREES = (
    "/proc", "/sys", "/dev", "/run", "/tmp/", "/var/tmp/", "/var/lib/rpm/", "/var/cache/ldconfig", "/root/.ssh",
    "/var/lib/systemd/", "/var/log/journal", "/srv/",
)  # fmt: skip

# Files whose contents belong to the host: owned, never replaced, not verified.
GHOSTS: Mapping[str, str] = {
    "/etc/ld.so.cache": "libc-bin",
    "/etc/machine-id": "systemd",
    "/var/lib/dbus/machine-id": "dbus",
    **dict.fromkeys(
        (
            "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid",
            "/etc/hostname", "/etc/hosts", "/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/var/log/faillog",
        ),
        SETUP,
    ),
}  # fmt: skip

_COMPILED = re.compile(r"^(?P<folder>.*)/__pycache__/(?P<stem>[^/]+)\.cpython-\d+(?:\.opt-\d)?\.pyc$")


@dataclass(frozen=True)
class Entry:
    """One path of a package as rpm shall know it."""

    path: str
    kind: str  # "file", "directory" or "link"
    mode: int
    user: str
    group: str
    config: bool = False
    ghost: bool = False
    capabilities: str = ""


def dropped(name: str) -> bool:
    """Say whether a package of the tree has no place on an RPM host."""
    return name in DROPPED or name.startswith(DROPPED_PREFIXES)


def is_runtime(path: str) -> bool:
    """Say whether a path is a running system's own affair."""
    return any(path.startswith(tree) if tree.endswith("/") else _within(path, tree) for tree in RUNTIME_TREES)


def _within(path: str, tree: str) -> bool:
    return path == tree or path.startswith(tree + "/")


def walk(tree: Path) -> Iterator[str]:
    """Yield every path below ``tree`` as the host will see it, directories before what they hold."""
    for folder, folders, files in os.walk(tree):
        here = folder[len(str(tree)) :]
        folders.sort()
        yield from (f"{here}/{name}" for name in folders)
        folders[:] = [name for name in folders if not os.path.islink(os.path.join(folder, name))]
        yield from (f"{here}/{name}" for name in sorted(files))


def listed_owners(tree: Path, debs: Sequence[Deb]) -> dict[str, list[str]]:
    """Return, for every path that packages list, the packages (several for directories), links resolved."""
    owners: dict[str, list[str]] = {}
    for deb in debs:
        for path in deb.files:
            names = owners.setdefault(canonical(tree, path), [])
            if deb.name not in names:
                names.append(deb.name)
    return owners


def assign(paths: Iterable[str], owners: Mapping[str, Sequence[str]], extra: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the paths of every package: listed ones, compiled Python with its source, the rest in lab-setup."""
    base = {path for path, names in owners.items() if "base-files" in names}
    result: dict[str, list[str]] = {}
    for path in paths:
        if is_runtime(path):
            continue
        for name in _owners_of(path, owners, extra, base):
            result.setdefault(name, []).append(path)
    return result


def _owners_of(
    path: str, owners: Mapping[str, Sequence[str]], extra: Mapping[str, str], base: set[str]
) -> Sequence[str]:
    special = extra.get(path) or GHOSTS.get(path)
    if special:
        return [special]
    if path in base:
        return ["base-files"]
    if path in owners:
        return owners[path]
    source = _source_of(path)
    return owners.get(source, [SETUP]) if source else [SETUP]


def _source_of(path: str) -> Optional[str]:
    compiled = _COMPILED.match(path)
    if compiled:
        return f"{compiled['folder']}/{compiled['stem']}.py"
    return os.path.dirname(path) if path.endswith("/__pycache__") else None


def describe(tree: Path, path: str, accounts: Accounts, configs: set[str]) -> Entry:
    """Return what rpm shall record about one path of ``tree``."""
    status = os.lstat(str(tree) + path)
    kind = _kind(status.st_mode)
    ghost = path in GHOSTS
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        user=accounts.user_name(status.st_uid),
        group=accounts.group_name(status.st_gid),
        config=kind == "file" and (path in configs or ghost),
        ghost=ghost,
        capabilities=_capabilities(str(tree) + path) if kind == "file" else "",
    )


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "link"
    return "directory" if stat.S_ISDIR(mode) else "file"


_CAPABILITY_NAMES = {10: "cap_net_bind_service", 12: "cap_net_admin", 13: "cap_net_raw"}


def _capabilities(path: str) -> str:
    try:
        raw = os.getxattr(path, "security.capability")
    except OSError:
        return ""
    return decode_capabilities(raw)


def decode_capabilities(raw: bytes) -> str:
    """Return file capabilities in the words of ``setcap`` (those the lab's packages can have)."""
    permitted = int.from_bytes(raw[4:8], "little")
    effective = bool(raw[0] & 1)
    names = [name for bit, name in sorted(_CAPABILITY_NAMES.items()) if permitted >> bit & 1]
    return f"{','.join(names)}={'ep' if effective else 'p'}" if names else ""
