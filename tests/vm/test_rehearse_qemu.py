"""Rehearsal in a virtual machine: panics are caught with their text, silence is caught, a word from inside passes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from machines import Kernel, fetch_kernel, make_initramfs, make_root

from interlock.boot import rehearse_qemu
from interlock.boot.rehearse import BootEntry, Rehearsed, rehearse
from interlock.boot.rehearse_tree import new_folder
from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.lab.cache import default_home
from interlock.system.clock import SystemClock
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.system.trace import Trace

LIMIT = 60.0
SILENCE = 6.0
PANIC_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
echo 'COS Panic: Int3 @ mp_register_ioapic' > /dev/console
exit 1
"""
# What the image's unit would start is started by hand: this root has no systemd, but the sentinel is the real one.
UP = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
start=$(/bin/busybox sed -n 's/^ExecStart=//p' /etc/systemd/system/interlock-rehearsal.service)
$start
exec /bin/busybox sleep 1000
"""
HANGS = "#!/bin/busybox sh\necho 'Starting nothing...'\nexec /bin/busybox sleep 1000\n"
DIES = "#!/bin/busybox sh\necho 'sh: error while loading shared libraries: libc.so.6: file too short'\nexit 127\n"


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    return fetch_kernel(default_home(os.environ), Runner())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return this machine with a state directory of the test's own."""
    (tmp_path / "state").mkdir()
    return Host(Paths(str(tmp_path / "state")), Runner(), SystemClock(), ProcReader(), Trace({}))


Boot = Callable[..., Rehearsed]


@pytest.fixture
def boot(host: Host, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boot:
    """Return a function that rehearses a small system with an init of one's own, the same way on every machine."""
    monkeypatch.setattr(rehearse_qemu, "kvm_works", lambda *_: False)

    def run(init: str, initramfs: str | None, limit: float = LIMIT, systemctl: str = "") -> Rehearsed:
        root = make_root(tmp_path / "root", init, systemctl)
        image = str(make_initramfs(tmp_path / "initramfs.img", kernel, initramfs)) if initramfs is not None else ""
        entry = BootEntry(str(kernel.image), image, "quiet root=/dev/nowhere")
        done = rehearse(host, "qemu", str(root), limit, entry)
        print(f"{done.seconds:.1f} s, boot {done.boot_seconds:.1f} s, {done.notes}")
        assert nothing_left(Path(done.console))
        return done

    return run


def nothing_left(console: Path) -> bool:
    """Say whether the console is all that is left of a rehearsal."""
    running = [ProcReader().command(pid) for pid in ProcReader().pids()]
    mounted = Path("/proc/mounts").read_text()
    assert str(console.parent) not in mounted
    assert not any(str(console.parent) in command for command in running)
    return os.listdir(console.parent) == ["console.log"]


def test_a_system_that_says_its_word_passes(boot: Boot) -> None:
    done = boot(UP, "")
    assert done.passed, done
    assert 0 < done.boot_seconds < done.seconds
    assert "@" in Path(done.console).read_text()


def test_a_unit_that_fails_in_the_machine_denies(boot: Boot) -> None:
    done = boot(UP, "", systemctl="echo 'broken.service loaded failed failed A broken one'")
    assert [(reason.id, reason.subject) for reason in done.reasons] == [("rehearsal-unit-failed", "broken.service")]


def test_a_kernel_that_panics_is_caught_with_its_text_and_name(boot: Boot) -> None:
    done = boot(UP, PANIC_INIT)
    assert not done.passed
    assert [(reason.id, reason.subject) for reason in done.reasons] == [
        ("rehearsal-panic", "half-upgraded service console")
    ]
    assert "COS Panic: Int3 @ mp_register_ioapic" in done.reasons[0].detail
    console = Path(done.console).read_text()
    assert "COS Panic: Int3 @ mp_register_ioapic" in console
    assert "Kernel panic - not syncing" in console


def test_a_kernel_without_its_initramfs_finds_no_root(boot: Boot) -> None:
    done = boot(UP, None)
    assert [reason.subject for reason in done.reasons] == ["root file system not found by the kernel"]


def test_an_init_that_dies_is_named_by_its_last_words(boot: Boot) -> None:
    done = boot(DIES, "")
    assert [(reason.id, reason.subject) for reason in done.reasons] == [("rehearsal-panic", "library missing")]


def test_a_user_space_that_hangs_is_caught_by_the_silence(boot: Boot) -> None:
    done = boot(HANGS, "", SILENCE)
    assert [reason.id for reason in done.reasons] == ["rehearsal-hung"]
    assert "nothing" in done.reasons[0].detail


def test_a_kernel_that_is_not_there_is_said_at_once(host: Host, kernel: Kernel, tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", UP, "")
    assert [reason.id for reason in rehearse(host, "qemu", str(root)).reasons] == ["rehearsal-kernel-missing"]
    (root / "boot").mkdir()
    shutil.copy(kernel.image, root / "boot/vmlinuz-1.0")
    gone = rehearse(host, "qemu", str(root), LIMIT, BootEntry(str(kernel.image), "/nowhere/initrd", ""))
    assert [reason.subject for reason in gone.reasons] == ["/nowhere/initrd"]


def test_a_machine_that_qemu_cannot_make_proves_nothing(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearse_qemu, "controller_of", lambda root: ("no-such-controller",))
    done = boot(UP, "")
    assert [reason.id for reason in done.reasons] == ["rehearsal-unavailable"]
    assert "no-such-controller" in done.reasons[0].detail


def test_an_accelerator_is_believed_only_when_a_guest_runs_on_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    program = rehearse_qemu.find_emulator()
    with new_folder(host, "probe") as folder:
        assert not rehearse_qemu.guest_runs(host, folder, program, "no-such-accelerator")
        monkeypatch.setattr(rehearse_qemu, "PROBE_LIMIT", 30.0)
        assert rehearse_qemu.guest_runs(host, folder, program, "tcg")
