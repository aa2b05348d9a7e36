"""Hands that act on processes and units: end, continue, wake, move to a scope of their own, cancel a job.

Rules. A signal goes to a process only, never to a group or a name, and only after it was seen again that its start
time is the one that was found: a pid may belong to somebody else by now. With a descriptor of the process nothing can
come between the look and the signal. A process that is gone already is what was wanted, and is said so.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

from interlock.errors import CommandTimedOut
from interlock.system.proc import read_bytes
from interlock.waits.hands import StepFailed, Treatment

PATIENCE = 5.0
AFTER_KILL = 2.0
MOMENT = 0.05
COMMAND_LIMIT = 20.0
_LARGEST_PID_FILE = 64
MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
GONE = ("Z", "X", None)


def _targets(data: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    pids, started = list(data.get("pids", ())), list(data.get("started", ()))
    if not pids or len(pids) != len(started):
        raise StepFailed(detail="a step that acts on processes must say which, and when each was started")
    yield from ((int(pid), int(begun)) for pid, begun in zip(pids, started))


def _is_there(treatment: Treatment, pid: int, started: int) -> bool:
    proc = treatment.host.proc
    return proc.start_time(pid) == started and proc.state(pid) not in GONE


def _name(treatment: Treatment, pid: int) -> str:
    process = treatment.facts.processes.get(pid)
    command = process.command if process else treatment.host.proc.command(pid)
    return f"pid {pid} ({command[:60]})" if command else f"pid {pid}"


def _send(treatment: Treatment, pid: int, started: int, signals: tuple[signal.Signals, ...]) -> bool:
    """Send signals to that very process; False if it is not there any more."""
    with _descriptor(pid) as handle:
        if not _is_there(treatment, pid, started):
            return False
        try:
            for number in signals:
                os.kill(pid, number) if handle is None else signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        except PermissionError as error:
            raise StepFailed(detail=f"no signal may be sent to {_name(treatment, pid)}: {error.strerror}") from error
    return True


@contextlib.contextmanager
def _descriptor(pid: int) -> Iterator[Optional[int]]:
    """Give a descriptor of a process; None where the kernel has none to give (before Linux 5.3), or it is gone."""
    try:
        handle: Optional[int] = os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ESRCH, errno.EPERM, errno.EINVAL):
            raise
        handle = None
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _gone_within(treatment: Treatment, pid: int, started: int, seconds: float) -> bool:
    clock = treatment.host.clock
    limit = clock.monotonic() + seconds
    while _is_there(treatment, pid, started):
        if clock.monotonic() >= limit:
            return False
        clock.sleep(MOMENT)
    return True


def end(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """End processes, one after the other: asked first, and after a while not asked any more."""
    return "; ".join(_end_one(treatment, pid, started) for pid, started in _targets(data))


def _end_one(treatment: Treatment, pid: int, started: int) -> str:
    name = _name(treatment, pid)
    # A stopped process gets the signal only once it goes on.
    if not _send(treatment, pid, started, (signal.SIGTERM, signal.SIGCONT)):
        return f"{name} had ended already"
    if _gone_within(treatment, pid, started, PATIENCE):
        return f"{name} was ended"
    _send(treatment, pid, started, (signal.SIGKILL,))
    if not _gone_within(treatment, pid, started, AFTER_KILL):
        raise StepFailed(detail=f"{name} does not end, not even by SIGKILL; the kernel holds it, see its wchan")
    return f"{name} did not end within {PATIENCE:g} s of SIGTERM, and was killed"


def go_on(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Continue stopped processes."""
    return "; ".join(
        f"{_name(treatment, pid)} "
        + ("was continued" if _send(treatment, pid, started, (signal.SIGCONT,)) else "had ended already")
        for pid, started in _targets(data)
    )


