"""Calls a function in a process of its own, without a new interpreter.

For what must not happen in the engine's own process: opening a package database's files with SQLite or librpm
there would drop, on closing them, every POSIX lock of the process; and memory that a library keeps would stay. A
fork needs no file of the interpreter, so it also works when these have been replaced.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from typing import Any, Callable, NoReturn, Optional

from interlock.errors import InterlockError
from interlock.system import linux

CHUNK = 1 << 16


class ChildFailed(InterlockError):
    """{purpose} failed: {detail}."""


class ChildTimedOut(InterlockError):
    """{purpose} was ended after {seconds} s without a result."""

    hint = "It may wait for a lock: `interlock check` names who holds the package database."


def call_in_child(purpose: str, function: Callable[[], Any], timeout: float) -> Any:
    """Return what ``function`` returns (any JSON value), computed in a forked process.

    Raises ChildFailed with the text of the error that it raised there, ChildTimedOut after ``timeout`` seconds.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _serve(function, writing)
    os.close(writing)
    try:
        answer = _collect(reading, time.monotonic() + timeout)
    finally:
        os.close(reading)
        _reap(pid)
    if answer is None:
        raise ChildTimedOut(purpose=purpose, seconds=f"{timeout:g}")
    return _unpack(purpose, answer)


def _serve(function: Callable[[], Any], writing: int) -> NoReturn:
    linux.die_with_parent()
    try:
        answer = {"ok": function()}
    except BaseException as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    try:
        content = json.dumps(answer).encode()
        while content:
            content = content[os.write(writing, content) :]
    finally:
        os._exit(0)


def _collect(reading: int, deadline: float) -> Optional[bytes]:
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(reading, CHUNK)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _reap(pid: int) -> None:
    """End the child, if it has not ended, and take its status: it is ours, and has nobody else to answer to."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.waitpid(pid, 0)


def _unpack(purpose: str, answer: bytes) -> Any:
    try:
        value = json.loads(answer)
    except ValueError:
        raise ChildFailed(purpose=purpose, detail="its process ended without an answer") from None
    if "error" in value:
        raise ChildFailed(purpose=purpose, detail=value["error"])
    return value["ok"]
