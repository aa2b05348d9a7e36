"""What was the newest metadata seen of each depot, so that older metadata is not taken for new.

One file a depot, ``DIRECTORY/NAME-OF-DEPOT.json``, replaced as a whole. Revisions and timestamps are seconds, as
createrepo_c writes them; a revision that is no number is not compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Optional

from interlock.depot.trust_errors import ReplayedMetadata
from interlock.system.durable import remove_file, write_file

LIMIT = 64 * 1024
DAY = 86400.0


@dataclass(frozen=True)
class Seen:
    """One look at a depot's ``repomd.xml``: ``timestamp`` is the newest in it, ``digest`` the SHA-256 of it."""

    revision: str
    timestamp: int
    digest: str
    key: str = ""


def check_replay(depot: str, known: Optional[Seen], found: Seen) -> None:
    """Raise ReplayedMetadata where ``found`` is older than ``known``.

    Each depot has one line of history, whoever signed: a second key of a depot cannot take it back.
    """
    if known is not None and known.digest != found.digest and _older(known, found):
        raise ReplayedMetadata(depot=depot, found=date_of(found), seen=date_of(known))


def _older(known: Seen, found: Seen) -> bool:
    # A publisher may number revisions anew, or give them no number: times decide, revisions only between equal ones.
    if known.timestamp and found.timestamp and known.timestamp != found.timestamp:
        return found.timestamp < known.timestamp
    revisions = (_number(known.revision), _number(found.revision))
    return revisions[0] is not None and revisions[1] is not None and revisions[1] < revisions[0]


def from_future(found: Seen, now: float) -> bool:
    """Say whether metadata claims to be made more than a day after ``now`` (seconds since 1970)."""
    return max(found.timestamp, _number(found.revision) or 0) > now + DAY


def read_seen(directory: str, depot: str) -> tuple[Optional[Seen], str]:
    """Return what is remembered of a depot, and a defect for people where the file is damaged."""
    path = path_of(directory, depot)
    try:
        with open(path, "rb") as stream:
            row = json.loads(stream.read(LIMIT))
        return _seen(row), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return None, f"{path} cannot be read ({error}), so older metadata of {depot} would not be noticed"


def _seen(row: object) -> Seen:
    if not isinstance(row, dict):
        raise ValueError("it is not an object")
    found = Seen(**row)
    texts = (found.revision, found.digest, found.key)
    if not all(isinstance(one, str) for one in texts) or type(found.timestamp) is not int:
        raise ValueError("its values are not of the right kind")
    return found


def write_seen(directory: str, depot: str, seen: Seen) -> None:
    """Remember ``seen``, durably; a damaged file is set aside first."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    path = path_of(directory, depot)
    if read_seen(directory, depot)[1]:
        os.replace(path, f"{path}.damaged")
    write_file(path, json.dumps(asdict(seen)) + "\n")


def path_of(directory: str, depot: str) -> str:
    """Return the file of a depot; ``depot`` is its name or its location without a password."""
    return os.path.join(directory, hashlib.sha256(depot.encode("utf-8", "surrogateescape")).hexdigest()[:32] + ".json")


def _number(text: str) -> Optional[int]:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def stamp(seen: Seen) -> int:
    """Return when metadata was made, in seconds since 1970, as far as it says."""
    return seen.timestamp or _number(seen.revision) or 0


def date_of(seen: Seen) -> str:
    """Return when metadata was made, for people."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(stamp(seen)))
    except (OverflowError, ValueError, OSError):
        return f"second {stamp(seen)}"


def forget_seen(directory: str, depot: str) -> bool:
    """Forget what was seen of a depot; False where nothing was."""
    path = path_of(directory, depot)
    if not os.path.exists(path):
        return False
    remove_file(path)
    return True
