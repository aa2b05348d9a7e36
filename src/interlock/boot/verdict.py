"""What is said about a reboot: allowed, or denied for named reasons. Values only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple


class Reason(NamedTuple):
    """Why a host must not be rebooted.

    ``id`` is stable, for programs (``initramfs-missing``); ``subject`` the path, package or entry; ``detail`` what is
    wrong with it; ``advice`` what to do next.
    """

    id: str
    subject: str
    detail: str
    advice: str


class Verdict(NamedTuple):
    """Whether a host may be rebooted. ``looked_at`` names what would really be booted: entry, kernel, initramfs."""

    reasons: tuple[Reason, ...]
    looked_at: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Say whether nothing speaks against it."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        reasons = [
            {"id": one.id, "subject": one.subject, "detail": one.detail, "advice": one.advice} for one in self.reasons
        ]
        return {"allowed": self.allowed, "reasons": reasons, "looked_at": list(self.looked_at)}
