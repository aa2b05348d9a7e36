"""Transactions, scriptlets and package managers: what their waits are called, what helps, and the hands that do it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from made import MadeProc, Programs, heard, host_at, python, tell, until

from interlock.system.clock import ManualClock, SystemClock
from interlock.system.proc import ProcReader
from interlock.waits import hands_process
from interlock.waits.catalogue import catalogue
from interlock.waits.conditions import Lost
from interlock.waits.cure import Cure
from interlock.waits.cure_locks import CURES
from interlock.waits.facts import Database, Facts, FileLock, Job, PidFile, Pipe, Process, Scriptlet
from interlock.waits.find_locks import BRINGS, DETECTORS
from interlock.waits.finding import LIKELY, PROVEN, WAITS, Finding
from interlock.waits.graph import build_graph
from interlock.waits.hands import StepFailed, Treatment
from interlock.waits.look import Place
from interlock.waits.read_jobs import read_jobs
from interlock.waits.read_lost import read_lost
from interlock.waits.read_moving import read_moving
from interlock.waits.read_pid_files import DNF, read_pid_files
from interlock.waits.read_pipes import read_pipes
from interlock.waits.read_processes import read_process
from interlock.waits.read_scriptlets import read_scriptlets

LOCK = "/var/lib/rpm/.rpm.lock"
DATABASE = Database("/var/lib/rpm", "sqlite", (), LOCK)
RPMDB_PID = DNF[2]
X86 = os.uname().machine == "x86_64"
WAIT, SETLKW, NAP, READ, POLL = (61, 72, 230, 0, 7) if X86 else (260, 25, 115, 63, 73)


def process(pid: int, command: str, parent: int = 1, call: Sequence[int] = (), age: float = 30.0) -> Process:
    name = os.path.basename(command.split(maxsplit=1)[0])
    name = "dnf" if "/dnf " in command else name
    return Process(pid, name, command, parent, "S", 100 + pid, age, call=tuple(call), asleep=age, inner=pid)


def held(pid: int) -> FileLock:
    return FileLock(1, "POSIX", True, pid, LOCK, (0, 39), 99, 0, None, False)


def waiting(pid: int) -> FileLock:
    return held(pid)._replace(waits=True)


def facts(processes: Sequence[Process], *locks: FileLock, **more: Any) -> Facts:
    return Facts(0.0, DATABASE, {one.pid: one for one in processes}, tuple(locks), **more)


def found(now: Facts) -> list[Finding]:
    graph = build_graph(now)
    everything = [one for detect in DETECTORS for one in detect(now, graph)]
    brought = {name for one in everything for name in BRINGS.get(one.id, ())}
    return [one for one in everything if one.id not in brought]


def cure(finding: Finding, now: Facts) -> Cure:
    return CURES[finding.id](finding, now)


def acts(planned: Cure) -> list[str]:
    return [step.act for step in planned.steps]


OUTER = process(10, "rpm -U outer.rpm", call=(WAIT, 11))
SHELL = process(11, "/bin/sh /var/tmp/rpm-tmp.abc 1", 10, (WAIT, 12))
INNER = process(12, "rpm -i inner.rpm", 11, (SETLKW, 3, 7))


def test_rpm_in_a_scriptlet_of_rpm_is_a_proven_deadlock() -> None:
    now = facts([OUTER, SHELL, INNER], held(10), waiting(12))
    (one,) = found(now)
    assert (one.id, one.sure, one.pids[:2], one.files) == ("nested-rpm-deadlock", PROVEN, (12, 10), (LOCK,))
    planned = cure(one, now)
    assert acts(planned) == ["end", "wait-for-end"]
    assert planned.steps[0].data == {"pids": [12], "started": [112]}


def test_it_is_found_through_a_terminal_that_another_program_passes_on() -> None:
    passes = process(12, "script -qec x /dev/null", 11, (POLL, 1, 2, 0))
    inner = INNER._replace(pid=14, parent=12)
    pipe = Pipe(3, 12, 4, True, (14,), "the terminal /dev/pts/3")
    (one,) = found(facts([OUTER, SHELL, passes, inner], held(10), waiting(14), pipes=(pipe,)))
    assert (one.id, one.pids[:2]) == ("nested-rpm-deadlock", (14, 10))


def test_who_queues_behind_a_deadlock_is_not_named() -> None:
    second = process(20, "rpm -U second.rpm", call=(SETLKW, 3, 7))
    names = [one.id for one in found(facts([OUTER, SHELL, INNER, second], held(10), waiting(12), waiting(20)))]
    assert names == ["nested-rpm-deadlock"]


def test_a_transaction_alone_is_nothing_to_speak_of() -> None:
    sleeper = process(12, "sleep 1000", 11, (NAP, 1))
    now = facts([OUTER, SHELL, sleeper], held(10), scriptlets=(Scriptlet(11, 10),))
    assert found(now) == []


def queue(age: float, *moving: int) -> Facts:
    second = process(20, "rpm -U second.rpm", call=(SETLKW, 3, 7), age=age)
    sleeper = process(12, "sleep 1000", 11, (NAP, 1))
    return facts([OUTER, SHELL, sleeper, second], held(10), waiting(20), moving=frozenset(moving))


def test_a_second_transaction_is_a_wait_with_an_age() -> None:
    assert found(queue(1.0)) == []
    (one,) = found(queue(30.0))
    assert (one.id, one.sure, one.since, one.pids) == ("transaction-waits", WAITS, 30.0, (20, 10))


@pytest.mark.parametrize(("age", "expected"), [(30.0, ["wait-for-end"]), (90.0, ["end"])])
def test_the_second_is_ended_only_after_a_while(age: float, expected: list[str]) -> None:
    now = queue(age)
    planned = cure(found(now)[0], now)
    assert acts(planned) == expected
    assert all(10 not in step.data.get("pids", ()) for step in planned.steps)


def test_nobody_is_ended_while_the_first_makes_progress() -> None:
    now = queue(90.0, 10)
    planned = cure(found(now)[0], now)
    assert (planned.steps, "wait" in planned.decide) == ((), True)


def test_rpm_and_dnf_that_meet_are_a_case_of_their_own() -> None:
    dnf = process(20, "/usr/bin/python3 /usr/bin/dnf install x", call=(SETLKW, 3, 7))
    file = PidFile(RPMDB_PID, "20", 20, True, True, 20.0)
    now = facts([process(10, "rpm -U x.rpm"), dnf], held(10), waiting(20), pid_files=(file,))
    (one,) = found(now)
    assert (one.id, one.pids, one.files) == ("rpm-beside-dnf", (20, 10), (LOCK, RPMDB_PID))
    assert acts(cure(one, now)) == ["end", "wait-for-end"]
    assert cure(one, now).steps[0].data["pids"] == [20]


def nested_dnf(*files: PidFile) -> Facts:
    outer = process(10, "/usr/bin/python3 /usr/bin/dnf install outer", call=(WAIT, 11))
    inner = process(12, "/usr/bin/python3 /usr/bin/dnf install inner", 11, (NAP, 1))
    return facts([outer, SHELL, inner], held(10), pid_files=files)


def test_dnf_in_a_scriptlet_of_dnf_is_a_proven_deadlock() -> None:
    now = nested_dnf(PidFile(RPMDB_PID, "10", 10, True, True, 20.0, (12,)))
    (one,) = found(now)
    assert (one.id, one.sure, one.pids[:2], one.files) == ("nested-dnf-deadlock", PROVEN, (12, 10), (RPMDB_PID,))
    assert cure(one, now).steps[0].data["pids"] == [12]


def test_it_is_not_proven_while_another_file_may_be_the_one_that_is_polled() -> None:
    now = nested_dnf(
        PidFile(RPMDB_PID, "10", 10, True, True, 20.0, (12,)), PidFile(DNF[0], "30", 30, True, True, 20.0, (12,))
    )  # fmt: skip
    busy = process(30, "/usr/bin/python3 /usr/bin/dnf makecache")
    assert found(now._replace(processes={**now.processes, 30: busy})) == []


def own_stop(agent: Process) -> Facts:
    rpm, shell = OUTER._replace(parent=5), SHELL
    client = process(12, "systemctl stop agent", 11, (POLL, 1, 1))
    job = Job(7, "agent.service", "stop", "running", (5, 10, 11, 12), (12,))
    return facts([agent, rpm, shell, client], held(10), jobs=(job,))


def test_a_transaction_that_stops_its_own_unit_is_moved_out_of_it() -> None:
    now = own_stop(process(6, "unrelated"))
    (one,) = found(now)
    assert (one.id, one.sure, one.pids[0]) == ("transaction-stops-itself", PROVEN, 10)
    assert acts(cure(one, now)) == ["move-to-scope", "wait-for-end"]
    assert cure(one, now).steps[0].data["pids"] == [10, 11, 12]


def test_the_job_is_cancelled_too_where_the_unit_waits_for_the_transaction() -> None:
    now = own_stop(process(5, "agent", call=(WAIT, 10)))
    (one,) = found(now)
    assert acts(cure(one, now)) == ["move-to-scope", "cancel-job", "wait-for-end"]


def job_facts(age: float, *moving: int) -> Facts:
    client = process(12, "systemctl reload web", 11, (POLL, 1, 1), age)
    control = process(40, "/usr/bin/reload-web", call=(NAP, 1), age=age)
    job = Job(7, "web.service", "reload", "running", (40,), (12,))
    return facts([OUTER, SHELL, client, control], held(10), jobs=(job,), moving=frozenset(moving))


def test_a_job_is_spoken_of_when_nothing_of_it_moves() -> None:
    assert found(job_facts(4.0)) == []
    assert found(job_facts(40.0, 40)) == []
    now = job_facts(40.0)
    (one,) = found(now)
    assert (one.id, one.sure, one.pids) == ("scriptlet-waits-for-job", WAITS, (12, 40, 10))
    planned = cure(one, now)
    assert acts(planned) == ["cancel-job", "wait-for-end"]
    assert planned.steps[0].data == {"number": 7, "unit": "web.service"}


def pid_file(content: str, pid: int | None, alive: bool, matches: bool, path: str = RPMDB_PID) -> Facts:
    return facts([process(10, "sleep 1000")], pid_files=(PidFile(path, content, pid, alive, matches, 5.0),))


def test_a_lock_file_is_wrong_where_its_number_is_somebody_elses() -> None:
    now = pid_file("10", 10, True, False)
    (one,) = found(now)
    assert (one.id, one.sure, one.pids, one.files) == ("stale-pid-file", LIKELY, (10,), (RPMDB_PID,))
    assert cure(one, now).steps[0].data == {"files": [RPMDB_PID], "contents": ["10"]}
    (later,) = found(now._replace(pid_files=(now.pid_files[0]._replace(age=500.0),)))
    assert later.sure == PROVEN


def test_dnf_refuses_what_is_no_number() -> None:
    (one,) = found(pid_file("garbage", None, False, False))
    assert (one.id, one.sure) == ("stale-pid-file", PROVEN)
    assert found(pid_file("garbage", None, False, False, "/run/zypp.pid")) == []


@pytest.mark.parametrize(
    ("content", "pid", "alive", "matches"), [("", None, False, False), ("10", 10, True, True), ("99", 99, False, False)]
)
def test_free_owned_and_abandoned_lock_files_are_in_nobodys_way(
    content: str, pid: int | None, alive: bool, matches: bool
) -> None:
    assert found(pid_file(content, pid, alive, matches)) == []


def test_a_lost_terminal_is_named_and_the_transaction_left_to_end() -> None:
    now = facts([process(10, "rpm -U x.rpm")], held(10), lost=(Lost(10, 1, "/dev/pts/3 (deleted)"),))
    (one,) = found(now)
    assert (one.id, one.sure, one.pids) == ("front-end-lost", WAITS, (10,))
    assert acts(cure(one, now)) == ["wait-for-end"]
    old = now._replace(processes={10: process(10, "rpm -U x.rpm", age=600.0)})
    assert cure(found(old)[0], old).decide


def output(others: tuple[int, ...], left: tuple[int, ...], age: float = 30.0) -> Facts:
    reader = process(20, "tee log", call=(READ, 0), age=age)
    pipe = Pipe(555, 20, 0, True, others, left=left)
    return facts([reader, process(30, "sleep 1000"), process(10, "rpm -U x.rpm")], pipes=(pipe,))


def test_output_is_held_only_where_nobody_but_the_left_behind_has_it() -> None:
    assert found(output((30, 10), (30,))) == []
    assert found(output((30,), ())) == []
    assert found(output((30,), (30,), age=1.0)) == []
    now = output((30,), (30,))
    (one,) = found(now)
    assert (one.id, one.sure, one.pids) == ("output-held", PROVEN, (30, 20))
    assert cure(one, now).steps[0].data["pids"] == [30]


def test_all_cases_are_of_the_catalogue() -> None:
    assert set(CURES) <= set(catalogue())
    assert {*BRINGS, *(name for brought in BRINGS.values() for name in brought)} <= set(catalogue())


# What is read.


def place(tmp_path: Path, proc: ProcReader, root: str = "", runner: Programs | None = None) -> Place:
    clock = ManualClock(1_700_000_000.0)
    return Place(proc, root or str(tmp_path), runner or Programs(), clock, str(tmp_path / "scratch"))


def put_pid_file(tmp_path: Path, content: str, age: float = 10.0) -> None:
    path = tmp_path / RPMDB_PID.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    os.utime(path, (1_700_000_000.0 - age, 1_700_000_000.0 - age))


DNF_COMMAND = "/usr/bin/python3 /usr/bin/dnf install x"


@pytest.mark.parametrize(
    ("content", "age", "expected"),
    [
        ("10", 10.0, (10, True, True)),
        ("10\n", 10.0, (10, True, True)),
        ("10", 10_000.0, (10, True, False)),
        ("11", 10.0, (11, True, False)),
        ("12", 10.0, (12, False, False)),
        ("rubbish", 10.0, (None, False, False)),
        ("", 10.0, (None, False, False)),
    ],
)
def test_pid_files_are_read_with_who_is_named(
    tmp_path: Path, content: str, age: float, expected: tuple[int | None, bool, bool]
) -> None:
    made = MadeProc(tmp_path / "proc")
    made.process(10, command=DNF_COMMAND)
    made.process(11, command="sleep 1000")
    put_pid_file(tmp_path, content, age)
    now = facts([process(10, DNF_COMMAND), process(11, "sleep 1000")])
    (one,) = read_pid_files(place(tmp_path, made.reader), now)
    assert (one.pid, one.alive, one.holder_matches) == expected
    assert (one.content, one.age) == (content, age)


def test_a_program_is_known_by_what_it_has_loaded(tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    made.process(10, command="/usr/bin/python3 module.py")
    made.put("10/maps", "7f00-7f01 r-xp 0 08:01 5 /usr/lib64/libdnf.so.2\n")
    put_pid_file(tmp_path, "10")
    (one,) = read_pid_files(place(tmp_path, made.reader), facts([process(10, "/usr/bin/python3 module.py")]))
    assert one.holder_matches


def test_a_dnf_that_sleeps_by_the_clock_polls_and_one_that_works_does_not(tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    made.process(10, command=DNF_COMMAND)
    put_pid_file(tmp_path, "10")
    asleep = [process(pid, DNF_COMMAND, call=(NAP, 1)) for pid in (10, 21)]
    others = [process(22, DNF_COMMAND, call=(READ, 3)), process(23, "sleep 5", call=(NAP, 1))]
    (one,) = read_pid_files(place(tmp_path, made.reader), facts([*asleep, *others]))
    assert one.waiters == (21,)


def test_a_container_numbers_its_processes_itself(tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    made.process(4010, command=DNF_COMMAND)
    put_pid_file(tmp_path, "10")
    now = facts([process(4010, DNF_COMMAND)._replace(inner=10), process(10, "sleep 5")._replace(inner=77)])
    (one,) = read_pid_files(place(tmp_path, made.reader), now)
    assert (one.pid, one.holder_matches) == (4010, True)


def test_scriptlets_are_told_from_other_children(tmp_path: Path) -> None:
    helper = process(13, "gpg-agent", 10)
    command = process(14, "ldconfig", 20)
    busy = process(20, "rpm -U y.rpm", call=(WAIT, 14, 0))
    now = facts([OUTER, SHELL, process(12, "/bin/sh /var/tmp/rpm-tmp.abc 1", 11), helper, busy, command], held(20))
    rows = read_scriptlets(place(tmp_path, ProcReader(tmp_path)), now)
    assert {(one.pid, one.transaction) for one in rows} == {(11, 10), (14, 20)}


JOBS = "7 web.service reload running\n8 other.service start waiting\n"
SHOWN = "KillMode=control-group\nMainPID=41\nControlPID=40\n"


def test_jobs_are_asked_for_only_below_a_transaction(tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    client = process(12, "systemctl reload web", 11)
    programs = Programs({"systemctl list-jobs": JOBS, "systemctl show": SHOWN})
    where = place(tmp_path, made.reader, "/", programs)
    assert read_jobs(where, facts([client._replace(parent=1)])) == ()
    assert programs.asked == []
    assert read_jobs(where, facts([OUTER, SHELL, client])) == (
        Job(7, "web.service", "reload", "running", (40,), (12,)),
    )


def test_a_stop_waits_for_all_of_the_unit(tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    for pid in (10, 11, 12):
        made.process(pid, cgroup="/system.slice/web.service" if pid != 11 else "/system.slice/x.service")
    client = process(12, "systemctl stop web", 11)
    programs = Programs({"systemctl list-jobs": "7 web.service stop running\n", "systemctl show": SHOWN})
    (one,) = read_jobs(place(tmp_path, made.reader, "/", programs), facts([OUTER, SHELL, client]))
    assert one.pids == (10, 12)
    main_only = Programs({**programs.answers, "systemctl show": SHOWN.replace("control-group", "process")})
    (one,) = read_jobs(place(tmp_path, made.reader, "/", main_only), facts([OUTER, SHELL, client]))
    assert one.pids == (40, 41)


@dataclass
class Busy(ManualClock):
    """A clock during whose sleep something happens."""

    made: MadeProc | None = None
    text: str = ""

    def sleep(self, seconds: float) -> None:
        assert self.made is not None
        self.made.put("12/io", self.text)


@pytest.mark.parametrize(("later", "expected"), [("rchar: 1\n", set()), ("rchar: 2\n", {10, 11, 12})])
def test_a_transaction_moves_with_its_descendants(tmp_path: Path, later: str, expected: set[int]) -> None:
    made = MadeProc(tmp_path / "proc")
    for pid, parent in ((10, 1), (11, 10), (12, 11), (13, 1)):
        made.process(pid, parent=parent)
    made.put("12/io", "rchar: 1\n")
    where = place(tmp_path, made.reader)._replace(clock=Busy(made=made, text=later))
    now = facts([OUTER, SHELL, process(12, "worker", 11), process(13, "other")], held(10))
    assert read_moving(where, now) == expected
    polling = (PidFile(RPMDB_PID, "10", 10, True, True, 5.0, (12,)),)
    made.put("12/io", "rchar: 1\n")
    assert read_moving(where, now._replace(pid_files=polling)) == frozenset()
    assert read_moving(where, now._replace(locks=())) == frozenset()


def test_a_terminal_that_is_gone_is_seen(tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    for pid, target in ((10, "/dev/pts/3 (deleted)"), (11, "/dev/pts/3"), (12, "/dev/pts/4 (deleted)")):
        made.process(pid)
        (made.root / str(pid) / "fd" / "1").symlink_to(target)
    now = facts([process(pid, "rpm -U x") for pid in (10, 11, 12)], held(10), held(11))
    assert read_lost(place(tmp_path, made.reader), now) == (Lost(10, 1, "/dev/pts/3 (deleted)"),)


HOLD = """
import os, subprocess, sys
reading, writing = os.pipe()
reader = subprocess.Popen(["/bin/cat"], stdin=reading, stdout=subprocess.DEVNULL)
print(reader.pid, flush=True)
os.close(reading)
sys.stdin.readline()
os.close(writing)
reader.wait()
"""


def test_who_sleeps_on_a_pipe_is_found_with_who_has_its_other_end(tmp_path: Path) -> None:
    with python(HOLD) as child:
        reader = int(heard(child))
        proc = ProcReader()
        until(lambda: "pipe" in proc.wait_channel(reader))
        where = place(tmp_path, proc, "/")
        rows = [read_process(where, pid, 1e6) for pid in (child.pid, reader)]
        both = [one for one in rows if one is not None]
        both[0] = both[0]._replace(name="rpm")
        pipes = read_pipes(where, facts(both))
        tell(child)
    assert [(one.pid, one.reading, one.others) for one in pipes if one.pid == reader] == [(reader, True, (child.pid,))]


# What is done.


@pytest.fixture
def treatment(tmp_path: Path) -> Treatment:
    folder = tmp_path / "cure"
    (folder / "aside").mkdir(parents=True)
    return Treatment(host_at(tmp_path), facts([]), str(folder), [])


def named(pid: int, later: int = 0) -> dict[str, list[int]]:
    return {"pids": [pid], "started": [(ProcReader().start_time(pid) or 0) + later]}


WAITS_FOR_INPUT = "import sys; print('ready', flush=True); sys.stdin.readline()"


def test_a_process_is_asked_to_end(treatment: Treatment) -> None:
    with python(WAITS_FOR_INPUT) as child:
        heard(child)
        live = replace(treatment, host=replace(treatment.host, clock=SystemClock()))
        assert "was ended" in hands_process.end(live, named(child.pid))
        assert child.wait() == -signal.SIGTERM


def test_one_that_does_not_listen_is_killed_after_a_while(
    treatment: Treatment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands_process, "PATIENCE", 0.1)
    monkeypatch.setattr(hands_process, "AFTER_KILL", 20.0)
    text = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS_FOR_INPUT}"
    with python(text) as child:
        heard(child)
        live = replace(treatment, host=replace(treatment.host, clock=SystemClock()))
        assert "was killed" in hands_process.end(live, named(child.pid))
        assert child.wait() == -signal.SIGKILL


@pytest.mark.parametrize("act", ["end", "continue", "wake"])
def test_a_pid_that_was_given_to_somebody_else_gets_no_signal(treatment: Treatment, act: str) -> None:
    with python(WAITS_FOR_INPUT) as child:
        heard(child)
        assert "had ended already" in hands_process.HANDS[act](treatment, named(child.pid, later=1))
        tell(child)
        assert child.wait() == 0


@pytest.mark.parametrize("act", ["continue", "wake"])
def test_a_stopped_process_goes_on(treatment: Treatment, act: str) -> None:
    with python(WAITS_FOR_INPUT) as child:
        heard(child)
        os.kill(child.pid, signal.SIGSTOP)
        until(lambda: ProcReader().state(child.pid) == "T")
        assert "continued" in hands_process.HANDS[act](treatment, named(child.pid))
        until(lambda: ProcReader().state(child.pid) == "S")


@pytest.mark.parametrize("data", [{}, {"pids": [1]}, {"pids": [1], "started": []}])
def test_a_step_without_start_times_does_nothing(treatment: Treatment, data: dict[str, list[int]]) -> None:
    with pytest.raises(StepFailed, match="must say which"):
        hands_process.end(treatment, data)


def test_processes_are_moved_by_systemd_alone(treatment: Treatment, tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "made")
    made.process(10, cgroup="/system.slice/interlock-cure-10-cure.scope")
    host = replace(treatment.host, proc=made.reader)
    live = replace(treatment, host=host)
    assert "nothing was ended" in hands_process.move_to_scope(live, {"pids": [10, 11], "started": [5000, 5000]})
    (asked,) = host.runner.asked  # type: ignore[attr-defined]
    assert asked[5:7] == ("StartTransientUnit", "ssa(sv)a(sa(sv))")
    assert asked[-4:] == ("au", "1", "10", "0")


def test_a_move_that_did_not_happen_is_said(treatment: Treatment, tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "made")
    made.process(10, cgroup="/system.slice/agent.service")
    live = replace(treatment, host=replace(treatment.host, proc=made.reader))
    with pytest.raises(StepFailed, match="still not in it"):
        hands_process.move_to_scope(live, {"pids": [10], "started": [5000]})


@pytest.mark.parametrize(
    ("listed", "cancels"), [("7 web.service reload running\n", True), ("8 web.service x y", False)]
)
def test_a_job_is_cancelled_if_it_is_still_that_job(treatment: Treatment, listed: str, cancels: bool) -> None:
    programs = Programs({"systemctl list-jobs": listed})
    live = replace(treatment, host=replace(treatment.host, runner=programs))
    said = hands_process.cancel_job(live, {"number": 7, "unit": "web.service"})
    assert (("systemctl", "cancel", "7") in programs.asked, "was cancelled" in said) == (cancels, cancels)


def test_what_a_transaction_replaced_meanwhile_is_not_lost(treatment: Treatment) -> None:
    programs = Programs({"rpm -qa": "agent-2-1.noarch\nkept-1-1.noarch\n"})
    packages = ["agent-1-1.noarch", "gone-1-1.noarch", "kept-1-1.noarch"]
    live = replace(treatment, host=replace(treatment.host, runner=programs), packages=packages)
    data = {"others": [os.getpid()], "others_started": [0], "seconds": 5}
    assert "has ended by itself" in hands_process.wait_for_end(live, data)
    assert live.meant == ["agent-1-1.noarch"]


def test_who_goes_on_for_long_is_said_to_be_at_work(treatment: Treatment) -> None:
    data = {"others": [os.getpid()], "others_started": [ProcReader().start_time(os.getpid())], "seconds": 5}
    assert "still at work" in hands_process.wait_for_end(treatment, data)


@pytest.mark.parametrize(("content", "moved"), [("10", True), ("11", False)])
def test_a_lock_file_is_put_aside_if_it_is_unchanged(
    treatment: Treatment, tmp_path: Path, content: str, moved: bool
) -> None:
    path = tmp_path / "lock.pid"
    path.write_text(content)
    hands_process.put_pid_file_aside(treatment, {"files": [str(path)], "contents": ["10"]})
    assert path.exists() != moved
    assert Path(treatment.aside, str(path).lstrip("/")).exists() == moved