def wake(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Stop and continue processes, so that each looks again at what it sleeps on."""
    return "; ".join(_wake_one(treatment, pid, started) for pid, started in _targets(data))


def _wake_one(treatment: Treatment, pid: int, started: int) -> str:
    name, clock = _name(treatment, pid), treatment.host.clock
    if not _send(treatment, pid, started, (signal.SIGSTOP,)):
        return f"{name} had ended already"
    limit = clock.monotonic() + AFTER_KILL
    while treatment.host.proc.state(pid) not in ("T", "t", *GONE) and clock.monotonic() < limit:
        clock.sleep(MOMENT)
    _send(treatment, pid, started, (signal.SIGCONT,))
    return f"{name} was stopped and continued, so that it looks again at what it waits for"


def move_to_scope(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Have systemd put processes into a scope of their own; none of them is ended."""
    pids = [pid for pid, started in _targets(data) if _is_there(treatment, pid, started)]
    if not pids:
        return "the processes had ended already"
    scope = f"interlock-cure-{pids[0]}-{os.path.basename(treatment.folder)}.scope"
    properties = ["2", "Description", "s", "Package transaction moved by interlock doctor"]
    properties += ["PIDs", "au", str(len(pids)), *map(str, pids)]
    words = ["busctl", "call", *MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", scope, "fail", *properties, "0"]
    done = treatment.host.runner.run(words, timeout=COMMAND_LIMIT, check=False)
    if done.status != 0:
        raise StepFailed(detail=f"systemd made no scope for {len(pids)} processes: {done.stderr.strip()[-300:]}")
    _wait_until_moved(treatment, pids, scope)
    return f"{', '.join(_name(treatment, pid) for pid in pids)}: moved into {scope}; nothing was ended"


def _wait_until_moved(treatment: Treatment, pids: list[int], scope: str) -> None:
    clock, proc = treatment.host.clock, treatment.host.proc
    limit = clock.monotonic() + PATIENCE
    while any(proc.unit(pid) != scope for pid in pids if proc.state(pid) not in GONE):
        if clock.monotonic() >= limit:
            raise StepFailed(detail=f"systemd made {scope}, and the processes are still not in it")
        clock.sleep(MOMENT)


def cancel_job(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Cancel one job of systemd, if it is still the job of that unit."""
    number, unit = int(data["number"]), str(data.get("unit", ""))
    listed = treatment.host.runner.run(["systemctl", "list-jobs", "--no-legend"], timeout=COMMAND_LIMIT, check=False)
    rows = [line.split() for line in listed.stdout.splitlines()]
    if not any(row[:1] == [str(number)] and (not unit or unit in row) for row in rows):
        return f"job {number} ({unit}) had ended already"
    done = treatment.host.runner.run(["systemctl", "cancel", str(number)], timeout=COMMAND_LIMIT, check=False)
    if done.status != 0:
        raise StepFailed(detail=f"systemd did not cancel job {number} ({unit}): {done.stderr.strip()[-300:]}")
    return f"job {number} of systemd ({unit}) was cancelled"


def wait_for_end(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Wait until processes have ended by themselves; that they have not after a while is no failure, but is said."""
    clock = treatment.host.clock
    limit = clock.monotonic() + float(data["seconds"])
    said = []
    for pid, started in zip(data["others"], data["others_started"]):
        ended = _gone_within(treatment, int(pid), int(started), max(0.0, limit - clock.monotonic()))
        said.append(f"{_name(treatment, int(pid))} {'has ended by itself' if ended else 'is still at work'}")
    treatment.meant += _replaced(treatment)
    return "; ".join(said)


def _replaced(treatment: Treatment) -> list[str]:
    """Return the packages that such a transaction has replaced with another version: it went on as it was meant to."""
    words = ["rpm", "-qa", "--qf", "%{NEVRA}\n"]
    try:
        done = treatment.host.runner.run(words, timeout=COMMAND_LIMIT, check=False)
    except CommandTimedOut:
        return []
    now = set(done.stdout.split())
    names = {package_name(one) for one in now}
    gone = [one for one in treatment.packages if one not in now]
    return [one for one in gone if package_name(one) in names] if done.status == 0 else []


def package_name(nevra: str) -> str:
    """Return the name of a package that is given with version, release and architecture."""
    return nevra.rpartition("-")[0].rpartition("-")[0]


def put_pid_file_aside(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Move lock files out of the way, if they still have the content that was found to be wrong."""
    said = []
    for path, content in zip(data["files"], data["contents"]):
        now = read_bytes(path, _LARGEST_PID_FILE)
        if now is None or now.decode("utf-8", "backslashreplace") != content:
            said.append(f"{path} has changed meanwhile, and was left alone")
            continue
        target = os.path.join(treatment.aside, path.lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.move(path, target)
        said.append(f"{path} was put aside, to {target}")
    return "; ".join(said)


HANDS: Mapping[str, Callable[[Treatment, Mapping[str, Any]], str]] = {
    "end": end, "continue": go_on, "wake": wake, "move-to-scope": move_to_scope, "cancel-job": cancel_job,
    "wait-for-end": wait_for_end, "put-pid-file-aside": put_pid_file_aside,
}  # fmt: skip
