"""An update that was asked for under a name happens once, however often it is asked for.

A manager, or whatever else asks over a network that breaks, gives each of its wishes a name (``update --id``). The
first time an operation is made, and its request keeps the name; after that the same operation is what the name means.
Making one is exclusive by a lock that the kernel drops with the process, so that of two who ask at once one makes it
and the other finds it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

from interlock.errors import UsageError
from interlock.host.paths import Paths
from interlock.upgrade.operation import Operation, list_operations

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")


def check_name(name: str) -> str:
    """Return the name of a wish if it can be one; UsageError otherwise."""
    if not _NAME.match(name):
        raise UsageError(detail=f"--id cannot be {name[:80]!r}: letters, digits, dots, colons, dashes, 128 at most")
    return name


def find_asked(paths: Paths, name: str) -> Optional[Operation]:
    """Return the operation that was made for a wish, or None."""
    for operation in reversed(list_operations(paths)):
        try:
            if name and operation.request().asked == name:
                return operation
        except (OSError, ValueError, TypeError):
            # Half made, by somebody who was killed: nothing was begun under it.
            continue
    return None


@contextmanager
def making(paths: Paths) -> Iterator[None]:
    """Let nobody else make an operation meanwhile; waits for whoever does, which takes a moment."""
    os.makedirs(paths.state, mode=0o755, exist_ok=True)
    with open(os.path.join(paths.state, "making"), "w", encoding="utf-8") as stream:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
        yield
