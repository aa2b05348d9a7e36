"""A virtual machine with its own disk, whose power can be cut: user-mode Linux, a real systemd, a real initramfs.

The disk is an ext4 image made of a lab host's tree; its volatile cache is ``volatile.c``: what the guest had not
flushed when the machine was killed is kept or lost sector by sector, by chance with a seed. The initramfs is made by
initramfs-tools or dracut itself, with the hook that Interlock puts in place on a host.
"""

from __future__ import annotations

import os
import random
import re
import selectors
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from interlock.boot import rescue_install
from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.system.clock import SystemClock
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.system.trace import Trace

HERE = Path(__file__).parent
LINUX = "linux.uml"
SECTOR = 512
DISK_MIB = 1600
DEPOT = "/srv/depot"
PROGRAM = "/usr/local/sbin/power-test"
UNITS = "usr/local/lib/systemd/system"
TARGET = """[Unit]
Description=Power test
Requires=basic.target power.service
After=basic.target power.service
"""
SERVICE = f"""[Unit]
Description=Power test
After=basic.target
[Service]
Type=oneshot
ExecStart={PROGRAM}
TimeoutStartSec=infinity
"""
# What the machine does once it is up. The watcher says how much of glibc has been replaced, as it happens.
WORK = f"""#!/bin/sh
export HOME=/root LC_ALL=C
exec >/dev/console 2>&1
echo "POWER up $(cat /proc/uptime)"
case $(cat /proc/cmdline) in
*power=update*)
    python3 /usr/local/sbin/power-watch &
    interlock update --depot {DEPOT} --yes --verbose
    echo "POWER ended $(cat /proc/uptime)" ;;
*power=clock*)
    for step in "update --depot {DEPOT}" rollback; do
        echo "POWER before $(date +%s) $(cat /proc/uptime)"
        interlock $step --yes; echo "POWER ended $?"
    done
    echo "POWER history $(interlock history --json | tr -d '\\n')"
    echo "POWER tools $(rpm -q --qf '%{{NVR}}\\n' lab-tool-01 lab-tool-02 | sort | tr '\\n' ' ')"
    echo "POWER after $(date +%s) $(cat /proc/uptime)" ;;
*)
    echo "POWER status $(interlock status --json | tr -d '\\n')"
    echo "POWER libc $(rpm -q libc6)"
    echo "POWER runs $(python3 -c 'print(6 * 7)')"
    echo "POWER looked $(cat /proc/uptime)" ;;
esac
sync
poweroff -f
"""
WATCH = """import glob, os, time
paths = [p for p in glob.glob("/usr/lib/x86_64-linux-gnu/*") if ".so" in p and os.path.isfile(p)]
owned = set(os.popen("rpm -ql libc6").read().split())
paths = [p for p in paths if p in owned or p.replace("/usr", "", 1) in owned]
def numbers():
    found = []
    for path in paths:
        try:
            found.append(os.lstat(path).st_ino)
        except OSError:
            found.append(0)
    return found
first, said = numbers(), 0
with open("/dev/console", "w") as console:
    while said < len(paths):
        replaced = sum(a != b for a, b in zip(first, numbers()))
        if replaced != said:
            said = replaced
            print(f"POWER glibc {replaced}/{len(paths)}", file=console, flush=True)
        time.sleep(0.005)
"""
# Makers look at the kernel's own directories, which are made up here, in a mount namespace of their own: this Linux has
# its drivers built in.
KERNEL = """set -e
mount -t tmpfs none /boot; mkdir -p /lib/modules; mount -t tmpfs none /lib/modules
linux.uml --showconfig >/boot/config-$2; mkdir /lib/modules/$2; cd /lib/modules/$2
touch modules.builtin modules.order modules.builtin.modinfo; depmod $2
"""
MAKERS = {
    "initramfs-tools": "exec mkinitramfs -d $1/etc/initramfs-tools -o $3 $2\n",
    "dracut": """cp -a /usr/lib/dracut/modules.d/. $1/usr/lib/dracut/modules.d/
mount --bind $1/usr/lib/dracut/modules.d /usr/lib/dracut/modules.d
exec dracut --no-hostonly --force --no-kernel --kver $2 --tmpdir $1 \\
    -m "base bash udev-rules rootfs-block fs-lib usrmount interlock-rescue" $3
""",
}
INITRAMFS_CONF = "MODULES=list\nBUSYBOX=auto\nCOMPRESS=gzip\nFSTYPE=ext4\n"
Cut = Callable[[str], bool]


class Late(AssertionError):
    """The machine took too long."""


def prepare_tree(tree: Path) -> None:
    """Make a copy of a host's tree one that this machine can boot and work in."""
    (tree / "etc/fstab").write_text("/dev/ubda / ext4 defaults 0 0\n")
    (tree / UNITS).mkdir(parents=True, exist_ok=True)
    (tree / UNITS / "power.target").write_text(TARGET)
    (tree / UNITS / "power.service").write_text(SERVICE)
    for name, text in ((PROGRAM, WORK), ("/usr/local/sbin/power-watch", WATCH)):
        path = tree / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


def make_disk(tree: Path, disk: Path) -> None:
    """Make an ext4 image of a tree."""
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, disk, f"{DISK_MIB}M"], check=True, timeout=300)


