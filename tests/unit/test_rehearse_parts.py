"""The pure parts of a rehearsal: known panics, the sentinel's report, verdicts, boot entries, mounts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from interlock.boot import panics
from interlock.boot.panics import PANICS, recognise
from interlock.boot.rehearse import UnknownDepth, rehearse
from interlock.boot.rehearse_console import Followed, Follower, terminal
from interlock.boot.rehearse_entry import BootEntry, adapt_arguments, default_entry
from interlock.boot.rehearse_judge import judge_failure, judge_units, parse_report, waits_for
from interlock.boot.rehearse_tree import KEPT, new_folder, other_mounts, sweep
from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.system.clock import SystemClock
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.system.trace import Trace

TEXTS = {
    "COS Panic: Int3 @ mp_register_ioapic": "half-upgraded service console",
    "COS Panic: Lost heartbeat": "service console panic",
    "[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)":
        "root file system not found by the kernel",
    '[    2.0] VFS: Cannot open root device "sda2" or unknown-block(0,0): error -6':
        "root file system not found by the kernel",
    "Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.": "no init",
    "[    1.9] Failed to execute /sbin/init (error -8)": "init cannot be executed",
    "/sbin/init: /lib64/libc.so.6: version `GLIBC_2.34' not found (required by /sbin/init)": "library version missing",
    "/sbin/init: error while loading shared libraries: libsystemd-shared-252.so: cannot open": "library missing",
    "/sbin/init: symbol lookup error: /sbin/init: undefined symbol: sd_event_x": "loader and C library do not fit",
    "Inconsistency detected by ld.so: dl-call-libc-early-init.c: 37: failed!": "loader and C library do not fit",
    "[    2.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100": "init died",
    "Kernel panic - not syncing: Fatal exception in interrupt": "kernel bug",
    "kernel BUG at mm/slub.c:307!": "kernel bug",
    "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled": "out of memory at boot",
    "[    0.8] Initramfs unpacking failed: invalid magic at start of compressed archive": "initramfs damaged",
    "Kernel panic - not syncing: sysrq triggered crash": "kernel panic",
    "dracut-initqueue[403]: Warning: dracut-initqueue timeout - starting timeout scripts":
        "root device not found by dracut",
    "dracut:/# ": "root device not found by dracut",
    "Gave up waiting for root file system device.  Common problems:": "root device not found by initramfs-tools",
    "ALERT!  UUID=3b2 does not exist.  Dropping to a shell!": "root device not found by initramfs-tools",
    "(initramfs) ": "initramfs shell",
    "systemd[1]: Failed to switch root: Specified switch root path /sysroot is not an OS tree.":
        "root cannot be entered",
    "grub rescue> ": "boot loader without a system",
    "error: no such device: 5c0a.": "boot loader without a system",
    "systemd[1]: Unable to load SELinux Policy. Machine is in enforcing mode. Halting now.": "SELinux policy",
    "[!!!!!!] Failed to mount API filesystems.": "basic file systems",
    "[!!!!!!] Failed to start up manager, freezing.\nsystemd[1]: Freezing execution.": "init gave up",
    "systemd[1]: Caught <SEGV>, dumped core as pid 12.": "init gave up",
    "Failed to isolate default target: Unit multi-user.target not found.": "no default target",
    "You are in emergency mode. After logging in, type \"journalctl -xb\"": "emergency mode",
    "\x1b[0m[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mEmergency Mode\x1b[0m.": "emergency mode",
    "You are in rescue mode. After logging in": "rescue mode",
    "/dev/sda2: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.": "file system check",
}  # fmt: skip
HEALTHY = """[    0.000000] Linux version 6.1.0 (gcc (Debian 12.2.0)) #1 SMP PREEMPT_DYNAMIC
[    0.100000] Kernel command line: root=UUID=3b2 ro panic=-1 console=ttyS0
[    1.200000] Run /init as init process
[  OK  ] Reached target multi-user.target - Multi-User System.
         Starting systemd-emergency-helper.service...
