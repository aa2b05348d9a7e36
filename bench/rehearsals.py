"""Measures rehearsals of whole lab hosts: in a container, and with a kernel of their own in QEMU (minutes without KVM).

.venv/bin/python bench/rehearsals.py [RELEASE...]
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "vm"))

from machines import fetch_kernel, make_initramfs

from interlock.boot import rehearse_image
from interlock.boot.rehearse import BootEntry, rehearse
from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.lab import verbs
from interlock.lab.cache import Cache, default_home
from interlock.lab.hosts import Lab
from interlock.system.clock import SystemClock
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.system.trace import Trace

LIMIT = 600.0
INSIDE = """
import sys
sys.path.insert(0, "/usr/local/bin/interlock")
from interlock.boot import rehearse_image
from interlock.boot.rehearse import rehearse
from interlock.host.context import this_host
done = rehearse(this_host())
print(done.passed, round(done.seconds, 2), round(done.boot_seconds, 2))
"""


def measure(lab: Lab, release: str) -> bool:
    """Rehearse one host at both depths and print the figures; return whether both passed."""
    name = f"bench-rehearsals-{os.getpid()}"
    verbs.up(lab, name, release, None, [])
    try:
        words = ["timeout", "120", "python3", "-c", INSIDE]
        passed, seconds, boot = verbs.execute(lab, name, words).stdout.split()
        print(f"{release} container: passed {passed}, {seconds} s, of which the boot {boot} s")
        return in_qemu(lab, name, release) and passed == "True"
    finally:
        verbs.down(lab, [name], False)


def in_qemu(lab: Lab, name: str, release: str) -> bool:
    """Boot the host's root directory in QEMU, with the kernel of the tests, since lab hosts have none."""
    with tempfile.TemporaryDirectory() as folder:
        kernel = fetch_kernel(lab.cache.home, lab.runner)
        initramfs = make_initramfs(Path(folder) / "initramfs.img", kernel, "")
        host = Host(Paths(folder), lab.runner, SystemClock(), lab.proc, Trace({}))
        # The small initramfs of the tests knows one kind of file system.
        rehearse_image.file_system = lambda *_: "ext4"
        entry = BootEntry(str(kernel.image), str(initramfs), "")
        done = rehearse(host, "qemu", str(lab.root_of(name)), LIMIT, entry)
        print(
            f"{release} qemu: passed {done.passed}, {done.seconds:.1f} s, of which the boot {done.boot_seconds:.1f} s"
        )
        for said in (*done.notes, *(f"{reason.subject}: {reason.detail}" for reason in done.reasons)):
            print(f"  {said}")
        if not done.passed:
            print(Path(done.console).read_text(errors="replace")[-4000:])
        return done.passed


def main() -> int:
    """Measure the releases that are named, or all."""
    lab = Lab(Cache(default_home(os.environ)), Runner(), ProcReader(), dict(os.environ), print)
    passed = [measure(lab, release) for release in sys.argv[1:] or ("classic", "current", "next")]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
