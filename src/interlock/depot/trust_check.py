"""Whether the metadata of a depot is believed: signed by a key that may, and not older than what was seen before.

The signature covers the very bytes that are parsed: they are read once. What was seen is written down only after the
whole depot could be opened, so that neither a forgery nor a broken depot can lock the good one out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from interlock.depot.errors import FileMissing
from interlock.depot.source import Source
from interlock.depot.trust import SIGNED, TrustPolicy
from interlock.depot.trust_errors import SignatureToolMissing, StaleMetadata, UnsignedMetadata
from interlock.depot.trust_gpg import SIGNATURE_LIMIT, verify_metadata
from interlock.depot.trust_seen import DAY, Seen, check_replay, date_of, from_future, read_seen, stamp, write_seen
from interlock.system.run import Runner

SIGNATURE = "repodata/repomd.xml.asc"
_TIMESTAMP = re.compile(rb"<timestamp>\s*(\d{1,12})\s*(?:\.\d*\s*)?</timestamp>")


@dataclass(frozen=True)
class TrustCheck:
    """How the metadata of one depot is checked. ``armors`` are the trusted keys; ``now`` in seconds since 1970.

    ``seen`` is the directory of what was seen; it is only written where ``records``.
    """

    policy: TrustPolicy
    armors: Sequence[str]
    runner: Runner
    seen: str
    now: float
    records: bool

    def signer(self, source: Source, content: bytes) -> str:
        """Return the primary fingerprint of who signed ``repomd.xml``; empty where nobody has to and nobody did.

        Raises the errors of trust_errors and those of the source.
        """
        try:
            signature = b"".join(source.chunks(SIGNATURE, SIGNATURE_LIMIT + 1))
        except FileMissing:
            if self.policy.metadata == SIGNED:
                raise UnsignedMetadata(depot=source.location, detail=f"it has no {SIGNATURE}") from None
            return ""
        try:
            return verify_metadata(
                source.location, content, signature, self.armors, self.runner, allowed=self.policy.keys
            )
        except SignatureToolMissing:
            if self.policy.metadata == SIGNED:
                raise
            return ""

    def look(self, depot: str, revision: str, content: bytes, key: str) -> tuple[Seen, list[str]]:
        """Return what was seen now, and notes for people. Raises ReplayedMetadata, StaleMetadata."""
        times = [int(one) for one in _TIMESTAMP.findall(content)]
        found = Seen(revision, max(times, default=0), hashlib.sha256(content).hexdigest(), key)
        known, defect = read_seen(self.seen, depot)
        check_replay(depot, known, found)
        limit = self.policy.max_age
        if limit is not None and stamp(found) < self.now - limit:
            raise StaleMetadata(depot=depot, found=date_of(found), limit=f"{limit / DAY:g}")
        notes = [defect] if defect else []
        if from_future(found, self.now):
            notes.append(f"the metadata claims to be of a time to come ({date_of(found)}): is this host's clock right?")
        return found, notes

    def remember(self, depot: str, found: Seen) -> None:
        """Write down what was seen, where that is to be."""
        known, defect = read_seen(self.seen, depot)
        if self.records and (known != found or defect):
            write_seen(self.seen, depot, found)
