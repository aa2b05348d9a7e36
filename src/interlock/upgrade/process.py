"""The engine's side of the worker: starts it, reads what it says, sees it end."""

from __future__ import annotations

import json
import os
import select
import signal
from types import TracebackType
from typing import Any, Optional

from interlock.errors import InterlockError
from interlock.system.trace import Trace
from interlock.upgrade.worker import Job, Worker

CHUNK = 1 << 16


class WorkerEnded(InterlockError):
    """The process that ran rpm ended in the middle: {detail}."""

    hint = "The operation's output.log has what it printed last."


class WorkerProcess:
    """A running worker; left, it is ended if it has not ended by itself."""

    def __init__(self, job: Job, trace: Trace) -> None:
        self.job, self.trace = job, trace
        self.pid = 0
        self.reading = self.writing = -1
        self.pending = b""
        self.lines: list[bytes] = []

    def __enter__(self) -> WorkerProcess:
        self.reading, said = os.pipe()
        heard, self.writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.reading)
            os.close(self.writing)
            self.trace.together_with()
            with os.fdopen(said, "w", encoding="utf-8", errors="surrogateescape") as say:
                Worker(self.job, self.trace, say, heard).serve()
        os.close(said)
        os.close(heard)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        os.close(self.writing)
        if kind is not None:
            self._signal(signal.SIGKILL)
        self._wait()
        os.close(self.reading)

    def _signal(self, number: int) -> None:
        if self.pid:
            os.kill(self.pid, number)

    def _wait(self) -> int:
        if not self.pid:
            return 0
        status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        return status

    def go(self) -> None:
        """Let it run the transaction."""
        os.write(self.writing, b"g")

    def message(self, timeout: float) -> Optional[dict[str, Any]]:
        """Return the next message, or None if there was none within ``timeout`` seconds.

        Raises WorkerEnded when the worker has closed its end.
        """
        while not self.lines:
            ready, _, _ = select.select([self.reading], [], [], timeout)
            if not ready:
                return None
            chunk = os.read(self.reading, CHUNK)
            if not chunk:
                raise WorkerEnded(detail=_describe(self._wait()))
            *whole, self.pending = (self.pending + chunk).split(b"\n")
            self.lines = whole
        message: dict[str, Any] = json.loads(self.lines.pop(0).decode("utf-8", "surrogateescape"))
        return message


def _describe(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"ended by signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.WEXITSTATUS(status)}"
