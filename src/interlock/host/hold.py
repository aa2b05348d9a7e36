"""The hold: a host that must not be upgraded or rebooted until a person has acted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Optional

from interlock.errors import Held
from interlock.host.paths import Paths
from interlock.system import durable

# What stands for the operation of a hold where no operation of ours left the host so: rpm itself was cut off.
FOREIGN = "foreign"


@dataclass(frozen=True)
class Hold:
    """Why a host is on hold. ``at`` is in seconds since the epoch; ``kept`` names what was left for a look."""

    operation: str
    reason: str
    at: float
    kept: str = ""

    @property
    def by(self) -> str:
        """Who left the host so, for people."""
        return left_by(self.operation)


def left_by(operation: str) -> str:
    """Say to people which operation it was, of ours or of somebody else."""
    kind, colon, name = operation.partition(":")
    if colon and kind == "advisory":
        return f"the advisory rule {name}"
    return "something else than Interlock" if operation == FOREIGN else f"operation {operation}"


def put_on_hold(paths: Paths, hold: Hold) -> None:
    """Make the hold durable."""
    durable.write_file(paths.hold, json.dumps(asdict(hold), indent=1) + "\n")


def read_hold(paths: Paths) -> Optional[Hold]:
    """Return the hold that this host is on. An unreadable one holds as well: unknown never counts as allowed."""
    try:
        with open(paths.hold, encoding="utf-8") as stream:
            return Hold(**json.load(stream))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        return Hold("unknown", f"{paths.hold} cannot be read: {error}", 0.0)


def refuse_when_held(paths: Paths, mends: str = "") -> None:
    """Raise Held if the host is on hold; not where ``mends`` names the operation whose hold is to be ended by this."""
    hold = read_hold(paths)
    if hold is not None and hold.operation != (mends or None):
        kept = f"; kept for a look: {hold.kept}" if hold.kept else ""
        raise Held(detail=f"{hold.by} left it so: {hold.reason}{kept}")
