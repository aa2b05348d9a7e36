"""The reboot guard: what it writes, what it takes away, and the verdict on a reboot."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made import MadeProc

from interlock.boot import reboot
from interlock.boot.guard import clear_units, lower_guard, our_units, raise_again, raise_guard, read_dirty
from interlock.boot.guard_units import ENDS, REFUSING, links_and_units
from interlock.boot.verdict import Reason, Verdict
from interlock.errors import CommandFailed
from interlock.host.context import Host
from interlock.host.hold import Hold, put_on_hold
from interlock.host.lease import Lease
from interlock.host.paths import Paths
from interlock.system.clock import ManualClock
from interlock.system.run import Completed, Runner
from interlock.system.trace import Trace


class MadeSystemctl(Runner):
    """Notes what it is asked for; fails where a test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails = False

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        self.asked.append(" ".join(argv))
        if self.fails and options.get("check", True):
            raise CommandFailed(command=" ".join(argv), status=1, stderr="no bus")
        return Completed(tuple(argv), int(self.fails), "", "no bus" if self.fails else "", 0.0)


@pytest.fixture
def runner() -> MadeSystemctl:
    return MadeSystemctl()


@pytest.fixture
def host(tmp_path: Path, runner: MadeSystemctl) -> Host:
    paths = Paths(str(tmp_path / "root"))
    Path(paths.state).mkdir(parents=True)
    Path(paths.systemd).mkdir(parents=True)
    os.mkfifo(Path(paths.root) / "run/initctl")
    return Host(paths, runner, ManualClock(), MadeProc(tmp_path / "proc").reader, Trace({}))


def control(host: Host) -> Path:
    return Path(host.paths.root) / "run/systemd/system.control"


def fifo(host: Host) -> Path:
    return Path(host.paths.root) / "run/initctl"


def test_raised(host: Host, runner: MadeSystemctl) -> None:
    raise_guard(host, "op-1", "it is\n changing packages")
    dirty = read_dirty(host.paths)
    assert dirty is not None
    assert (dirty.operation, dirty.reason) == ("op-1", "it is changing packages")
    for end in ENDS:
        for name in (f"{end}.target", f"systemd-{end}.service"):
            text = (control(host) / name).read_text()
            assert "RefuseManualStart=yes" in text
            assert "AssertPathExists=!/" in text
            assert "REFUSED by Interlock: it is changing packages. Run: interlock guard" in text
    assert runner.asked[0] == "systemctl daemon-reload"
    assert os.readlink(fifo(host)) == "/dev/full"


def test_the_marker_is_there_before_a_unit_is(host: Host, runner: MadeSystemctl) -> None:
    runner.fails = True
    with pytest.raises(CommandFailed):
        raise_guard(host, "op-1", "why")
    assert read_dirty(host.paths) is not None


def test_raised_twice_says_the_second_reason_and_keeps_the_pipe(host: Host) -> None:
    raise_guard(host, "op-1", "first")
    raise_guard(host, "op-1", "second")
    assert "second" in (control(host) / "reboot.target").read_text()
    lower_guard(host)
    assert stat.S_ISFIFO(fifo(host).lstat().st_mode)


def test_lowered_leaves_nothing(host: Host, runner: MadeSystemctl) -> None:
    (control(host)).mkdir()
    (control(host) / "other.service").write_text("somebody's own")
    raise_guard(host, "op-1", "why")
    runner.asked.clear()
    lower_guard(host)
    assert read_dirty(host.paths) is None
    assert [path.name for path in control(host).iterdir()] == ["other.service"]
    assert stat.S_ISFIFO(fifo(host).lstat().st_mode)
    assert not fifo(host).with_name("initctl.interlock").exists()
    assert runner.asked[-1] == "systemctl daemon-reload"


def test_what_killed_writers_left_goes_as_well(host: Host) -> None:
    raise_guard(host, "op-1", "why")
    left = [control(host) / "interlock-explain.service.tmp772", control(host) / "reboot.target.tmp3"]
    left += [fifo(host).with_name("initctl.tmp772"), Path(f"{host.paths.dirty}.tmp9")]
    for path in left:
        path.write_text("")
    others = control(host) / "other.service.tmp772"
    others.write_text("somebody's own")
    lower_guard(host)
    assert [path for path in left if path.exists()] == []
    assert others.exists()


def test_lowering_what_is_not_up_does_nothing(host: Host, runner: MadeSystemctl) -> None:
    lower_guard(host)
    assert runner.asked == []


def test_lowering_does_not_fail_with_systemd(host: Host, runner: MadeSystemctl) -> None:
    raise_guard(host, "op-1", "why")
    runner.fails = True
    lower_guard(host)
    assert our_units(host) == []


