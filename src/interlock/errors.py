"""One tree of errors: the docstring is the message, the class is the stable code.

A face (terminal, JSON, page) shows the same ``code``, the same message and the same ``hint``; the exit status
belongs to the class. Fields that a message names are given by keyword when the error is raised::

    raise LeaseHeld(owner="interlock update (pid 412)", age="3 min")

The tree::

    InterlockError                 1  unexpected
    ├── UsageError                 2  the command line or one of its names
    ├── Refused                    3  a verdict; nothing was changed
    ├── RolledBack                 4  failed; the host is as before
    ├── Held                       5  a person is needed
    ├── Busy                       6  another owner, named
    └── BadDepot                   7  depot, bundle or metadata
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any, ClassVar


class ExitStatus(IntEnum):
    """Exit statuses of the program, the same for every verb."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    REFUSED = 3
    ROLLED_BACK = 4
    HELD = 5
    BUSY = 6
    BAD_DEPOT = 7


class InterlockError(Exception):
    """Unexpected error: {detail}."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.UNEXPECTED
    hint: ClassVar[str] = "Run `interlock --debug ...` again and report what it prints."

    def __init__(self, **fields: Any) -> None:
        self.fields: dict[str, Any] = fields
        super().__init__(self._fill(type(self).__doc__ or "{detail}"))

    def _fill(self, template: str) -> str:
        text = " ".join(template.split())
        return text.format(**{name: str(value).rstrip(".") for name, value in self.fields.items()})

    @property
    def code(self) -> str:
        """The stable name of this kind of error, for programs: ``LeaseHeld`` is ``lease-held``."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(self).__name__).lower()

    @property
    def advice(self) -> str:
        """The next step, with this error's own names filled in."""
        return self._fill(type(self).hint)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints for this error."""
        return {
            "error": self.code,
            "message": str(self),
            "hint": self.advice,
            "exit_status": int(self.exit_status),
            "fields": {name: str(value) for name, value in self.fields.items()},
        }


class UsageError(InterlockError):
    """{detail}."""

    exit_status = ExitStatus.USAGE
    hint = "See `interlock --help`."


class UnknownBulletin(UsageError):
    """The depot {depot} has no bulletin {bulletin}; it has: {known}."""

    hint = "List what applies here with `interlock scan --depot {depot}`."


class Refused(InterlockError):
    """Refused: {reasons}."""

    exit_status = ExitStatus.REFUSED
    hint = "Nothing was changed. Mend what is named above and try again."


class RolledBack(InterlockError):
    """The upgrade failed and the host is as before: {detail}."""

    exit_status = ExitStatus.ROLLED_BACK
    hint = "`interlock history` has the operation; its events name the package and the scriptlet."


class Held(InterlockError):
    """The host is on hold: {detail}."""

    exit_status = ExitStatus.HELD
    hint = "Do not reboot. `interlock status` says what is unfinished and where its files are."


class Busy(InterlockError):
    """Another owner is at work: {owner}, since {age}."""

    exit_status = ExitStatus.BUSY
    hint = "Wait until it ends; `interlock status` follows it."


class BadDepot(InterlockError):
    """The depot {depot} cannot be used: {detail}."""

    exit_status = ExitStatus.BAD_DEPOT
    hint = "Give --depot a directory or URL that has repodata/repomd.xml (createrepo_c makes one)."


class CommandFailed(InterlockError):
    """`{command}` ended with status {status}: {stderr}."""

    hint = "Paste the command into a shell to see all that it prints."


class CommandTimedOut(InterlockError):
    """`{command}` was ended after {seconds} s without a result."""

    hint = "It may wait for a lock: `interlock check` names who holds the package database."


class CommandMissing(InterlockError):
    """The program {program} is not on this host."""

    hint = "Install the package that has it."
