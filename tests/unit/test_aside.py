"""Work in a process beside us: its answer, its failure, its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from interlock.upgrade.aside import FEW, Aside, AsideFailed, Asked, beside, in_two

US = os.getpid()


def squares(numbers: Sequence[int]) -> list[int]:
    return [number * number for number in numbers]


@pytest.mark.parametrize("number", [0, 1, FEW - 1, FEW, FEW + 1, 40_000])
def test_two_halves_are_the_whole(number: int) -> None:
    assert in_two(squares, range(number)) == squares(range(number))


def test_half_of_it_is_done_by_another_process() -> None:
    seen = in_two(lambda items: [os.getpid() for _ in items], range(FEW))
    assert len(set(seen)) == 2
    assert os.getpid() in seen


def test_names_of_any_bytes_come_back() -> None:
    names = [os.fsdecode(bytes([255 - number % 128, 10, 34, 92])) for number in range(FEW)]
    assert in_two(list, names) == names


@pytest.mark.parametrize("end", ["raise", "kill"])
def test_what_the_other_process_did_not_do_is_done_here(end: str) -> None:
    def work(items: Sequence[int]) -> list[int]:
        if os.getpid() != US and end == "raise":
            raise ValueError("only there")
        if os.getpid() != US:
            os.kill(os.getpid(), signal.SIGKILL)
        return squares(items)

    assert in_two(work, range(FEW)) == squares(range(FEW))


def test_an_error_of_the_work_is_raised_here() -> None:
    def work(items: Sequence[int]) -> list[int]:
        if FEW - 1 in items:
            raise ValueError("the last")
        return []

    with pytest.raises(ValueError, match="the last"):
        in_two(work, range(FEW))


def test_the_other_half_is_ended_where_ours_fails(tmp_path: Path) -> None:
    def work(items: Sequence[int]) -> list[int]:
        if os.getpid() != US:
            (tmp_path / "pid").write_text(f"{os.getpid()}")
            signal.pause()
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            pass
        raise ValueError(len(items))

    with pytest.raises(ValueError, match="250"):
        in_two(work, range(FEW))
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


def test_an_answer_can_be_given_up() -> None:
    asked = Asked(lambda: [signal.pause()])
    process = Path("/proc", str(asked.pid))
    assert process.exists()
    asked.end()
    asked.end()
    assert not process.exists()


def test_both_are_done(tmp_path: Path) -> None:
    beside(lambda: (tmp_path / "there").write_text(str(os.getpid())), lambda: (tmp_path / "here").write_text(""))
    assert (tmp_path / "there").read_text() != str(US)
    assert (tmp_path / "here").exists()


def test_work_that_fails_beside_us_is_tried_here_and_raises(capfd: pytest.CaptureFixture[str]) -> None:
    tried: list[int] = []

    def work() -> None:
        tried.append(os.getpid())
        raise OSError("nowhere")

    with pytest.raises(OSError, match="nowhere"):
        beside(work, lambda: None)
    assert tried == [US]
    assert "nowhere" in capfd.readouterr().err


def test_what_we_do_may_fail() -> None:
    with pytest.raises(ZeroDivisionError):
        beside(signal.pause, lambda: 1 // 0)
    with Aside(lambda: os._exit(3)) as other, pytest.raises(AsideFailed, match="lambda"):
        other.wait()
