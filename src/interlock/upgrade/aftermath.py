"""What a transaction leaves behind, named for people: processes, packages that never came, readers that hang.

None of it makes the new state another than the planned one, so that none of it stops the commit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from interlock.events import EventSink
from interlock.host.context import Host
from interlock.rpmdb.gate import database_users
from interlock.upgrade.listener import TransactionListener
from interlock.upgrade.nested import Nested, missing
from interlock.upgrade.watch import ScriptWatch
from interlock.waits.below import below, each_wait, in_words, way_of_no_return
from interlock.waits.edges import process_key
from interlock.waits.facts import Facts
from interlock.waits.graph import WaitGraph, build_graph
from interlock.waits.look import Place
from interlock.waits.read_database import read_database
from interlock.waits.read_futexes import read_futexes
from interlock.waits.read_pipes import read_pipes
from interlock.waits.read_processes import read_process

TICKS = os.sysconf("SC_CLK_TCK")


def tell_processes(host: Host, events: EventSink, watch: ScriptWatch, output: str) -> None:
    """Tell which processes the scriptlets have left behind: they are in our unit, or hold the scriptlets' output."""
    for pid in left_behind(host, output):
        began = (host.proc.start_time(pid) or 0) / TICKS
        events.emit("process.left", pid=pid, command=host.proc.command(pid), script=watch.begun_by(began))


def left_behind(host: Host, output: str, unit: str = "") -> list[int]:
    """Return the processes that scriptlets have started and that still run, when the worker has ended.

    ``unit`` is the one in which the operation ran, if it is not our own.
    """
    proc, ours = host.proc, own_processes(host)
    unit = unit or proc.unit(os.getpid())
    others = [pid for pid in proc.pids() if pid not in ours]
    return [
        pid for pid in others
        if (unit.startswith("interlock-") and proc.unit(pid) == unit) or _has_open(host, pid, output)
    ]  # fmt: skip


def own_processes(host: Host) -> set[int]:
    """Return the engine, what it has started, and its standby with what that has."""
    proc, engine = host.proc, os.getpid()
    parent = proc.parent(engine) or 0
    unit = proc.unit(engine)
    first = parent if unit.startswith("interlock-") and proc.unit(parent) == unit else engine
    return {first, *below(proc, first)}


def _has_open(host: Host, pid: int, path: str) -> bool:
    return any(target == path for _, target in host.proc.open_files(pid))


def tell_missing(
    host: Host, events: EventSink, transaction: TransactionListener, nested: Iterable[Nested]
) -> list[str]:
    """Tell what scriptlets were to install by themselves and is not there; return it as remarks on the outcome."""
    nevras: list[str] = transaction.result["nevras"]
    rows = [(one, missing(host.runner, one.wanted, nevras)) for one in nested]
    remarks = [_tell(events, one, lost) for one, lost in rows if lost]
    known = {f"{one.script} of {one.package}" for one, lost in rows if lost}
    for name in dict.fromkeys(transaction.refused):
        if name not in known:
            package = name.partition(" of ")[2]
            one = Nested(package, name.partition(" of ")[0], "an rpm or dnf of its own", ())
            remarks.append(_tell(events, one, []))
    return remarks


def _tell(events: EventSink, one: Nested, lost: Sequence[str]) -> str:
    events.emit(
        "nested.missing", package=one.package, script=one.script, command=one.command, missing=list(lost)
    )  # fmt: skip
    what = f"{', '.join(lost)} is not installed" if lost else "what it was to install is not installed"
    return f"{what}: {one.script} of {one.package} runs `{one.command}`, which cannot work inside of a transaction"


def tell_readers(host: Host, events: EventSink, previous: str) -> None:
    """Tell who still reads the database from before, and what each of them waits for; none of them is ended."""
    ours = own_processes(host)
    readers = {pid: name for pid, name in database_users(previous, host.proc).items() if pid not in ours}
    if not readers:
        return
    facts = _look_at_readers(host, previous)
    graph = build_graph(facts)
    for pid, command in readers.items():
        text = f"{command} (pid {pid}) still reads the database from before; {_outlook(facts, graph, pid)}"
        events.emit("note", text=text)


def _look_at_readers(host: Host, previous: str) -> Facts:
    place = Place(host.proc, "/", host.runner, host.clock, host.paths.scratch)
    uptime = host.proc.uptime() or 0.0
    found = (read_process(place, pid, uptime) for pid in host.proc.pids())
    processes = {process.pid: process for process in found if process is not None}
    # The directory of the old database has moved: maps and descriptors show where it is now.
    facts = Facts(host.clock.now(), read_database(place)._replace(path=previous), processes)
    regions, futexes = read_futexes(place, facts)
    facts = facts._replace(regions=regions, futexes=futexes)
    return facts._replace(pipes=read_pipes(place, facts))


def _outlook(facts: Facts, graph: WaitGraph, pid: int) -> str:
    if process_key(pid) in graph.hopeless:
        return f"it can never end by itself: {in_words(graph, way_of_no_return(graph, pid))}"
    now = "; ".join(each_wait(facts, graph, [pid])) or "it has just ended"
    return f"if it hangs, it hung before the commit. Now: {now}"
