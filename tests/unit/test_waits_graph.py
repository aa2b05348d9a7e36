"""The wait graph: what is an edge, what is a proven deadlock or orphan, and above all what is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from interlock.system.clock import ManualClock
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.waits.edges import conflicts
from interlock.waits.facts import Database, Facts, FileLock, Futex, Job, Opened, PidFile, Pipe, Process
from interlock.waits.graph import WaitGraph, build_graph, waiting_pids, waits_for
from interlock.waits.look import Place, look

FOLDER = "/var/lib/rpm"
LOCK = f"{FOLDER}/.rpm.lock"
WAIT4, NAP, FUTEX = 61, 230, 202
ANY_CHILD = (1 << 64) - 1
DEVICE = (8, 1)
CAPTURED = Path(__file__).parent / "captured"


def process(pid: int, parent: int = 1, call: tuple[int, ...] = (), **more: Any) -> Process:
    return Process(pid, f"p{pid}", f"program {pid}", parent, "S", 100, 60.0, call=call, **more)


def lock(pid: int, *, waits: bool = False, write: bool = True, kind: str = "POSIX", number: int = 1, inode: int = 7,
         first: int = 0, last: int | None = None) -> FileLock:  # fmt: skip
    return FileLock(number, kind, write, pid, LOCK, DEVICE, inode, first, last, waits)


def facts_of(processes: Iterable[Process], locks: Iterable[FileLock] = (), **more: Any) -> Facts:
    table: Mapping[int, Process] = {one.pid: one for one in processes}
    return Facts(1000.0, Database(FOLDER, "sqlite", ()), table, tuple(locks), **more)


def pids_in_circles(graph: WaitGraph) -> list[list[int]]:
    return [sorted(graph.pids_in(cycle)) for cycle in graph.cycles]


def nested(**more: Any) -> Facts:
    """A transaction (10) waits for its scriptlet (11), which waits for an rpm (12) that wants the lock of 10."""
    family = [process(10, call=(WAIT4, 11)), process(11, 10, (WAIT4, ANY_CHILD)), process(12, 11, (72, 3, 7))]
    return facts_of(family, [lock(10), lock(12, waits=True)], **more)


def test_a_scriptlet_that_wants_the_lock_of_its_transaction_is_a_deadlock() -> None:
    graph = build_graph(nested())
    assert pids_in_circles(graph) == [[10, 11, 12]]
    assert graph.orphans == ()
    assert waiting_pids(graph) == (10, 11, 12)
    assert waits_for(graph, 12) == {10, 11, 12}
    assert all(edge.proof for edge in graph.edges)


@pytest.mark.parametrize("pid", [10, 11, 12])
def test_who_ran_while_the_look_went_on_proves_nothing(pid: int) -> None:
    graph = build_graph(nested(ran=frozenset({pid})))
    assert (graph.cycles, graph.hopeless) == ((), frozenset())


def test_who_waits_for_a_deadlock_waits_in_vain_and_is_no_part_of_it() -> None:
    facts = nested()
    more = {**facts.processes, 20: process(20)}
    graph = build_graph(facts._replace(processes=more, locks=(*facts.locks, lock(20, waits=True))))
    assert pids_in_circles(graph) == [[10, 11, 12]]
    assert "process:20" in graph.hopeless


def test_a_queue_is_no_deadlock() -> None:
    locks = [lock(1), *(lock(pid, waits=True) for pid in range(2, 40))]
    graph = build_graph(facts_of([process(pid) for pid in range(1, 40)], locks))
    assert (graph.cycles, graph.hopeless) == ((), frozenset())
    assert waiting_pids(graph) == tuple(range(2, 40))


def test_a_parent_waits_for_any_child_and_one_can_still_end() -> None:
    facts = facts_of(
        [process(10, call=(WAIT4, ANY_CHILD)), process(11, 10, (72, 3, 7)), process(12, 10)],
        [lock(10), lock(11, waits=True)],
    )
    assert build_graph(facts).cycles == ()


def test_a_parent_waits_for_any_child_and_none_can_end() -> None:
    family = [process(10, call=(WAIT4, ANY_CHILD)), process(11, 10, (72, 3, 7)), process(12, 10, (72, 3, 7))]
    graph = build_graph(facts_of(family, [lock(10), lock(11, waits=True), lock(12, waits=True)]))
    assert [10, 11] in pids_in_circles(graph)


def test_a_parent_waits_for_the_child_that_it_names() -> None:
    family = [process(10, call=(WAIT4, 11)), process(11, 10, (72, 3, 7)), process(12, 10)]
    assert pids_in_circles(build_graph(facts_of(family, [lock(10), lock(11, waits=True)]))) == [[10, 11]]


def test_a_parent_that_does_not_wait_is_no_edge() -> None:
    family = [process(10), process(11, 10, (72, 3, 7))]
    assert build_graph(facts_of(family, [lock(10), lock(11, waits=True)])).cycles == ()


def test_two_readers_that_both_want_to_write_are_a_deadlock() -> None:
    locks = [lock(1, write=False), lock(2, write=False, number=2), lock(1, waits=True), lock(2, waits=True, number=2)]
    assert pids_in_circles(build_graph(facts_of([process(1), process(2)], locks))) == [[1, 2]]


def test_a_reader_that_wants_to_write_is_not_in_its_own_way() -> None:
    locks = [lock(1, write=False), lock(3, write=False, number=2), lock(1, waits=True), lock(2, waits=True)]
    graph = build_graph(facts_of([process(1), process(2), process(3)], locks))
    assert (graph.cycles, graph.hopeless) == ((), frozenset())


@pytest.mark.parametrize(
    ("holder", "waiter", "blocks"),
    [
        (lock(1), lock(2, waits=True), True),
        (lock(1, write=False), lock(2, waits=True, write=False), False),
        (lock(1, write=False), lock(2, waits=True), True),
        (lock(1, first=0, last=9), lock(2, waits=True, first=10, last=19), False),
        (lock(1, first=0, last=10), lock(2, waits=True, first=10, last=19), True),
        (lock(1, first=100), lock(2, waits=True, first=10, last=19), False),
        (lock(1, first=10), lock(2, waits=True, first=1 << 40), True),
        (lock(1, inode=8), lock(2, waits=True), False),
        (lock(1)._replace(device=(8, 2)), lock(2, waits=True), False),
        (lock(1), lock(1, waits=True), False),
        (lock(1, kind="OFDLCK"), lock(2, waits=True), True),
        (lock(1, kind="FLOCK"), lock(2, waits=True), False),
        (lock(1, kind="FLOCK"), lock(2, waits=True, kind="FLOCK"), True),
        (lock(1, waits=True), lock(2, waits=True), False),
    ],
)
def test_which_locks_are_in_the_way(holder: FileLock, waiter: FileLock, blocks: bool) -> None:
    assert conflicts(holder, waiter) is blocks


def test_an_open_file_that_two_have_is_given_back_by_any_of_them() -> None:
    family = [process(10, call=(WAIT4, 12)), process(11, 10), process(12, 10, (72, 3, 7))]
    locks = [lock(10, kind="OFDLCK"), lock(11, kind="OFDLCK"), lock(12, waits=True)]
    assert build_graph(facts_of(family, locks)).cycles == ()
    assert pids_in_circles(build_graph(facts_of(family, [locks[0], locks[2]]))) == [[10, 12]]


def test_a_lock_of_nobody_who_was_seen_is_no_orphan() -> None:
    graph = build_graph(facts_of([process(2)], [lock(-1, kind="OFDLCK"), lock(2, waits=True)]))
    assert (graph.orphans, graph.hopeless) == ((), frozenset())


def test_a_holder_that_came_after_the_processes_were_read_is_no_orphan() -> None:
    graph = build_graph(facts_of([process(2)], [lock(99), lock(2, waits=True)]))
    assert (graph.orphans, graph.hopeless) == ((), frozenset())


def futex(**more: Any) -> Futex:
    return Futex(5, f"{FOLDER}/__db.002", 880, owner=3, owner_alive=False, **more)


def test_a_mutex_whose_owner_is_gone_is_an_orphan_once_it_is_confirmed() -> None:
    graph = build_graph(facts_of([process(5, call=(FUTEX, 1))], futexes=(futex(confirmed=True),)))
    assert len(graph.orphans) == 1
    assert "process:5" in graph.hopeless
    graph = build_graph(facts_of([process(5, call=(FUTEX, 1))], futexes=(futex(),)))
    assert (graph.orphans, graph.hopeless) == ((), frozenset())


def test_who_queues_behind_an_orphan_waits_in_vain() -> None:
    locks = [lock(5), lock(6, waits=True)]
    graph = build_graph(facts_of([process(5, call=(FUTEX, 1)), process(6)], locks, futexes=(futex(confirmed=True),)))
    assert {"process:5", "process:6"} <= graph.hopeless
    assert graph.cycles == ()


def test_a_unit_that_stops_itself() -> None:
    family = [process(10, call=(WAIT4, 11)), process(11, 10, (7, 0))]
    jobs = (Job(4, "agent.service", "stop", "running", (10, 11), (11,)),)
    assert any({10, 11} >= set(pids) and pids for pids in pids_in_circles(build_graph(facts_of(family, jobs=jobs))))


def test_a_pid_file_that_names_its_own_waiter_is_no_circle_of_one() -> None:
    files = (PidFile("/run/yum.pid", "10", 10, True, True, 5.0, (10,)),)
    assert build_graph(facts_of([process(10)], pid_files=files)).cycles == ()


def test_a_dnf_in_a_scriptlet_of_dnf_waits_for_ever_though_it_runs_between_its_naps() -> None:
    family = [process(10, call=(WAIT4, 11)), process(11, 10, (NAP, 0))]
    files = (PidFile("/var/lib/dnf/rpmdb_lock.pid", "10", 10, True, True, 5.0, (11,)),)
    facts = facts_of(family, pid_files=files, ran=frozenset({11}))
    assert pids_in_circles(build_graph(facts)) == [[10, 11]]


def test_a_nap_with_the_database_open_proves_nothing() -> None:
    main = f"{FOLDER}/rpmdb.sqlite"
    writer = FileLock(1, "POSIX", True, 10, f"{main}-shm", DEVICE, 9, 120, 120, False)
    family = [process(10, call=(WAIT4, 11)), process(11, 10, (NAP, 0), asleep=0.01, switches=10_000)]
    graph = build_graph(facts_of(family, [writer], opened=(Opened(11, main),)))
    assert graph.cycles == ()
    assert 11 in waiting_pids(graph)


def test_a_pipe_that_several_can_fill_is_no_deadlock_while_one_of_them_works() -> None:
    family = [process(10, call=(0, 5)), process(11, 10, (72, 3, 7)), process(12, 10)]
    pipes = (Pipe(77, 10, 5, True, (11, 12)),)
    assert build_graph(facts_of(family, [lock(10), lock(11, waits=True)], pipes=pipes)).cycles == ()
    graph = build_graph(facts_of(family[:2], [lock(10), lock(11, waits=True)], pipes=(Pipe(77, 10, 5, True, (11,)),)))
    assert pids_in_circles(graph) == [[10, 11]]


@pytest.mark.parametrize("thorough", [True, False])
def test_a_real_deadlock_as_a_host_had_it(thorough: bool) -> None:
    proc = ProcReader(CAPTURED / "nested-rpm")
    facts = look(Place(proc, Path("/"), Runner(), ManualClock(), "/nowhere", live=False), thorough)
    graph = build_graph(facts)
    assert pids_in_circles(graph) == [[367, 368, 369]]
    assert {lock.path for lock in facts.locks if lock.waits} == {LOCK}
    assert facts.processes[367].command == "rpm -i --nodeps /srv/case/outer-1-1.noarch.rpm"
