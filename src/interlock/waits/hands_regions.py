"""The hands that put the shared regions of a Berkeley DB environment aside, and that release what the dead held.

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
from interlock.waits.hands_process import end
from interlock.waits.look import Place
from interlock.waits.read_processes import read_process
from interlock.waits.read_trial import GATE, await_child, in_use, makers, unfinished

WAIT, GO_ON, PAUSE = 10.0, 3.0, 0.05
QUESTION = ("rpm", "-q", "--quiet", "rpm")


def put_aside(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Move ``__db.*`` away. ``data`` has the pids, and start times, of those who hang in them and will be ended.

    An environment that was never finished nobody can join: its gate need not be ours, for whoever holds it tries
    again for many seconds, and so does everybody behind him.
    """
    hopeless = set(_still_there(treatment, data))
    free = bool(data.get("unfinished")) and unfinished(treatment.database)
    free = free and not makers(_place(treatment), treatment.database)
    with contextlib.nullcontext() if free else _closed_gate(treatment, hopeless):
        _refuse_users(treatment, hopeless)
        moved = [_move(treatment, name) for name in sorted(os.listdir(treatment.database)) if name.startswith("__db.")]
        durable.sync_directory(treatment.database)
    return f"put {', '.join(moved) or 'nothing: there were no shared regions'} aside in {treatment.aside}"


def release(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Have rpm release what dead readers held, which it does whenever it opens the environment for a moment.

    If who waits does not go on after that, the regions are put aside, and he is ended.
    """
    place = _place(treatment)
    waiting = {pid: _turns(place, pid) for pid in _still_there(treatment, data)}
    await_child(place, place.runner.start(QUESTION, alarm=WAIT / 2))
    limit = place.clock.monotonic() + GO_ON
    while place.clock.monotonic() < limit:
        if all(_turns(place, pid) != turns for pid, turns in waiting.items()):
            who = ", ".join(str(pid) for pid in waiting)
            return f"rpm released the locks of processes that are gone, and pid {who} goes on"
        place.clock.sleep(PAUSE)
    return f"{put_aside(treatment, data)}; {end(treatment, data)}"


def _turns(place: Place, pid: int) -> int:
    """Return how often a process gave up the processor; -1 if it is gone."""
    process = read_process(place, pid, 0.0)
    return -1 if process is None else process.switches


def _place(treatment: Treatment) -> Place:
    host = treatment.host
    return Place(host.proc, "/", host.runner, host.clock, host.paths.scratch)


def _still_there(treatment: Treatment, data: Mapping[str, Any]) -> Iterator[int]:
    for pid, started in zip(data.get("pids", ()), data.get("started", ())):
        if treatment.host.proc.start_time(int(pid)) == int(started):
            yield int(pid)


def _refuse_users(treatment: Treatment, hopeless: set[int]) -> None:
    others = sorted(set(in_use(_place(treatment), treatment.database)) - hopeless)
    if others:
        command = treatment.host.proc.command(others[0])
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


HANDS: Mapping[str, Callable[[Treatment, Mapping[str, Any]], str]] = {"regions": put_aside, "release": release}
