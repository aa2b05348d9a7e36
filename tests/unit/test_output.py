"""What is printed where, and the exit status of the program for every kind of end."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from made import SOURCE

from interlock import __version__
from interlock.cli import main as program
from interlock.cli import output, records
from interlock.errors import BadDepot, Busy, Held, InterlockError, Refused, RolledBack, UsageError

# -- the program's end ---------------------------------------------------------------------------------------------


@pytest.fixture
def ends_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs the program with a verb that raises, or returns, something."""

    def run(what: BaseException | int, *words: str) -> int:
        def verb(_options: argparse.Namespace) -> int:
            if isinstance(what, BaseException):
                raise what
            return what

        monkeypatch.setattr(records, "run_status", verb)
        return program.main([*words[:1], "status", *words[1:]])

    return run


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InterlockError(detail="x"), 1), (UsageError(detail="x"), 2), (Refused(reasons="x"), 3),
        (RolledBack(detail="x"), 4), (Held(detail="x"), 5), (Busy(owner="x", age="1 s ago"), 6),
        (BadDepot(depot="x", detail="x"), 7), (KeyboardInterrupt(), 1), (ZeroDivisionError("x"), 1), (0, 0), (5, 5),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)  # fmt: skip
def test_exit_statuses(ends_with: Callable[..., int], error: BaseException | int, status: int) -> None:
    assert ends_with(error) == status


def test_an_error_for_people_is_on_stderr_with_the_next_step(
    ends_with: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    ends_with(Refused(reasons="no space"))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "interlock: Refused: no space.\n  → Nothing was changed. Mend what is named above and try again.\n"
    )


def test_an_error_for_programs_is_on_stdout(ends_with: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    program_status = ends_with(Busy(owner="rpm (pid 7)", age="3 min ago"), "--debug", "--json")
    said = capsys.readouterr()
    row = json.loads(said.out)
    assert program_status == row["exit_status"] == 6
    assert (row["error"], row["fields"]["owner"]) == ("busy", "rpm (pid 7)")
    assert said.err == ""


def test_an_interrupt_says_that_the_operation_goes_on(
    ends_with: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    ends_with(KeyboardInterrupt())
    assert "an operation that runs goes on" in capsys.readouterr().err


def test_an_unexpected_error_is_named_and_shown_whole_when_asked_for(
    ends_with: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends_with(ZeroDivisionError("by zero")) == 1
    said = capsys.readouterr().err
    assert "Unexpected error: ZeroDivisionError: by zero." in said
    assert "--debug" in said
    with pytest.raises(ZeroDivisionError):
        ends_with(ZeroDivisionError("by zero"), "--debug")


@pytest.mark.parametrize(
    "words",
    [[], ["no-such-verb"], ["update"], ["status", "--no-such-option"], ["update", "--depot", "d", "--isolation", "x"]],
    ids=" ".join,
)
def test_usage_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        program.main(words)
    assert caught.value.code == 2
    assert "usage: interlock" in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in ((["--version"], f"interlock {__version__}"), (["--help"], "Exit status: 0 done")):
        with pytest.raises(SystemExit) as caught:
            program.main(words)
        assert caught.value.code == 0
        assert said in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    text = (
        "import sys\nfrom interlock.cli import records\nfrom interlock.cli.output import say\n"
        "def verb(options):\n    sys.stdin.readline()\n    say('x' * 100000)\n    return 0\n"
        "records.run_status = verb\nfrom interlock.cli.main import main\nsys.exit(main(['status']))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", text], env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None
    _, said = child.communicate(b"\n", timeout=20)
    assert (child.returncode, said) == (1, b"")


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (1 << 50, "1024.0 TiB")],
)
def test_sizes(number: float, said: str) -> None:
    assert output.size(number) == said


def test_counts() -> None:
    assert [output.count(number, "upgrade") for number in (0, 1, 2)] == ["0 upgrades", "1 upgrade", "2 upgrades"]


def test_a_table_is_aligned_and_has_no_white_space_at_the_end() -> None:
    assert output.table(("ID", "STATE"), [("long-name", 1), ("x", "")]) == [
        "  ID         STATE",
        "  long-name  1",
        "  x",
    ]
    assert output.table(("ID",), []) == ["  ID"]


@pytest.mark.parametrize(
    ("answer", "given"),
    [("y\n", True), ("YES \n", True), ("\n", False), ("n\n", False), ("yes, but\n", False), ("", False)],
)
def test_consent(answer: str, given: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert output.consent("Go on?", False, io.StringIO(answer)) is given
    assert capsys.readouterr().out == "Go on? [y/N] "


def test_consent_was_given_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert output.consent("Go on?", True)
    assert capsys.readouterr().out == ""


def test_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match="add --yes"):
        output.consent("Go on?", False)


@pytest.mark.parametrize(("status", "out", "err"), [
    (0, "done: 3 packages installed\n", ""), (5, "", "interlock: 3 packages installed\n  → do this\n"),
])  # fmt: skip
def test_the_end_of_an_operation(status: int, out: str, err: str, capsys: pytest.CaptureFixture[str]) -> None:
    event: dict[str, Any] = {"state": "done", "message": "3 packages installed", "hint": "do this"}
    output.say_end({**event, "exit_status": status})
    said = capsys.readouterr()
    assert (said.out, said.err) == (out, err)


def test_json_is_plain_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"name": "käse"})
    said = capsys.readouterr().out
    assert said.isascii()
    assert json.loads(said) == {"name": "käse"}


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x9b31m", "\u202egnp.exe", "\r overwritten", "\x07", "\u2066x"])
def test_names_of_strangers_do_not_reach_the_terminal_as_commands(
    hostile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output.say(f"title {hostile} end\nnext")
    out = capsys.readouterr().out
    assert not any(one in out for one in "\x1b\x9b\u202e\r\x07\u2066")
    assert out.startswith("title \ufffd")
    assert out.endswith("end\nnext\n")
