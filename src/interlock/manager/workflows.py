"""The durable part: one workflow for a rollout, one for each host of it, on DBOS.

Whatever is killed, a workflow goes on after the last step that was written down; a step that was running runs again,
and asks the host for the same wish, which happens once. Each host has a workflow of its own, named after rollout and
host, and each result names its host. The version is pinned: a new Interlock goes on with what an older one began.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from sqlalchemy import Engine

from interlock.manager import drive, inventory, rollouts
from interlock.manager.drive import DONE, GOOD, UNREACHABLE, Driver, Wish
from interlock.manager.rollouts import ABORTED, COMPLETE, PAUSED, RUNNING, SKIPPED, STOPPED, Spec
from interlock.manager.scan import Scanner
from interlock.manager.ssh_link import connect

VERSION = "1"
QUEUE = "hosts"
POLL_SECONDS = 0.2
PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Context:
    """What steps need of the process that they run in."""

    engine: Engine
    program: bytes
    scanner: Optional[Scanner] = None
    poll: float = drive.POLL_SECONDS
    again: float = drive.AGAIN_SECONDS
    monotonic: Callable[[], float] = time.monotonic

    def driver(self, spec: Spec) -> Driver:
        """Return how this rollout's hosts are driven."""
        others = inventory.Entries(self.engine)
        scanner = self.scanner or Scanner(lambda entry: connect(entry, others), self.program, time.time)
        return Driver(scanner, spec.patience, self.monotonic, self.poll, self.again)


_context: list[Context] = []


def context() -> Context:
    """Return this process's context."""
    return _context[-1]


def launch(given: Context, database: str, executor: str, at_a_time: int) -> None:
    """Start the engine; what was cut off in a process of this ``executor`` goes on at once."""
    _context[:] = [given]
    config: DBOSConfig = {
        "name": "interlock", "system_database_url": database, "application_version": VERSION, "executor_id": executor,
        "serializer": DBOSPortableJSONSerializer(), "log_level": "ERROR", "console_log_level": "ERROR",
    }  # fmt: skip
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=at_a_time, polling_interval_sec=POLL_SECONDS)


def end() -> None:
    """Stop the engine; what is under way goes on at the next start."""
    DBOS.destroy(workflow_completion_timeout_sec=0)


def begin(name: str) -> Any:
    """Start the workflow of a rollout, or find it; returns its handle."""
    with SetWorkflowID(f"rollout:{name}"):
        return DBOS.start_workflow(roll_out, name)


@DBOS.step()
def read_waves(name: str) -> dict[str, Any]:
    """Return the waves of a rollout, and how long to wait between them."""
    spec = rollouts.read_spec(context().engine, name)
    return {"waves": spec.waves, "soak": spec.soak, "back": spec.take_back, "reboot": spec.reboot}


@DBOS.step()
def look(name: str) -> str:
    """Say whether a rollout may go on: nothing, ``paused``, or why not; a spent budget is written down."""
    engine = context().engine
    spec, standing = rollouts.read_spec(engine, name), rollouts.tally(engine, name)
    if standing.state in (STOPPED, ABORTED):
        return standing.reason or standing.state
    verdict = standing.verdict(spec.budget, spec.total)
    if verdict:
        rollouts.set_state(engine, name, STOPPED, verdict)
        return verdict
    return PAUSED if standing.state == PAUSED else ""


@DBOS.step()
def note(name: str, row: dict[str, Any]) -> None:
    """Write down how far a host is."""
    rollouts.note(context().engine, name, row, time.time())


@DBOS.step()
def carry_out(name: str, host: str) -> dict[str, Any]:
    """Have a host carry out the wish, and wait for its end."""
    spec = rollouts.read_spec(context().engine, name)
    known = inventory.find(context().engine, host)
    wish = Wish(f"{name}:{host}", spec.depot, tuple(spec.bulletins), tuple(spec.options))
    return asyncio.run(context().driver(spec).carry_out(known.entry, wish))


