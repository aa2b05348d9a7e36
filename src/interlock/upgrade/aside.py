"""One piece of work in a process of its own, beside the engine's: a fork, which needs no file of the interpreter."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Callable

from interlock.errors import InterlockError


class AsideFailed(InterlockError):
    """A part of the engine that works beside it failed: {what}."""

    hint = "The operation's output.log says why."


class Aside:
    """Begins at once; left before it is done, it is ended. What the work returns is lost."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.name = work.__name__
        self.pid = os.fork()
        if self.pid == 0:
            self._do(work)

    def _do(self, work: Callable[[], object]) -> None:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def __enter__(self) -> Aside:
        return self

    def __exit__(self, *error: object) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def wait(self) -> None:
        """Wait until it is done; AsideFailed where it did not come to its end."""
        pid, self.pid = self.pid, 0
        if pid and os.waitpid(pid, 0)[1] != 0:
            raise AsideFailed(what=self.name)