def test_the_pipe_was_made_anew_meanwhile(host: Host) -> None:
    raise_guard(host, "op-1", "why")
    fifo(host).unlink()
    os.mkfifo(fifo(host))
    inode = fifo(host).stat().st_ino
    lower_guard(host)
    assert fifo(host).stat().st_ino == inode
    assert not fifo(host).with_name("initctl.interlock").exists()


def test_an_administrators_own_target_stays(host: Host) -> None:
    control(host).mkdir()
    (control(host) / "reboot.target").write_text("[Unit]\nDescription=Mine\n")
    clear_units(host)
    assert (control(host) / "reboot.target").exists()


def test_again_after_a_boot(host: Host, runner: MadeSystemctl) -> None:
    raise_again(host)
    assert runner.asked == []
    raise_guard(host, "op-1", "why")
    at = read_dirty(host.paths)
    for path in our_units(host):
        Path(path).unlink()
    raise_again(host)
    assert "why" in (control(host) / "poweroff.target").read_text()
    assert read_dirty(host.paths) == at


def test_without_systemd_there_is_the_marker_alone(host: Host, runner: MadeSystemctl) -> None:
    Path(host.paths.systemd).rmdir()
    raise_guard(host, "op-1", "why")
    assert read_dirty(host.paths) is not None
    assert (runner.asked, control(host).exists()) == ([], False)
    lower_guard(host)
    assert read_dirty(host.paths) is None


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"{}", b'{"operation": "x"}', b"\xff\xfe"])
def test_an_unreadable_marker_is_a_marker(host: Host, content: bytes) -> None:
    Path(host.paths.dirty).write_bytes(content)
    dirty = read_dirty(host.paths)
    assert dirty is not None
    assert host.paths.dirty in dirty.reason


@pytest.mark.parametrize("reason", ['100% of "it"', "a\\b `c` $HOME", "line\nbreak\x1b[0m", "x" * 5000, "ü\u2028"])
def test_any_reason_can_be_quoted(reason: str) -> None:
    _, units = links_and_units(reason)
    text = units[f"{REFUSING.format(end='reboot')}.target"]
    line = next(line for line in text.splitlines() if line.startswith("Description="))
    assert line.endswith(". Run: interlock guard")
    assert '"' not in line
    assert line.replace("%%", "").count("%") == 0
    assert len(line) < 300
    for command in (line for unit in units.values() for line in unit.splitlines() if line.startswith("ExecStart=")):
        assert command.count('"') % 2 == 0


def reasons(found: Verdict) -> list[str]:
    return [one.id for one in found.reasons]


def test_verdict(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Verdict((), ("entry",))]
    monkeypatch.setattr(reboot, "check_boot", lambda _host: found[0])
    assert reboot.verdict(host) == Verdict((), ("entry",))
    raise_guard(host, "op-1", "why")
    put_on_hold(host.paths, Hold("op-1", "torn", 1.0))
    found[0] = Verdict((Reason("no-init", "/sbin/init", "is missing", "Put it back."),))
    with Lease(host.paths, "op-2", host.clock, host.proc):
        assert reasons(reboot.verdict(host)) == ["operation-running", "between-two-states", "on-hold", "no-init"]
    assert reasons(reboot.verdict(host)) == ["between-two-states", "on-hold", "no-init"]


@pytest.mark.parametrize(
    "error", [OSError("torn"), ValueError("torn"), CommandFailed(command="x", status=1, stderr="torn")]
)
def test_a_check_that_fails_denies(host: Host, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_host: Host) -> Verdict:
        raise error

    monkeypatch.setattr(reboot, "check_boot", fail)
    found = reboot.verdict(host)
    assert reasons(found) == ["boot-check-failed"]
    assert "torn" in json.dumps(found.to_json())


def test_reboot(host: Host, runner: MadeSystemctl) -> None:
    raise_guard(host, "op-1", "why")
    with pytest.raises(reboot.RebootRefused, match="op-1") as caught:
        reboot.reboot(host)
    assert "interlock resume" in caught.value.advice
    Path(host.paths.dirty).unlink()
    reboot.reboot(host)
    assert our_units(host) == []
    assert runner.asked[-2:] == ["systemctl daemon-reload", "systemctl reboot"]


def test_no_reboot_without_systemd(host: Host, runner: MadeSystemctl) -> None:
    Path(host.paths.systemd).rmdir()
    with pytest.raises(reboot.NotUnderSystemd, match="systemd is not in charge"):
        reboot.reboot(host)
    assert runner.asked == []
