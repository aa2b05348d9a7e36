"""The one door for subprocesses.

Every child gets an argument list (never a shell string), a fixed locale, a null stdin unless told otherwise, a
time limit, a session of its own (so that the whole of it can be ended), and the parent-death signal: a program
that we started does not outlive us unless that is its purpose. What we keep of its output is bounded.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Callable, Optional, Union

from interlock.errors import CommandFailed, CommandMissing, CommandTimedOut
from interlock.system import linux

LOG = logging.getLogger("interlock.run")
OUTPUT_LIMIT = 64 * 1024 * 1024
STDERR_LIMIT = 16 * 1024
Output = Union[int, IO[Any], None]


@dataclass(frozen=True)
class Completed:
    """What a finished command left behind. ``status`` is negative where a signal ended it."""

    argv: Sequence[str]
    status: int
    stdout: str
    stderr: str
    seconds: float


def pasteable(argv: Sequence[str]) -> str:
    """Return ``argv`` as one line that a shell would read back as the same words."""
    return " ".join(shlex.quote(word) for word in argv)


def child_environment(extra: Optional[Mapping[str, str]] = None) -> dict[str, str]:
    """Return this process's environment with the locale fixed, so that messages can be compared."""
    return {**os.environ, "LC_ALL": "C", "LANGUAGE": "C", **(extra or {})}


class Runner:
    """Starts programs. Passed in wherever one is needed, so that a test can give another."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60.0,
        check: bool = True,
        stdin: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
    ) -> Completed:
        """Run ``argv`` to its end and return its output as text (undecodable bytes replaced).

        Raises CommandMissing, CommandTimedOut (``timeout`` seconds; the child's whole session is ended), and
        CommandFailed where ``check`` is set and the status is not 0.
        """
        begun = time.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = self.start(argv, stdin=stdin, stdout=out, stderr=err, env=env, cwd=cwd)
            try:
                child.wait(timeout)
            except subprocess.TimeoutExpired:
                raise CommandTimedOut(command=pasteable(argv), seconds=f"{timeout:g}") from None
            finally:
                end_session(child)
            done = Completed(
                tuple(argv), child.returncode, _text(out, OUTPUT_LIMIT), _text(err, STDERR_LIMIT),
                time.monotonic() - begun,
            )  # fmt: skip
        LOG.debug("%s  # status %d, %.2f s", pasteable(argv), done.status, done.seconds)
        if check and done.status != 0:
            said = (done.stderr or done.stdout).strip() or "it printed nothing"
            raise CommandFailed(command=pasteable(argv), status=done.status, stderr=said)
        return done

    def attach(self, argv: Sequence[str]) -> int:
        """Run ``argv`` on our own terminal, input and output, and return its status as a shell would.

        It stays in our session: it is the foreground program, and gets the terminal's signals.
        """
        LOG.debug("attach %s", pasteable(argv))
        try:
            child = subprocess.Popen(list(argv), env=child_environment(), preexec_fn=linux.die_with_parent)
        except FileNotFoundError:
            raise CommandMissing(program=argv[0]) from None
        try:
            status = child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        return status if status >= 0 else 128 - status

    def start(
        self,
        argv: Sequence[str],
        *,
        stdin: Optional[str] = None,
        stdout: Output = subprocess.DEVNULL,
        stderr: Output = subprocess.DEVNULL,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        outlive: bool = False,
        pass_fds: Sequence[int] = (),
        alarm: float = 0.0,
    ) -> subprocess.Popen[bytes]:
        """Start ``argv`` and return its process; ``outlive`` spares it the parent-death signal.

        After ``alarm`` seconds the kernel ends it by itself, without a signal of ours: see setitimer(2).
        """
        LOG.debug("start %s", pasteable(argv))
        source = _stdin_file(stdin)
        try:
            return subprocess.Popen(
                list(argv), stdin=source, stdout=stdout, stderr=stderr, env=child_environment(env), cwd=cwd,
                start_new_session=True, pass_fds=tuple(pass_fds), preexec_fn=_before_exec(outlive, alarm),
            )  # fmt: skip
        except FileNotFoundError:
            raise CommandMissing(program=argv[0]) from None
        finally:
            if not isinstance(source, int):
                source.close()


def end_session(child: subprocess.Popen[bytes]) -> None:
    """End what is left of a child's own session; it was started by us, so nobody else is in it."""
    if child.poll() is not None:
        return
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def _before_exec(outlive: bool, alarm: float) -> Optional[Callable[[], None]]:
    if not alarm:
        return None if outlive else linux.die_with_parent

    def prepare() -> None:
        if not outlive:
            linux.die_with_parent()
        signal.setitimer(signal.ITIMER_REAL, alarm)

    return prepare


def _stdin_file(text: Optional[str]) -> Union[int, IO[bytes]]:
    if text is None:
        return subprocess.DEVNULL
    source = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller, once the child has it
    source.write(text.encode())
    source.seek(0)
    return source


def _text(stream: IO[bytes], limit: int) -> str:
    stream.seek(0)
    return stream.read(limit).decode("utf-8", "replace")
