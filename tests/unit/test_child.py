"""A function in a process of its own: its result, its error, its time, its end."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from made import heard, python, until

from interlock.system.child import ChildFailed, ChildTimedOut, call_in_child

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=8,
)


@settings(max_examples=10, deadline=None)
@given(value=JSON)
def test_the_result_comes_back(value: Any) -> None:
    assert call_in_child("a test", lambda: value, 20) == value


def test_a_result_larger_than_a_pipe() -> None:
    assert call_in_child("a test", lambda: "x" * 1_000_000, 20) == "x" * 1_000_000


def test_it_is_another_process_and_leaves_no_descriptor() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    assert call_in_child("a test", os.getpid, 20) != os.getpid()
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("raised", "said"),
    [(OSError(5, "Input/output error"), "OSError: [Errno 5] Input/output error"), (SystemExit(3), "SystemExit: 3")],
)
def test_the_error_comes_back_as_text(raised: BaseException, said: str) -> None:
    def fail() -> None:
        raise raised

    with pytest.raises(ChildFailed) as caught:
        call_in_child("reading it", fail, 20)
    assert caught.value.fields == {"purpose": "reading it", "detail": said}


def test_a_result_that_is_no_json_is_no_answer() -> None:
    with pytest.raises(ChildFailed, match="without an answer"):
        call_in_child("reading it", object, 20)


def test_a_child_that_dies() -> None:
    with pytest.raises(ChildFailed, match="reading it failed: its process ended without an answer"):
        call_in_child("reading it", lambda: os.kill(os.getpid(), signal.SIGKILL), 20)


def test_a_child_that_takes_too_long_is_ended() -> None:
    reading, writing = os.pipe()

    def hang() -> None:
        os.write(writing, str(os.getpid()).encode())
        time.sleep(600)

    with pytest.raises(ChildTimedOut, match=r"reading it was ended after 0\.3 s"):
        call_in_child("reading it", hang, 0.3)
    os.close(writing)
    pid = int(os.read(reading, 20))
    os.close(reading)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_child_ends_with_its_parent() -> None:
    text = (
        "import os, time\nfrom interlock.system.child import call_in_child\n"
        "def work():\n    print(os.getpid(), flush=True)\n    time.sleep(600)\n"
        "call_in_child('a test', work, 600)\n"
    )
    with python(text) as parent:
        pid = int(heard(parent))
        assert os.path.exists(f"/proc/{pid}")
        parent.kill()
        parent.wait()
        until(lambda: not os.path.exists(f"/proc/{pid}"))
