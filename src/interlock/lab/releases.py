"""The releases of the lab, and the steps from one to the next. Facts only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from interlock.lab.errors import UnknownRelease


@dataclass(frozen=True)
class Release:
    """One operating system of the lab.

    ``number`` is part of every package's release string, so that the same version of a program in two releases
    is still an upgrade. ``backend`` is the rpmdb that a new host has.
    """

    name: str
    number: int
    suite: str
    title: str
    backend: str

    @property
    def mark(self) -> str:
        """What every package release of this operating system begins with."""
        return f"lab{self.number}"


RELEASES: tuple[Release, ...] = (
    Release("classic", 1, "bullseye", "Lab classic (Debian 11, rpm 4.16, Berkeley DB)", "bdb"),
    Release("current", 2, "bookworm", "Lab current (Debian 12, rpm 4.18, SQLite)", "sqlite"),
    Release("next", 3, "trixie", "Lab next (Debian 13, rpm 4.20, SQLite)", "sqlite"),
)
NAMES = tuple(release.name for release in RELEASES)


def find_release(name: str) -> Release:
    """Return the release called ``name``."""
    for release in RELEASES:
        if release.name == name:
            return release
    raise UnknownRelease(name=name, known=", ".join(NAMES))


def predecessor(release: Release) -> Optional[Release]:
    """Return the release that ``release`` is an upgrade of, if there is one."""
    place = RELEASES.index(release)
    return RELEASES[place - 1] if place else None


def step_into(release: Release) -> Optional[str]:
    """Return the name of the depot that upgrades a host to ``release``: ``classic-current``."""
    before = predecessor(release)
    return f"{before.name}-{release.name}" if before else None