@dataclass(frozen=True)
class Machine:
    """The parts of a machine but its disk, in a folder of its own; no initramfs and no cache without ``make``."""

    folder: Path
    maker: str = "initramfs-tools"

    @property
    def shim(self) -> Path:
        return self.folder / "volatile.so"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"

    def make(self) -> None:
        """Compile the disk's cache, and have an initramfs made with Interlock's hook in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        source = str(HERE / "volatile.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(self.shim), source], check=True, timeout=60)
        root = self.folder / "maker"
        conf, modules = root / "etc/initramfs-tools", root / "usr/lib/dracut/modules.d"
        (conf / "conf.d").mkdir(parents=True, exist_ok=True)
        modules.mkdir(parents=True, exist_ok=True)
        trace = Trace({})
        rescue_install.install_rescue(Host(Paths(str(root)), Runner(), SystemClock(), ProcReader(), trace))
        (conf / "initramfs.conf").write_text(INITRAMFS_CONF)
        (conf / "modules").write_text("")
        script = KERNEL + MAKERS[self.maker]
        argv = ["unshare", "-m", "sh", "-c", script, "sh", str(root), _release(), str(self.initramfs)]
        made = subprocess.run(argv, check=False, timeout=120, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr

    def run(self, disk: Path, work: str, limit: float, cut: Cut | None = None, delay: float = 0.0) -> list[str]:
        """Boot, and return what the console said: to the machine's end, or to the line after which the power goes.

        The power goes ``delay`` seconds after the line. Raises Late after ``limit`` seconds.
        """
        volatile = {
            "LD_PRELOAD": str(self.shim), "VOLATILE_DISK": str(disk), "VOLATILE_JOURNAL": f"{disk}.journal",
        }  # fmt: skip
        environment = {**os.environ, **(volatile if self.shim.exists() else {})}
        argv = [
            LINUX, "mem=1200M", f"ubd0={disk}", "root=/dev/ubda", "ro", "con=null", "con0=fd:0,fd:1",
            f"uml_dir={self.folder}", "quiet", "systemd.unit=power.target", f"power={work}",
            *([f"initrd={self.initramfs}"] if self.initramfs.exists() else []),
        ]  # fmt: skip
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip
        said: list[str] = []
        try:
            for line in _lines(child, time.monotonic() + limit, said):
                said.append(line)
                if cut is not None and cut(line):
                    time.sleep(delay)
                    break
        finally:
            # All of the machine at once: its processes are children of its kernel's.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        return said


def _lines(child: subprocess.Popen[bytes], end: float, said: list[str]) -> Iterator[str]:
    assert child.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as waiting, child.stdout as stream:
        waiting.register(stream, selectors.EVENT_READ)
        while True:
            if not waiting.select(max(0.0, end - time.monotonic())):
                raise Late("\n".join([*said[-30:], rest.decode("utf-8", "replace")]))
            found = os.read(stream.fileno(), 65536)
            if not found:
                return
            *lines, rest = (rest + found).split(b"\n")
            yield from (line.decode("utf-8", "replace").rstrip("\r") for line in lines)


def _release() -> str:
    found = subprocess.run([LINUX, "--version"], check=True, capture_output=True, text=True, timeout=10).stdout
    return found.split()[-1]


@dataclass(frozen=True)
class Lost:
    """What the disk lost: writes that came after the last of so many flushes, and the sectors of them that went."""

    flushes: int
    writes: int
    sectors: int


def lose_cache(disk: Path, seed: int) -> Lost:
    """Let the disk forget, by chance, half of the sectors that were written after the last flush.

    Of a sector that was written several times any state may have remained, as a real cache may write any of them.
    """
    journal = Path(f"{disk}.journal")
    chance = random.Random(seed)
    states: dict[int, list[bytes]] = {}
    writes = 0
    for offset, old in _records(journal):
        writes += 1
        for start in range(0, len(old), SECTOR):
            states.setdefault(offset + start, []).append(old[start : start + SECTOR])
    flushes = _flushes(journal)
    sectors = 0
    with disk.open("r+b") as stream:
        for offset in sorted(states):
            if chance.random() < 0.5:
                stream.seek(offset)
                stream.write(chance.choice(states[offset]))
                sectors += 1
    journal.unlink()
    return Lost(flushes, writes, sectors)


def _flushes(journal: Path) -> int:
    with journal.open("rb") as stream:
        return int.from_bytes(stream.read(8), "little")


def _records(journal: Path) -> Iterator[tuple[int, bytes]]:
    with journal.open("rb") as stream:
        stream.seek(8)
        while len(head := stream.read(16)) == 16:
            offset, length = struct.unpack("=QQ", head)
            old = stream.read(length)
            # The machine was killed before it had noted all of it: that write did not happen either.
            if len(old) == length:
                yield offset, old


def value(said: list[str], name: str) -> str:
    """Return what the machine said of something; an AssertionError with the console where it said nothing."""
    for line in said:
        found = re.search(rf"POWER {name} (.*)", line)
        if found:
            return found.group(1).strip()
    raise AssertionError(f"the machine said nothing of {name}:\n" + "\n".join(said[-40:]))


def copy_disk(disk: Path, target: Path) -> None:
    """Copy an image, its holes too."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", disk, target], check=True, timeout=120)


def available() -> bool:
    """Say whether this machine has what a virtual machine needs."""
    return all(map(shutil.which, (LINUX, "mkinitramfs", "mke2fs", "cc", "unshare")))
