"""The hand that puts the shared regions of a Berkeley DB environment aside; rpm makes them anew.

Rules: they are moved, never deleted. Nobody but those whom this cure is about to end, by pid and start time, may have
them mapped. Nobody may come in meanwhile: we hold ``.dbenv.lock``, which everybody takes to open the environment, or
one of those whom we are about to end holds it and does not move. They are ended only after that: were it done before,
the next one in the queue would open the same regions and hang in its turn.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from interlock.system import durable, linux
from interlock.waits.hands import StepFailed, Treatment
from interlock.waits.look import Place
from interlock.waits.read_trial import in_use

GATE = ".dbenv.lock"
WAIT, PAUSE = 10.0, 0.05


def put_aside(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Move ``__db.*`` away. ``data`` has the pids, and start times, of those who hang in them and will be ended."""
    hopeless = set(_still_there(treatment, data))
    with _closed_gate(treatment, hopeless):
        _refuse_users(treatment, hopeless)
        moved = [_move(treatment, name) for name in sorted(os.listdir(treatment.database)) if name.startswith("__db.")]
        durable.sync_directory(treatment.database)
    return f"put {', '.join(moved) or 'nothing: there were no shared regions'} aside in {treatment.aside}"


def _still_there(treatment: Treatment, data: Mapping[str, Any]) -> Iterator[int]:
    for pid, started in zip(data.get("pids", ()), data.get("started", ())):
        if treatment.host.proc.start_time(int(pid)) == int(started):
            yield int(pid)


def _refuse_users(treatment: Treatment, hopeless: set[int]) -> None:
    host = treatment.host
    place = Place(host.proc, "/", host.runner, host.clock, host.paths.scratch)
    others = sorted(set(in_use(place, treatment.database)) - hopeless)
    if others:
        command = host.proc.command(others[0])
        raise StepFailed(detail=f"{command} (pid {others[0]}) uses the shared regions; end it, and look again")


def _move(treatment: Treatment, name: str) -> str:
    source, target = os.path.join(treatment.database, name), os.path.join(treatment.aside, name)
    number = 1
    while os.path.lexists(target):
        number += 1
        target = os.path.join(treatment.aside, f"{name}.{number}")
    try:
        os.rename(source, target)
    except OSError:
        # Another file system. Copied first, so that nothing is lost if that fails.
        shutil.copy2(source, target)
        durable.remove_file(source)
    return name


@contextlib.contextmanager
def _closed_gate(treatment: Treatment, hopeless: set[int]) -> Iterator[None]:
    """Keep everybody from opening the environment, for a moment."""
    path = os.path.join(treatment.database, GATE)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _wait_for_gate(treatment, descriptor, hopeless)
        yield
    finally:
        os.close(descriptor)


def _wait_for_gate(treatment: Treatment, descriptor: int, hopeless: set[int]) -> None:
    clock = treatment.host.clock
    limit = clock.monotonic() + WAIT
    while True:
        try:
            linux.lock_whole_file(descriptor)
            return
        except BlockingIOError:
            holder = linux.lock_holder(descriptor)
        if holder is not None and holder.pid in hopeless:
            return
        if clock.monotonic() > limit:
            who = holder.pid if holder is not None else "somebody"
            raise StepFailed(detail=f"pid {who} holds {GATE} and does not let it go; look again") from None
        clock.sleep(PAUSE)


HANDS: Mapping[str, Callable[[Treatment, Mapping[str, Any]], str]] = {"regions": put_aside}
