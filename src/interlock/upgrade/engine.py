"""The engine: carries one operation from ``staged`` to its end.

Order of what is held: the host's lease, rpm's lock, the isolation (shadow or gate), the worker. Whatever fails
before rpm has changed a file undoes all of it, and the host is as before. Whatever fails later leaves the original
database in place, keeps what was written for a look, and puts the host on hold.

Rules: from ``apply.begin`` on nothing is imported and no program is started that needs the interpreter's library,
because the transaction may be replacing it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Optional

from interlock.boot.guard import lower_guard
from interlock.boot.rescue import forget_rescue, install_rescue, mark_proven
from interlock.errors import ExitStatus, InterlockError, Refused, RolledBack
from interlock.events import EventSink
from interlock.host.context import Host
from interlock.host.hold import Hold, put_on_hold, refuse_when_held
from interlock.host.lease import Lease
from interlock.package import Nevra
from interlock.rpmdb.backend import Database, find_database
from interlock.rpmdb.lock import RpmLock
from interlock.rpmdb.shadow import kept_copies
from interlock.system import durable
from interlock.system.priority import behind_others
from interlock.upgrade import aftermath, proof, quiet, retreat
from interlock.upgrade import state as states
from interlock.upgrade.aside import Aside, beside
from interlock.upgrade.isolation import Isolation, choose_isolation
from interlock.upgrade.journal import Journal
from interlock.upgrade.listener import TransactionListener
from interlock.upgrade.nested import Nested
from interlock.upgrade.operation import Operation, list_operations
from interlock.upgrade.plan import INSTALL_ONLY, Plan
from interlock.upgrade.process import WorkerProcess
from interlock.upgrade.rollback import previous_of
from interlock.upgrade.undo import ConcernCollector, UndoStore
from interlock.upgrade.undo_policy import expire, read_policy
from interlock.upgrade.verify import FileChecker, Finding, payload_files, summary
from interlock.upgrade.watch import ScriptWatch
from interlock.upgrade.worker import Element, Job

# Where packages put files; each file system among them is synced once before the commit.
SYSTEM_ROOTS = ("/", "/usr", "/etc", "/var", "/opt", "/boot", "/boot/efi")
POLL_SECONDS = 1.0
BACKGROUND = 10


class Engine:
    """Runs one operation; ``run`` returns its last state, and raises what refused it or what put it on hold."""

    def __init__(self, host: Host, operation: Operation, journal: Journal, events: EventSink) -> None:
        self.host, self.operation, self.journal, self.events = host, operation, journal, events
        self.request = operation.request()
        self.plan = Plan.from_json(operation.read_json("plan.json"))
        self.files: dict[str, str] = operation.read_json("staged.json")["files"]
        self.state: states.State = operation.state() or states.Planned(packages=0)
        self.checker = FileChecker()
        self.transaction: Optional[TransactionListener] = None
        self.nested: list[Nested] = []
        self.remarks: list[str] = []
        self.undo = UndoStore(host, operation.id)
        self.policy = read_policy(host.paths)
        self.collector = ConcernCollector()

    def enter(self, following: states.State) -> None:
        """Go to another state, durably, and tell."""
        previous, self.state = self.state, states.advance(self.state, following)
        self.journal.state(following)
        self.events.emit("state.changed", previous=previous.name, state=following.name)

    def run(self) -> states.State:
        """Do it all. Whatever is raised has been journalled: the last state is rolled-back or held."""
        try:
            self._under_lease()
        except BaseException as error:
            # What is committed stays so; the next command finishes it.
            if not states.final(self.state) and not isinstance(self.state, states.Committed):
                self._give_up(error)
            raise
        return self.state

    def _give_up(self, error: BaseException) -> None:
        self.enter(states.RollingBack(reason=str(error)))
        self.enter(states.RolledBack(reason=str(error)))

    def _under_lease(self) -> None:
        with Lease(self.host.paths, self.operation.id, self.host.clock, self.host.proc):
            self.host.trace.point("lease.taken")
            refuse_when_held(self.host.paths, self.request.mends)
            database = find_database(self.host.runner)
            with RpmLock(database, self.host.proc):
                self.host.trace.point("lock.taken")
                self._under_lock(database)
        self.host.trace.point("done")
        self.enter(states.Done())

    def _under_lock(self, database: Database) -> None:
        isolation = choose_isolation(self.host, database, self.operation.id, self.request.isolation)
        self.journal.intent("isolate", kind=isolation.kind, shadow=isolation.shadow.path, database=database.path)
        with Aside(self.undo.warm_up), isolation:
            try:
                # Whatever we do while the worker is there is for a processor that has nothing else to do: looking,
                # linking, reading back what rpm has written. Others' queries come first.
                with WorkerProcess(self._job(isolation), self.host.trace) as worker, behind_others(BACKGROUND):
                    self._prepare(isolation, worker)
                    transaction = self._apply(isolation, worker)
                with behind_others(BACKGROUND):
                    beside(self.undo.remember_after, lambda: self._verify(isolation, transaction))
                self.enter(states.Verified(files=self.checker.files, packages=len(transaction.result["nevras"])))
                self.host.trace.point("verified")
                self._commit(isolation)
            except BaseException as error:
                self._after_failure(isolation, error)
                raise
            finally:
                quiet.start_agents(self.host, self.journal, self.operation.records(), self.events)
        self._make_room(database)

    def _job(self, isolation: Isolation) -> Job:
        here = frozenset(self.operation.read_json("staged.json")["installed"])
        elements = tuple(
            Element(nevra, path, beside=Nevra.parse(nevra).name in INSTALL_ONLY, again=nevra in here)
            for nevra, path in self.files.items()
        )
        return Job(
            elements=elements, removed=self._removed(), database=isolation.database.path, shadow=isolation.bind,
            # Behind the gate, or with a lock outside of the database, the worker would meet the engine's own lock.
            lock="" if isolation.hides_lock else self.operation.path("rpm.lock"),
            output=self.operation.path("scriptlets.log"),
            nice=self.request.nice, back=self.request.back,
            erased=tuple(str(one.nevra) for one in self.plan.removals) if self.request.back else (),
        )  # fmt: skip

    def _removed(self) -> dict[str, str]:
        gone = {old.name: str(old) for upgrade in self.plan.upgrades for old in upgrade.old}
        return {**gone, **{removal.nevra.name: str(removal.nevra) for removal in self.plan.removals}}

    # -- prepare ------------------------------------------------------------------------------------------------

    def _prepare(self, isolation: Isolation, worker: WorkerProcess) -> None:
        self.events.emit("step.started", step="prepare", detail=f"{isolation.kind} of {isolation.database.path}")
        while True:
            message = self._expect(worker)
            if message["kind"] == "checked":
                break
            self._prepare_for(message)
        if message["problems"]:
            raise Refused(reasons="; ".join(message["problems"]))
        proof.preload(self.host.runner)
        self.enter(states.Prepared(isolation.kind, isolation.database.path, isolation.shadow.path))
        self.host.trace.point("prepared")

    def _prepare_for(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "package":
            files = payload_files(message["nevra"], message["algorithm"], message["files"])
            self.checker.expect(message["nevra"], files)
            self.nested += [Nested(*row) for row in message["nested"]]
            self.collector.package(message["files"])
        elif kind == "old":
            self.collector.old(message["algorithm"], message["files"])
        elif kind == "other":
            self.collector.other(message["paths"])
        elif kind == "loaded":
            # While the worker makes its test transaction.
            self.journal.intent("guard")
            retreat.refuse_reboots(self.host, self.operation, "changing packages", self._fill_undo_store)

    def _fill_undo_store(self) -> None:
        self.journal.intent("undo", folder=self.undo.folder)
        try:
            # What it puts in place, once on a host, belongs to the state from before.
            install_rescue(self.host)
            kept = self.undo.keep(self.collector.concern(known=not self.request.mends))
        except OSError as error:
            raise Refused(reasons=f"the undo store {self.undo.folder} cannot be filled: {error.strerror}") from error
        self.journal.outcome("undo", **kept._asdict())
        self.events.emit("undo.kept", folder=self.undo.folder, **kept._asdict())

    def _expect(self, worker: WorkerProcess) -> dict[str, Any]:
        while True:
            message = worker.message(POLL_SECONDS)
            if message is not None and message["kind"] == "failed":
                raise Refused(reasons=message["detail"])
            if message is not None:
                return message

    # -- apply --------------------------------------------------------------------------------------------------

    def _apply(self, isolation: Isolation, worker: WorkerProcess) -> TransactionListener:
        if self.request.quiesce:
            quiet.stop_agents(self.host, self.journal, self.events, isolation.database)
        self.enter(states.Applying(worker=worker.pid))
        watch = ScriptWatch(
            self.host, self.events, worker.pid, worker.reading,
            limit=self.request.script_limit, gate=not isolation.bind, record=self._record_ending,
        )  # fmt: skip
        transaction = TransactionListener(self.events, self.checker, watch, len(self.files))
        self.transaction = transaction
        worker.go()
        self._follow(worker, transaction, watch)
        self.enter(states.Applied(failed_scripts=tuple(transaction.failed_scripts)))
        self.host.trace.point("applied")
        return transaction

    def _follow(self, worker: WorkerProcess, transaction: TransactionListener, watch: ScriptWatch) -> None:
        while not transaction.result:
            message = worker.message(0.0 if self.checker.queue else POLL_SECONDS)
            if message is not None:
                transaction.heard(message)
            else:
                self.checker.work()
                watch.tick()

    def _record_ending(self, processes: str, why: str) -> None:
        self.journal.intent("end-processes", processes=processes, why=why)

    def _look_around(self, transaction: TransactionListener) -> None:
        """Name what the scriptlets left, and what they were to bring and did not."""
        aftermath.tell_processes(self.host, self.events, transaction.watch, self.operation.path("scriptlets.log"))
        self.remarks = aftermath.tell_missing(self.host, self.events, transaction, self.nested)
        if self.remarks:
            self.journal.outcome("nested", missing=self.remarks)

    # -- verify, commit -----------------------------------------------------------------------------------------

    def _verify(self, isolation: Isolation, transaction: TransactionListener) -> None:
        self.events.emit("step.started", step="verify", detail=f"{self.checker.files} files")
        began = self.host.clock.monotonic()
        nevras: list[str] = transaction.result["nevras"]
        self._look_around(transaction)
        findings = [Finding(one, "failed") for one in transaction.failed_scripts]
        findings += self.checker.finish(frozenset(transaction.result["skipped"]))
        findings += proof.packages(self.expected(), nevras)
        findings += proof.programs_run(self.host.runner)
        if not findings:
            findings = proof.convert(self.host, isolation.database, isolation.written, nevras)
        for one in findings:
            self.events.emit("finding", subject=one.subject, detail=one.detail)
        if findings:
            raise InterlockError(detail=". ".join([_unplanned(findings), *transaction.watch.ended_ones]))
        self.events.emit("step.finished", step="verify", seconds=round(self.host.clock.monotonic() - began, 3))

    def expected(self) -> frozenset[str]:
        """Return the NEVRAs that the database must hold when the plan has been carried out."""
        before = map(Nevra.parse, self.operation.read_json("staged.json")["installed"])
        return frozenset(map(str, self.plan.expected(before)))

    def _commit(self, isolation: Isolation) -> None:
        # The database must never say what the files do not bear out: after a power cut, too.
        durable.sync_payload(SYSTEM_ROOTS)
        mark_proven(self.undo.folder)
        inode = os.stat(isolation.written).st_ino
        self.journal.intent("commit", shadow=isolation.shadow.path, inode=inode, database=isolation.database.path)
        self.host.trace.point("commit.intent")
        previous = isolation.commit()
        self.host.trace.point("commit.exchanged")
        self.journal.outcome("commit", previous=previous)
        self.enter(states.Committed(previous=previous))
        self.host.trace.point("committed")
        forget_rescue(self.host.paths)
        # A reader that hung in a poisoned environment stays hung: it is named, not ended.
        beside(lambda: lower_guard(self.host), lambda: aftermath.tell_readers(self.host, self.events, previous))
        self.host.trace.point("guard.lowered")

    def _make_room(self, database: Database) -> None:
        """Let go what has expired, now that this one can be taken back. What cannot be removed changes no outcome."""
        try:
            expire(self.host, self.policy, coming=1)
            self._prune(database)
        except OSError as error:
            self.events.emit("note", text=f"what has expired could not be removed: {error}")

    def _prune(self, database: Database) -> None:
        """Remove old databases that no operation can be taken back with; what waits for a person stays."""
        operations = list_operations(self.host.paths)
        kept = {getattr(one.state(), "kept", "") for one in operations}
        kept |= {previous_of(one) for one in operations if UndoStore(self.host, one.id).proven}
        durable.remove_trees([path for path in kept_copies(database) if path not in kept])

    # -- failure ------------------------------------------------------------------------------------------------

    def _after_failure(self, isolation: Isolation, error: BaseException) -> None:
        """Decide what the host is now: as before, or in need of a person."""
        if isinstance(self.state, (states.Committed, states.Done)):
            return
        if not isinstance(self.state, (states.Applying, states.Applied, states.Verified)):
            retreat.finish(self.host)
            self.undo.shrink()
            return
        text = self._retreat(isolation, error)
        restarted = retreat.finish(self.host, self.operation.began(self.host.proc.boot_id()))
        self.undo.shrink()
        parts = [str(error).rstrip("."), text, *([restarted] if restarted else [])]
        raise RolledBack(detail=". ".join(parts)) from error

    def _retreat(self, isolation: Isolation, error: BaseException) -> str:
        """Put every file back, then the database; a person is needed where that fails."""
        self.enter(states.RollingBack(reason=str(error)))
        try:
            retreat.end_left_processes(self.host, self.operation)
            self.undo.forget_after()
            changes = retreat.restore_files(self.host, self.undo)
        except Exception as problem:
            self._hold(isolation, f"{error}. {problem}")
            raise
        isolation.abandon()
        text = retreat.in_words(changes, self.undo)
        self.enter(states.RolledBack(reason=f"{error}. {text}"))
        return text

    def _hold(self, isolation: Isolation, reason: str) -> None:
        kept = isolation.keep()
        hold = Hold(self.operation.id, reason, self.host.clock.now(), kept)
        put_on_hold(self.host.paths, hold)
        self.enter(states.OnHold(reason=reason, kept=kept))


def _unplanned(findings: Sequence[Finding]) -> str:
    return f"the new state is not the planned one: {summary(findings)}"


def exit_status_of(error: Optional[BaseException], state: states.State) -> ExitStatus:
    """Return the exit status that an ended operation stands for."""
    if isinstance(state, states.OnHold):
        return ExitStatus.HELD
    if isinstance(error, InterlockError):
        return error.exit_status
    return ExitStatus.DONE if error is None else ExitStatus.UNEXPECTED
