"""Work in a process of its own, beside the engine's: a fork, which needs no file of the interpreter."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Callable, TypeVar

from interlock.errors import InterlockError
from interlock.system import linux

T = TypeVar("T")
# Fewer are done sooner than a process is made.
FEW = 500
# Niceness, added to ours.
BEHIND = 10


class AsideFailed(InterlockError):
    """A part of the engine that works beside it failed: {what}."""

    hint = "The operation's output.log says why."


class Aside:
    """Begins at once; left before it is done, it is ended. What the work returns is lost."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.name = work.__name__
        us, self.pid = os.getpid(), os.fork()
        if self.pid == 0:
            self._do(work, us)

    def _do(self, work: Callable[[], object], parent: int) -> None:
        status = 1
        try:
            _end_with(parent)
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


def beside(work: Callable[[], object], meanwhile: Callable[[], object]) -> None:
    """Do one thing in a process of its own while we do another; where that fails, it is done here, and raises.

    ``work`` must be such that doing it twice does no harm. If what we do raises, the process is ended.
    """
    with Aside(work) as other:
        meanwhile()
        try:
            other.wait()
        except AsideFailed:
            work()


class Asked:
    """Work in a process of its own, whose answer is wanted later. It may be done twice, and its answer fits JSON.

    Tuples come back as lists.
    """

    def __init__(self, work: Callable[[], Sequence[Any]]) -> None:
        self.work = work
        self.reading, writing = os.pipe()
        us, self.pid = os.getpid(), os.fork()
        if self.pid == 0:
            os.close(self.reading)
            _answer_and_end(work, writing, us)
        os.close(writing)

    def answer(self) -> list[Any]:
        """Wait for it. Where that process has failed the work is done here, and raises what it raises."""
        pid, self.pid = self.pid, 0
        with os.fdopen(self.reading, encoding="utf-8") as stream:
            said = stream.read()
        return list(json.loads(said) if os.waitpid(pid, 0)[1] == 0 else self.work())

    def end(self) -> None:
        """Give up: the answer is of no more use."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.reading)
            self.pid = 0


def in_two(work: Callable[[Sequence[T]], Sequence[Any]], items: Sequence[T]) -> list[Any]:
    """Return all that ``work`` says of the items; a process beside us takes the second half (as ``Asked``)."""
    middle = len(items) // 2
    if len(items) < FEW:
        return list(work(items))
    second = Asked(lambda: work(items[middle:]))
    try:
        return [*work(items[:middle]), *second.answer()]
    finally:
        second.end()


def _answer_and_end(work: Callable[[], Sequence[Any]], writing: int, parent: int) -> None:
    """End this process with status 0 if all was done and said."""
    status = 1
    try:
        _end_with(parent)
        with os.fdopen(writing, "w", encoding="utf-8") as stream:
            json.dump(list(work()), stream)
        status = 0
    finally:
        os._exit(status)


def _end_with(parent: int) -> None:
    """Let this process not go on when its parent is gone: recovery may be at work then. It stands behind all others."""
    os.nice(BEHIND)
    linux.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
