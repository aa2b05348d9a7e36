"""What every hand of a cure is given, and how it says that it cannot."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Optional

from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.waits.facts import Facts


class StepFailed(InterlockError):
    """{detail}."""

    hint = "Nothing after this step was done; the copy that was made before the cure is still there."


@dataclass
class Treatment:
    """One run of cures. ``packages`` are the NEVRAs before; ``meant`` those that a step removes on purpose.

    ``depot`` is a directory with package files to restore from, if the user named one.
    """

    host: Host
    facts: Facts
    folder: str
    packages: list[str]
    meant: list[str] = field(default_factory=list)
    depot: Optional[str] = None

    @property
    def aside(self) -> str:
        """Where things are put aside."""
        return os.path.join(self.folder, "aside")

    @property
    def database(self) -> str:
        """The directory of the package database."""
        return self.facts.database.path