Debian GNU/Linux 12 host ttyS0
"""
REPORT = """[  OK  ] Reached target\r
@word begin\r
@word uptime 12.50\r
@word unit sshd.service loaded failed failed OpenSSH\r
@word said sshd.service sshd.service: Main process exited\r
@word said sshd.service line 1: Bad configuration option: Nonsense\r
@word unit clock.service loaded failed failed Clock\r
@word said clock.service date: cannot set date: Operation not permitted\r
@word end\r
"""


def host_at(root: Path) -> Host:
    return Host(Paths(str(root)), Runner(), SystemClock(), ProcReader(), Trace({}))


@pytest.mark.parametrize(("text", "name"), TEXTS.items())
def test_known_texts_are_named(text: str, name: str) -> None:
    seen = recognise(f"[    0.1] before\r\n{text}\r\n[    9.9] after\r\n")
    assert seen is not None
    assert seen.panic.name == name
    assert seen.line in panics.plain_lines(text)[-1] or seen.line in panics.plain_lines(text)[0]


def test_every_panic_of_the_table_has_a_text_here_and_an_advice() -> None:
    assert {panic.name for panic in PANICS} == set(TEXTS.values())
    assert len(PANICS) >= 15
    assert all(panic.meaning and panic.advice for panic in PANICS)


def test_a_healthy_console_is_none_of_them() -> None:
    assert recognise(HEALTHY) is None


def test_a_report_is_read_from_among_other_lines() -> None:
    report = parse_report(REPORT, "word")
    assert report is not None
    assert report.uptime == 12.5
    assert report.units == ("sshd.service", "clock.service")


@pytest.mark.parametrize(
    "text", ["", "@word begin\n@word uptime 1\n", "@word end\n", REPORT.replace("@word", "@other")]
)
def test_a_report_that_is_not_whole_or_not_ours_is_none(text: str) -> None:
    assert parse_report(text, "word") is None


def test_new_failures_deny_with_their_own_words_and_others_are_noted() -> None:
    report = parse_report(REPORT, "word")
    assert report is not None
    judged = judge_units(report, [])
    assert [(reason.id, reason.subject) for reason in judged.reasons] == [("rehearsal-unit-failed", "sshd.service")]
    assert "Nonsense" in judged.reasons[0].detail
    assert "Main process" not in judged.reasons[0].detail
    assert ["clock.service" in note for note in judged.notes] == [True]
    assert not judge_units(report, ["sshd.service"]).reasons


@pytest.mark.parametrize(
    ("console", "status", "identity", "word"),
    [
        ("COS Panic: Int3 @ mp_register_ioapic\n", None, "rehearsal-panic", "mp_register_ioapic"),
        ("You are in emergency mode.\n", None, "rehearsal-emergency", "emergency"),
        ("x: error while loading shared libraries: libc.so.6\n", 127, "rehearsal-panic", "libc.so.6"),
        ("x: error while loading shared libraries: libc.so.6\n", None, "rehearsal-hung", "7 s"),
        ("sh: exec: /sbin/init: not found\n", 127, "rehearsal-no-init", "/sbin/init: not found"),
        ("", None, "rehearsal-hung", "nothing that the console names"),
    ],
)
def test_silence_is_explained(console: str, status: int | None, identity: str, word: str) -> None:
    reason = judge_failure(Followed(console, "", status, 7.0), "/kept/console.log")
    assert reason.id == identity
    assert word in reason.detail
    assert reason.advice


def test_what_a_boot_waits_for_is_named() -> None:
    begun = "         Starting one.service - One...\n         Starting two.service - Two...\n"
    assert waits_for(begun + "[  OK  ] Finished one.service - One.\n") == "two.service - Two"
    running = "[***   ] A start job is running for Three (5s / no limit)\r"
    running += "[ ***  ] A start job is running for Four (6s / 9s)\r"
    assert waits_for(begun + running) == "Four"


def test_arguments_are_adapted_to_the_machine_and_the_rest_is_kept() -> None:
    given = "BOOT_IMAGE=(hd0)/vmlinuz root=/dev/mapper/vg-root ro rd.lvm.lv=vg/root quiet rhgb selinux=0 console=tty0"
    words = adapt_arguments(given, "1234", "ext4").split()
    assert words[:4] == ["selinux=0", "root=UUID=1234", "rootfstype=ext4", "rw"]
    assert "console=ttyS0" in words
    assert "panic=-1" in words


def test_the_boot_loaders_own_choice_is_taken(tmp_path: Path) -> None:
    assert default_entry(str(tmp_path), "") is None
    (tmp_path / "boot").mkdir()
    for name in ("vmlinuz-5.14.0-9.el9", "vmlinuz-5.14.0-70.el9", "vmlinuz-0-rescue-1f", "initramfs-5.14.0-70.el9.img"):
        (tmp_path / "boot" / name).touch()
    boot = f"{tmp_path}/boot"
    newest = BootEntry(f"{boot}/vmlinuz-5.14.0-70.el9", f"{boot}/initramfs-5.14.0-70.el9.img", "running")
    assert default_entry(str(tmp_path), "running") == newest


def test_other_local_file_systems_of_the_system_are_part_of_the_picture(tmp_path: Path) -> None:
    for name in ("usr", "var/log", "home", "net", "with space"):
        (tmp_path / name).mkdir(parents=True)
    rows = (("", "ext4"), ("/var/log", "xfs"), ("/usr", "ext4"), ("/home", "ext4"), ("/net", "nfs4"), ("/run", "tmpfs"),
            ("/with\\040space", "ext4"), ("/gone", "ext4"))  # fmt: skip
    text = "".join(f"30 1 8:2 / {tmp_path}{point} rw - {kind} /dev/sda rw\n" for point, kind in rows)
    assert other_mounts(text, str(tmp_path)) == ("/usr", "/with space", "/var/log")
    assert other_mounts(text, "/elsewhere") == ()


def test_a_rehearsal_leaves_its_console_and_sweeps_after_a_killed_one(tmp_path: Path) -> None:
    host = host_at(tmp_path)
    base = tmp_path / "var/lib/interlock/rehearsals"
    with new_folder(host, "20260101-1") as folder:
        Path(folder.console).write_text("said")
        assert sweep(host) == []
    assert os.listdir(folder.path) == ["console.log"]
    (base / "20260101-2/work").mkdir(parents=True)
    (base / "20260101-2/disk.img").touch()
    (base / "20260101-2/owner").write_text(json.dumps([1, 1, "another boot"]))
    (base / "20260101-2/console.log").touch()
    assert sweep(host) == ["20260101-2"]
    assert os.listdir(base / "20260101-2") == ["console.log"]


def test_only_the_newest_consoles_are_kept(tmp_path: Path) -> None:
    host = host_at(tmp_path)
    for number in range(KEPT + 3):
        with new_folder(host, f"2026-{number:02}") as folder:
            Path(folder.console).touch()
    kept = sorted(os.listdir(tmp_path / "var/lib/interlock/rehearsals"))
    assert kept == [f"2026-{number:02}" for number in range(3, KEPT + 3)]


def test_a_console_is_followed_to_the_word_the_end_or_the_limit(tmp_path: Path) -> None:
    host = host_at(tmp_path)
    for script, limit, word, status in (
        ("echo up; exec sleep 60", 30.0, "up", None),
        ("echo down; exit 3", 30.0, "", 3),
        ("echo silent; exec sleep 60", 0.3, "", None),
        ("echo You are in emergency mode; exec sleep 60", 30.0, "", None),
    ):
        with terminal() as (ours, theirs):
            child = host.runner.start(["sh", "-c", script], stdout=theirs)
            path = tmp_path / "console.log"
            heard = Follower(host, str(path), ours).follow(child, lambda one: "up" if one.says("up") else "", limit)
            child.kill()
            child.wait()
        assert (heard.report, heard.status) == (word, status)
        assert path.read_bytes().decode() == heard.console
        assert heard.seconds < 20


def test_an_unknown_depth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownDepth):
        rehearse(host_at(tmp_path), "moon")
    assert not os.listdir(tmp_path)
