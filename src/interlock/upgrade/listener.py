"""Listens to the worker while it runs the transaction: passes on what it says as events and remembers the outcome."""

from __future__ import annotations

from typing import Any

from interlock.events import EventSink
from interlock.upgrade.nested import REFUSED
from interlock.upgrade.process import WorkerEnded
from interlock.upgrade.verify import FileChecker
from interlock.upgrade.watch import ScriptWatch


class TransactionListener:
    """What is known of a transaction so far. ``result`` is empty until rpm has returned.

    ``touched`` says whether rpm has begun to unpack or remove any package; ``refused`` are the scriptlets in which an
    rpm of their own did not get the transaction lock.
    """

    def __init__(self, events: EventSink, checker: FileChecker, watch: ScriptWatch, installs: int) -> None:
        self.events, self.checker, self.watch, self.installs = events, checker, watch, installs
        self.touched = False
        self.failed_scripts: list[str] = []
        self.refused: list[str] = []
        self.result: dict[str, Any] = {}
        self.total = 0
        self.counts = {"install": 0, "erase": 0}

    def heard(self, message: dict[str, Any]) -> None:
        """Take one message; WorkerEnded where the worker has given up."""
        kind = message.pop("kind")
        getattr(self, f"_{kind}")(message)

    def _transaction(self, message: dict[str, Any]) -> None:
        self.total = message["elements"]
        self.events.emit("transaction.started", elements=self.total)

    def _element(self, message: dict[str, Any]) -> None:
        self.touched = True
        action = message["action"]
        self.counts[action] += 1
        total = self.installs if action == "install" else max(self.total - self.installs, self.counts[action])
        self.events.emit("element.started", **message, number=self.counts[action], total=total)

    def _element_done(self, message: dict[str, Any]) -> None:
        self.checker.unpacked(message["package"])
        self.events.emit("element.finished", **message)

    def _script(self, message: dict[str, Any]) -> None:
        self.watch.started(message["package"], message["script"], message.pop("at"))
        self.events.emit("script.started", **message)

    def _script_done(self, message: dict[str, Any]) -> None:
        self.watch.ended(message.pop("at"))
        self.events.emit("script.finished", **message)
        name = f"{message['script']} of {message['package']}"
        if message["failed"]:
            self.failed_scripts.append(name)
        if REFUSED in message["output"]:
            self.refused.append(name)

    def _result(self, message: dict[str, Any]) -> None:
        self.result = message
        if message["problems"]:
            raise WorkerEnded(detail="; ".join(message["problems"]))

    def _failed(self, message: dict[str, Any]) -> None:
        raise WorkerEnded(detail=". ".join([message["detail"], *self.watch.ended_ones]))