@DBOS.step()
def boot(name: str, host: str) -> str:
    """Return what tells the present boot of a host from another; written down before it is rebooted."""
    engine = context().engine
    known = inventory.find(engine, host)
    return asyncio.run(context().driver(rollouts.read_spec(engine, name)).boot(known.entry))


@DBOS.step()
def reboot(name: str, host: str, before: str) -> dict[str, Any]:
    """Reboot a host by its own verdict, and wait until it has proven itself."""
    engine = context().engine
    known = inventory.find(engine, host)
    return asyncio.run(context().driver(rollouts.read_spec(engine, name)).reboot(known.entry, before))


@DBOS.step()
def health(name: str, host: str) -> dict[str, Any]:
    """Run the user's health check on a host, where there is one."""
    engine = context().engine
    spec = rollouts.read_spec(engine, name)
    known = inventory.find(engine, host)
    return asyncio.run(context().driver(spec).healthy(known.entry, spec.health)) if spec.health else {"outcome": DONE}


@DBOS.step()
def take_back(name: str, host: str, operation: str) -> dict[str, Any]:
    """Roll back what was done to a host."""
    spec = rollouts.read_spec(context().engine, name)
    known = inventory.find(context().engine, host)
    return asyncio.run(context().driver(spec).take_back(known.entry, operation))


@DBOS.step()
def finish(name: str) -> dict[str, Any]:
    """Write down the end of a rollout that went through all of its waves."""
    engine = context().engine
    spec, standing = rollouts.read_spec(engine, name), rollouts.tally(engine, name)
    if standing.state not in (STOPPED, ABORTED):
        rollouts.set_state(engine, name, COMPLETE, standing.verdict(spec.budget, spec.total))
    return {"state": rollouts.tally(engine, name).state}


@DBOS.workflow()
def on_host(name: str, host: str, wants_back: bool, may_reboot: bool) -> dict[str, Any]:
    """Do one host of a rollout, unless the rollout has stopped by then."""
    answer = look(name)
    while answer == PAUSED:
        DBOS.sleep(PAUSE_SECONDS)
        answer = look(name)
    if answer:
        note(name, {"host": host, "outcome": SKIPPED, "detail": answer})
        return {"host": host, "outcome": SKIPPED}
    note(name, {"host": host, "outcome": RUNNING})
    row: dict[str, Any] = carry_out(name, host)
    if row["host"] != host:
        raise RuntimeError(f"the result of {row['host']} came to {host}")
    if row["outcome"] == DONE and row.get("reboot") and may_reboot:
        note(name, {**row, "outcome": RUNNING, "detail": "reboots"})
        before = boot(name, host)
        lost = {"outcome": UNREACHABLE, "detail": "upgraded; it was to be rebooted, and could not be reached"}
        row = {**row, **(reboot(name, host, before) if before else lost)}
    if row["outcome"] == DONE:
        row = {**row, **health(name, host)}
    note(name, row)
    if wants_back and row["outcome"] == "unhealthy" and row["operation"]:
        back = take_back(name, host, row["operation"])
        row = {**row, "detail": f"{row['detail']}; {back['outcome']} {back['detail']}".strip()}
        note(name, row)
    return row


@DBOS.workflow()
def roll_out(name: str) -> dict[str, Any]:
    """Do the waves of a rollout, one after the other, until its budget is spent."""
    plan: Mapping[str, Any] = read_waves(name)
    for number, wave in enumerate(plan["waves"]):
        handles: list[Any] = []
        for host in wave:
            with SetWorkflowID(f"host:{name}:{host}"):
                handles.append(DBOS.enqueue_workflow(QUEUE, on_host, name, host, plan["back"], plan["reboot"]))
        results = [handle.get_result(polling_interval_sec=POLL_SECONDS) for handle in handles]
        if number + 1 < len(plan["waves"]) and any(one["outcome"] in GOOD for one in results):
            DBOS.sleep(plan["soak"])
    ended: dict[str, Any] = finish(name)
    return ended
