"""The rescue: what an upgrade leaves ready, so that a host which was cut off in the middle is whole before it is used.

Two stages. In the initramfs a shell script puts the old files back from the undo store, by a plain list, with nothing
of the host's own: it covers a power cut in the middle of glibc. Early in the boot, a unit then runs
``interlock resume --boot``, which does the rest: attributes, the package database, the journal.

Layout: ``/var/lib/interlock/rescue/plan`` names the operation, its store and the file systems it needs; ``rescue/done``
is the script's word that it has restored that operation; ``STORE/rescue.{list,sums}`` are the steps and digests;
``STORE/committed`` says that the new state was proven and stays. Rules, for the engine:

* ``install_rescue`` before the undo store is filled: what it puts in place belongs to the state from before.
* ``prepare_rescue`` after the store is whole, before the marker ``dirty.json`` is written.
* ``mark_proven`` when the new state is verified and synced, before the commit is journalled. What the script restores
  is thus always something that recovery would undo as well.
* The script acts only where marker and plan name the same operation. ``forget_rescue`` when the marker is gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Optional

from interlock.boot.rescue_install import install_rescue, own_paths
from interlock.boot.rescue_mounts import Mount, mounts_of
from interlock.boot.rescue_plan import Row, encode, write_plan
from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.system import durable

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

__all__ = [
    "RescueNotReady",
    "Rescued",
    "forget_rescue",
    "install_rescue",
    "mark_proven",
    "own_paths",
    "prepare_rescue",
    "read_rescued",
]
FORMAT = "1"
PLAN, DONE, COMMITTED, LOG = "plan", "done", "committed", "rescue.log"


class RescueNotReady(InterlockError):
    """The rescue of operation {operation} cannot be prepared: {detail}."""

    hint = "Nothing was changed. Without it a power cut could leave the host unable to boot."


class Rescued(NamedTuple):
    """What the script in the initramfs has restored: how many paths, and its own words."""

    operation: str
    changed: int
    log: str


def prepare_rescue(host: Host, operation: str, store: str, entries: Iterable[Row], sums: str = "") -> None:
    """Make the plan for one operation, durably. ``store`` is its undo store, ``entries`` what is to be restored.

    ``sums`` is what `write_plan` has returned for them, if it has been at work already.
    A store that ``mark_proven`` has marked is to be restored again: this is how a rollback begins. RescueNotReady.
    """
    rows = list(entries)
    try:
        os.makedirs(host.paths.rescue, mode=0o700, exist_ok=True)
        forget_rescue(host.paths)
        durable.remove_file(os.path.join(store, COMMITTED))
        sums = sums or write_plan(rows, store)
        inside = "/" + os.path.relpath(store, host.paths.root)
        mounts = mounts_of(host.proc, [inside, *(row.path for row in rows)])
        durable.write_file(_path(host.paths, PLAN), _plan(operation, inside, sums, mounts), 0o600)
    except OSError as error:
        raise RescueNotReady(operation=operation, detail=str(error)) from error


def _plan(operation: str, store: str, sums: str, mounts: Iterable[Mount]) -> str:
    lines = [
        ("interlock-rescue", FORMAT), ("operation", operation), ("store", encode(store)), ("sums", sums),
        *(("mount", one.point, one.device, one.kind, one.options) for one in mounts), ("end",),
    ]  # fmt: skip
    return "".join("\t".join(line) + "\n" for line in lines)


def mark_proven(store: str) -> None:
    """Say that the new state is verified and on the disk: from now on the script leaves the files alone."""
    durable.write_file(os.path.join(store, COMMITTED), "")


def forget_rescue(paths: Paths) -> None:
    """Remove the plan and the script's word. Harmless where there is none."""
    for name in (PLAN, DONE):
        durable.remove_file(_path(paths, name))


def read_rescued(paths: Paths) -> Optional[Rescued]:
    """Return what the script has restored since the plan was made, for the journal and the history."""
    try:
        with open(_path(paths, DONE), encoding="utf-8") as stream:
            done = json.load(stream)
        operation, changed = str(done["operation"]), int(done["changed"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return Rescued(operation, changed, _read(os.path.join(paths.undo, operation, LOG)))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(1 << 20)
    except OSError:
        return ""


def _path(paths: Paths, name: str) -> str:
    return os.path.join(paths.rescue, name)
