"""Where Interlock keeps things on a host. One value, passed in; ``root`` differs only in tests."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Paths:
    """Every path that Interlock itself uses on a host.

    ``/var/lib/interlock`` has the lease, the hold and one folder for each operation (plan, journal, events, log);
    ``/var/cache/interlock`` has fetched packages, which may be deleted at any time that no operation runs.
    """

    root: str = "/"

    def _under(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    @property
    def state(self) -> str:
        """The durable state."""
        return self._under("var/lib/interlock")

    @property
    def operations(self) -> str:
        """One folder for each operation."""
        return self._under("var/lib/interlock/operations")

    @property
    def lease(self) -> str:
        """The lock file of whoever changes this host."""
        return self._under("var/lib/interlock/lease")

    @property
    def hold(self) -> str:
        """Why this host must not be changed or rebooted, while it must not."""
        return self._under("var/lib/interlock/hold.json")

    @property
    def dirty(self) -> str:
        """The marker that this host is between two states, and that only proof removes."""
        return self._under("var/lib/interlock/dirty.json")

    @property
    def undo(self) -> str:
        """One undo store for each operation."""
        return self._under("var/lib/interlock/undo")

    @property
    def rescue(self) -> str:
        """The restore plan of the operation that is under way, for the initramfs."""
        return self._under("var/lib/interlock/rescue")

    @property
    def policy(self) -> str:
        """What the administrator has decided."""
        return self._under("etc/interlock/policy.json")

    @property
    def agents(self) -> str:
        """What the administrator knows of agents."""
        return self._under("etc/interlock/agents.d")

    @property
    def keys(self) -> str:
        """Keys that may sign, beside those in rpm's keyring; a file each."""
        return self._under("etc/interlock/keys")

    @property
    def depots(self) -> str:
        """Depots that have a name; a file each."""
        return self._under("etc/interlock/depots.d")

    @property
    def seen(self) -> str:
        """What was the newest metadata of each depot."""
        return self._under("var/lib/interlock/depots")

    @property
    def advisories(self) -> str:
        """Advisory rules that came after this release."""
        return self._under("var/lib/interlock/advisories")

    @property
    def quiesced(self) -> str:
        """Which agents `interlock agents stop` has stopped, for as long as they are."""
        return self._under("var/lib/interlock/quiesced.json")

    @property
    def systemd(self) -> str:
        """The directory that is there where systemd is in charge."""
        return self._under("run/systemd/system")

    @property
    def cures(self) -> str:
        """One folder for each run of `doctor --cure`, with the copy that takes it back."""
        return self._under("var/lib/interlock/cures")

    @property
    def packages(self) -> str:
        """Fetched packages, named by their digest."""
        return self._under("var/cache/interlock/packages")

    @property
    def scratch(self) -> str:
        """Private copies of a package database, for reading."""
        return self._under("var/cache/interlock/read")
