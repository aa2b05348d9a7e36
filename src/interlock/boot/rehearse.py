"""The rehearsal: would what is on the disk come up? It is booted, in a copy, and has to say so itself.

Two depths behind one interface: ``container`` boots the user space beside the running one (about a second longer than
the boot itself), ``qemu`` boots kernel, initramfs and user space in a virtual machine. Success is a word from inside
that only this rehearsal knows, said once everything that the default target wants has been tried; the lack of an error
is none. Nothing of the real host is touched, and nothing is left but the console's text.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Optional

from interlock.boot import rehearse_container, rehearse_qemu
from interlock.boot.panics import recognise
from interlock.boot.rehearse_console import Followed
from interlock.boot.rehearse_entry import BootEntry
from interlock.boot.rehearse_image import NotBootable
from interlock.boot.rehearse_judge import judge_failure, judge_units, parse_report
from interlock.boot.rehearse_scripts import STARTING
from interlock.boot.rehearse_tree import Task, new_folder, take_picture
from interlock.boot.verdict import Reason
from interlock.errors import UsageError
from interlock.host.context import Host

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

# Seconds that a boot may take: without KVM a machine is fifty times slower than the host.
LIMITS = {"container": 120.0, "qemu": 900.0}
DEPTHS = tuple(LIMITS)
LIST_LIMIT = 20.0


class UnknownDepth(UsageError):
    """There is no rehearsal of depth {depth}; there are: container, qemu."""

    hint = "Say --rehearse=container (user space) or --rehearse=qemu (kernel, initramfs and user space)."


class Rehearsed(NamedTuple):
    """What came of a rehearsal.

    ``seconds`` is all that it took, ``boot_seconds`` the boot in it, from init's or the kernel's start to the word that
    it is up (0 where it did not come up). ``console`` is the path of what it said; ``notes`` say what was rehearsed,
    and what failed and does not count.
    """

    passed: bool
    depth: str
    seconds: float
    console: str
    reasons: tuple[Reason, ...]
    boot_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        reasons = [
            {"id": one.id, "subject": one.subject, "detail": one.detail, "advice": one.advice} for one in self.reasons
        ]
        return {
            "passed": self.passed,
            "depth": self.depth,
            "seconds": round(self.seconds, 3),
            "boot_seconds": round(self.boot_seconds, 3),
            "console": self.console,
            "reasons": reasons,
            "notes": list(self.notes),
        }


def rehearse(
    host: Host,
    depth: str = "container",
    root: str = "/",
    limit: Optional[float] = None,
    entry: Optional[BootEntry] = None,
) -> Rehearsed:
    """Boot a copy of the system at ``root``, and change nothing of the host.

    ``limit`` is in seconds, for the boot itself (by default LIMITS); ``entry`` is what QEMU boots, by default what the
    boot loader would. Raises UnknownDepth. A host where it cannot be done gets a denial that says so: unknown never is
    allowed.
    """
    if depth not in DEPTHS:
        raise UnknownDepth(depth=depth)
    begun = host.clock.monotonic()
    identity = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(host.clock.now()))}-{secrets.token_hex(3)}"
    with new_folder(host, identity) as folder:
        task = Task(folder, root, secrets.token_hex(8), LIMITS[depth] if limit is None else limit)
        done = _in_container(host, task) if depth == "container" else _in_qemu(host, task, entry)
    seconds = host.clock.monotonic() - begun
    return done._replace(depth=depth, seconds=seconds, console=folder.console)


def _in_container(host: Host, task: Task) -> Rehearsed:
    lacking = rehearse_container.missing(host)
    if lacking:
        return _failed(_unavailable(lacking, "Install util-linux and systemd, or rehearse in QEMU."))
    picture = take_picture(host, task.root, task.folder)
    followed = rehearse_container.boot_container(host, task, picture)
    if STARTING not in followed.console:
        last = followed.console.strip().splitlines()[-1:] or ["it said nothing"]
        return _failed(_unavailable(f"the container could not be made: {last[0]}", f"See {task.folder.console}."))
    # The kernel is the host's own, and so is its uptime.
    started = followed.console.partition(STARTING)[2].split()
    return _judged(host, task, followed, float(started[0]), (f"user space from a picture ({picture.kind})",))


def _in_qemu(host: Host, task: Task, entry: Optional[BootEntry]) -> Rehearsed:
    try:
        booted = rehearse_qemu.boot_machine(host, task, entry)
    except NotBootable as error:
        return _failed(Reason(*(error.fields[name] for name in ("id", "subject", "detail", "advice"))))
    return _judged(host, task, booted.followed, 0.0, booted.notes)


def _judged(host: Host, task: Task, followed: Followed, start: float, notes: tuple[str, ...]) -> Rehearsed:
    report = parse_report(followed.report, task.token)
    if report is None:
        return _failed(judge_failure(followed, task.folder.console), notes)
    judged = judge_units(report, failed_units(host))
    seen = recognise(followed.console)
    notes += (f"it came up all the same, but the console said: {seen.line}",) if seen else ()
    return Rehearsed(not judged.reasons, "", 0.0, "", judged.reasons, report.uptime - start, (*notes, *judged.notes))


def _failed(reason: Reason, notes: tuple[str, ...] = ()) -> Rehearsed:
    return Rehearsed(False, "", 0.0, "", (reason,), 0.0, notes)


def _unavailable(detail: str, advice: str) -> Reason:
    return Reason("rehearsal-unavailable", "container", detail, advice)


def failed_units(host: Host) -> list[str]:
    """Return the units that have failed on the running host, or fail again and again."""
    words = ["systemctl", "list-units", "--all", "--state=failed,auto-restart", "--plain", "--no-legend", "--no-pager"]
    done = host.runner.run([*words, "--full"], timeout=LIST_LIMIT, check=False)
    return [line.split()[0] for line in done.stdout.splitlines() if line.split()]
