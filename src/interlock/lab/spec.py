"""Writes RPM spec files. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from interlock.lab.ownership import Entry
from interlock.package import Evr, Relation

_ARCHES = {"amd64": "x86_64", "arm64": "aarch64", "ppc64el": "ppc64le", "s390x": "s390x", "all": "noarch"}


@dataclass(frozen=True)
class Scriptlet:
    """One scriptlet or trigger: ``section`` is what follows the percent sign, options included."""

    section: str
    body: str


@dataclass(frozen=True)
class Spec:
    """One binary package."""

    name: str
    evr: Evr
    arch: str
    summary: str
    requires: tuple[Relation, ...] = ()
    provides: tuple[Relation, ...] = ()
    conflicts: tuple[Relation, ...] = ()
    obsoletes: tuple[Relation, ...] = ()
    entries: tuple[Entry, ...] = ()
    scriptlets: tuple[Scriptlet, ...] = ()


def rpm_arch(debian: str) -> str:
    """Return rpm's name of a Debian architecture."""
    return _ARCHES.get(debian, debian)


def write_spec(spec: Spec) -> str:
    """Return the whole spec file of a package whose files lie ready in the build root."""
    return "\n".join([*_preamble(spec), "", *_scriptlets(spec.scriptlets), *_files(spec.entries)]) + "\n"


def _preamble(spec: Spec) -> list[str]:
    lines = [f"Name: {spec.name}"]
    lines += [f"Epoch: {spec.evr.epoch}"] if spec.evr.epoch else []
    lines += [
        f"Version: {spec.evr.version}",
        f"Release: {spec.evr.release}",
        f"Summary: {escape(spec.summary)}",
        "License: see /usr/share/doc",
        "AutoReqProv: no",
    ]
    lines += ["BuildArch: noarch"] if spec.arch == "noarch" else []
    lines += [f"{_requires_tag(one)}: {one}" for one in spec.requires]
    for tag in ("provides", "conflicts", "obsoletes"):
        lines += [f"{tag.capitalize()}: {one}" for one in getattr(spec, tag)]
    return [*lines, "", "%description", escape(spec.summary), "", "%clean", "true"]


def _requires_tag(relation: Relation) -> str:
    return "Requires(pre)" if relation.pre else "Requires"


def _scriptlets(scriptlets: Iterable[Scriptlet]) -> list[str]:
    return [line for one in scriptlets for line in (f"%{one.section}", escape(one.body.rstrip()), "")]


def _files(entries: Sequence[Entry]) -> list[str]:
    return ["%files", *(file_line(entry) for entry in entries)]


def file_line(entry: Entry) -> str:
    """Return the ``%files`` line of one path."""
    mode = "-" if entry.kind == "link" else f"{entry.mode:04o}"
    words = [f"%attr({mode}, {entry.user}, {entry.group})"]
    words += ["%dir"] if entry.kind == "directory" else []
    words += ["%ghost"] if entry.ghost else []
    words += ["%config(noreplace)"] if entry.config else []
    words += [f"%caps({entry.capabilities})"] if entry.capabilities else []
    return " ".join([*words, f'"{file_pattern(entry.path)}"'])


def file_pattern(path: str) -> str:
    """Return a path as a pattern that rpmbuild reads back as this path alone."""
    return escape(path.replace("[", "[[]").replace("\\", "?"))


def escape(text: str) -> str:
    """Keep rpm's macro processor from reading a text."""
    return text.replace("%", "%%")
