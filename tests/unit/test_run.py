"""The one door for subprocesses: what each child gets, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from made import heard, python, until

from interlock.errors import CommandFailed, CommandMissing, CommandTimedOut
from interlock.system.run import OUTPUT_LIMIT, STDERR_LIMIT, Runner, child_environment, end_session, pasteable


def gone(pid: int) -> bool:
    """Say whether a process has ended; a zombie that nobody has reaped yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_output_status_and_words() -> None:
    done = Runner().run(
        ["/bin/sh", "-c", 'printf "%s|" "$@"; echo to-err >&2; exit 3', "sh", "a b", "$HOME;", "ü"], check=False
    )
    assert (done.status, done.stdout, done.stderr) == (3, "a b|$HOME;|ü|", "to-err\n")
    assert done.seconds > 0


def test_a_failure_is_an_error_with_the_command_to_paste() -> None:
    with pytest.raises(CommandFailed) as caught:
        Runner().run(["/bin/sh", "-c", "echo it is broken >&2; exit 4"])
    assert caught.value.fields["status"] == 4
    assert str(caught.value) == "`/bin/sh -c 'echo it is broken >&2; exit 4'` ended with status 4: it is broken."


def test_a_signal_is_a_negative_status() -> None:
    assert Runner().run(["/bin/sh", "-c", "kill -TERM $$"], check=False).status == -signal.SIGTERM


def test_a_missing_program_is_named() -> None:
    with pytest.raises(CommandMissing, match="no-such-program"):
        Runner().run(["no-such-program", "a"])


def test_the_locale_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    monkeypatch.setenv("KEPT", "yes")
    done = Runner().run(["/bin/sh", "-c", "echo $LC_ALL $LANGUAGE $KEPT $ADDED"], env={"ADDED": "too"})
    assert done.stdout == "C C yes too\n"
    assert child_environment({"LC_ALL": "C.UTF-8"})["LC_ALL"] == "C.UTF-8"


def test_stdin_is_null_or_the_given_text() -> None:
    assert Runner().run(["/bin/cat"]).stdout == ""
    assert Runner().run(["/bin/cat"], stdin="käse\n").stdout == "käse\n"


def test_undecodable_output_is_replaced() -> None:
    assert Runner().run(["/bin/sh", "-c", r"printf 'a\377b'"]).stdout == "a�b"


def test_what_is_kept_of_stderr_is_bounded() -> None:
    done = Runner().run(["/bin/sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x >&2"])
    assert done.stderr == "x" * STDERR_LIMIT
    assert STDERR_LIMIT < OUTPUT_LIMIT


def test_a_child_has_a_session_of_its_own() -> None:
    text = "import os; print(os.getsid(0) == os.getpid() == os.getpgid(0))"
    assert Runner().run([sys.executable, "-c", text]).stdout == "True\n"


def test_the_time_limit_ends_the_whole_session(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    text = f"sleep 600 & echo $! > {note}.new; echo $$ >> {note}.new; mv {note}.new {note}; wait"
    with pytest.raises(CommandTimedOut, match=r"after 0\.5 s"):
        Runner().run(["/bin/sh", "-c", text], timeout=0.5)
    grandchild, child = map(int, note.read_text().split())
    assert gone(child)
    until(lambda: gone(grandchild))


def test_an_interrupt_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def interrupt(child: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        started.append(child)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Runner().run(["/bin/sleep", "600"])
    assert started[0].returncode == -signal.SIGKILL


NESTED = (
    "import sys\nfrom interlock.system.run import Runner\n"
    "child = Runner().start(['/bin/sh', '-c', sys.argv[1]], outlive=sys.argv[2] == 'outlive')\n"
    "print(child.pid, flush=True)\nsys.stdin.readline()\n"
)


def test_a_program_ends_with_the_one_that_started_it() -> None:
    with python(NESTED, "exec sleep 600", "bound") as parent:
        pid = int(heard(parent))
        assert not gone(pid)
        parent.kill()
        parent.wait()
        until(lambda: gone(pid))


def test_unless_it_is_meant_to_outlive_it(tmp_path: Path) -> None:
    fifo, answer = tmp_path / "fifo", tmp_path / "answer"
    os.mkfifo(fifo)
    with python(NESTED, f"read word < {fifo}; echo $word > {answer}", "outlive") as parent:
        heard(parent)
        parent.kill()
        parent.wait()
        descriptor = os.open(fifo, os.O_RDWR)
        os.write(descriptor, b"alive\n")
        until(lambda: answer.exists() and answer.read_text() == "alive\n")
        os.close(descriptor)


def test_only_named_descriptors_are_passed_on(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = Runner().start([sys.executable, "-c", f"import os; os.write({writing}, b'here')"], pass_fds=[writing])
    os.close(writing)
    assert os.read(reading, 100) == b"here"
    os.close(reading)
    assert child.wait() == 0
    with open(tmp_path / "open", "w") as stream:
        os.set_inheritable(stream.fileno(), True)
        listing = Runner().run([sys.executable, "-c", "import os; print(*os.listdir('/proc/self/fd'))"]).stdout
    assert len(listing.split()) == 4, "stdin, stdout, stderr and the listing itself"


def test_ending_a_session_that_has_ended_does_nothing() -> None:
    child = Runner().start(["/bin/true"])
    child.wait()
    end_session(child)
    assert child.returncode == 0


@pytest.mark.parametrize(("code", "status"), [("exit 5", 5), ("kill -TERM $$", 143)])
def test_an_attached_program_gives_its_status_as_a_shell_would(code: str, status: int) -> None:
    assert Runner().attach(["/bin/sh", "-c", code]) == status


def test_an_attached_program_stays_in_our_session(tmp_path: Path) -> None:
    target = tmp_path / "sid"
    text = f"import os; open({str(target)!r}, 'w').write(str(os.getsid(0)))"
    assert Runner().attach([sys.executable, "-c", text]) == 0
    assert int(target.read_text()) == os.getsid(0)
    with pytest.raises(CommandMissing):
        Runner().attach(["no-such-program"])


def test_a_pasted_command_gives_the_same_words() -> None:
    words = ["a b", "$x", "'", "", "*"]
    text = f"printf '%s\\n' {pasteable(words)}"
    assert Runner().run(["/bin/sh", "-c", text]).stdout.split("\n")[:-1] == words
