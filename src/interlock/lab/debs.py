"""Reads what a Debian tree says about its packages. Parsing is pure; only ``read_debs`` touches files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_RELATION = re.compile(r"^(?P<name>[^\s(:]+)(?::\w+)?\s*(?:\((?P<sense><<|<=|=|>=|>>)\s*(?P<version>[^)\s]+)\))?")


@dataclass(frozen=True)
class DebRelation:
    """One name of a dependency field, with its bound where it has one."""

    name: str
    sense: str = ""
    version: str = ""


# One element of a dependency field: any of these satisfies it.
Alternatives = tuple[DebRelation, ...]


@dataclass(frozen=True)
class Deb:
    """One installed package of a Debian tree. ``files`` and ``configs`` are as the package lists them."""

    name: str
    version: str
    source: str
    arch: str
    summary: str
    section: str = ""
    depends: tuple[Alternatives, ...] = ()
    conflicts: tuple[DebRelation, ...] = ()
    provides: tuple[DebRelation, ...] = ()
    files: tuple[str, ...] = ()
    configs: frozenset[str] = frozenset()


def parse_relations(text: str) -> tuple[Alternatives, ...]:
    """Read a dependency field: ``a (>= 1) | b, c``."""
    return tuple(
        tuple(_parse_relation(part) for part in element.split("|")) for element in text.split(",") if element.strip()
    )


def _parse_relation(text: str) -> DebRelation:
    match = _RELATION.match(text.strip())
    if match is None:
        raise ValueError(f"not a relation between packages: {text!r}")
    return DebRelation(match["name"], match["sense"] or "", match["version"] or "")


def parse_stanzas(text: str) -> Iterator[dict[str, str]]:
    """Read RFC-822-like stanzas; a continued field keeps its line ends."""
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line[:1] in " \t":
                fields[last] += "\n" + line
            else:
                last, _, value = line.partition(":")
                fields[last] = value.strip()
        if fields:
            yield fields


def parse_status(text: str) -> list[Deb]:
    """Read dpkg's status file: its installed packages, without their files."""
    return [_deb(fields) for fields in parse_stanzas(text) if fields.get("Status", "").endswith(" installed")]


def _deb(fields: dict[str, str]) -> Deb:
    flat = [one for field in ("Breaks", "Conflicts") for one in _flat(fields.get(field, ""))]
    return Deb(
        name=fields["Package"],
        version=fields["Version"],
        source=fields.get("Source", fields["Package"]).split()[0],
        arch=fields["Architecture"],
        summary=fields.get("Description", fields["Package"]).splitlines()[0],
        section=fields.get("Section", "misc"),
        depends=parse_relations(fields.get("Pre-Depends", "")) + parse_relations(fields.get("Depends", "")),
        conflicts=tuple(flat),
        provides=tuple(_flat(fields.get("Provides", ""))),
        configs=frozenset(_conffiles(fields.get("Conffiles", ""))),
    )


def _flat(text: str) -> list[DebRelation]:
    return [one for element in parse_relations(text) for one in element]


def _conffiles(text: str) -> Iterator[str]:
    for line in text.splitlines():
        words = line.split()
        if words and words[-1] not in ("obsolete", "remove-on-upgrade"):
            yield words[0]


def read_debs(tree: Path) -> list[Deb]:
    """Return the packages that are installed in ``tree``, with the files that they list."""
    folder = tree / "var/lib/dpkg"
    debs = parse_status((folder / "status").read_text())
    return [_with_files(deb, folder / "info") for deb in debs]


def _with_files(deb: Deb, info: Path) -> Deb:
    for name in (f"{deb.name}.list", f"{deb.name}:{deb.arch}.list"):
        if (info / name).exists():
            paths = (info / name).read_text().splitlines()
            return Deb(**{**vars(deb), "files": tuple(path for path in paths if path not in ("", "/."))})
    return deb


def canonical(tree: Path, path: str) -> str:
    """Return ``path`` with the links of its directories resolved inside ``tree``: ``/bin/sh`` is ``/usr/bin/sh``."""
    folder, name = os.path.split(path)
    return os.path.join(_resolve(tree, folder), name) if name else path


def _resolve(tree: Path, folder: str) -> str:
    done = "/"
    rest = [word for word in folder.split("/") if word]
    for _ in range(200):
        if not rest:
            return done
        here = os.path.join(done, rest.pop(0))
        outside = str(tree) + here
        if os.path.islink(outside):
            target = os.path.normpath(os.path.join(done, os.readlink(outside)))
            rest = [word for word in target.split("/") if word] + rest
            done = "/"
        else:
            done = here
    raise OSError(f"too many links on the way to {folder} in {tree}")
