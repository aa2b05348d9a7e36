"""Plans the cures: the rest of the host, as far as packages depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

from interlock.waits.cure import Cure, Step
from interlock.waits.facts import Facts
from interlock.waits.finding import Finding


def make_initramfs(finding: Finding, _facts: Facts) -> Cure:
    """Have the host's own tool make what is missing."""
    tools, versions = finding.data["tools"], finding.data["versions"]
    if not tools:
        text = (
            f"how the initramfs of {', '.join(versions)} is made: there is no dracut or mkinitramfs; no reboot before"
        )
        return Cure(finding.id, decide=text)
    return Cure(finding.id, tuple(_make(tools[0], version) for version in versions))


def _make(tool: str, version: str) -> Step:
    return Step("make-initramfs", f"make the initramfs of {version} with {tool}", {"tool": tool, "version": version})


def make_room(finding: Finding, _facts: Facts) -> Cure:
    """Remove the oldest kernels by their packages, as many as it takes."""
    chosen: list[str] = []
    gained = 0
    for version, package in zip(finding.data["versions"], finding.packages):
        if gained < finding.data["needed"]:
            chosen.append(package)
            gained += finding.data["sizes"][version]
    if gained < finding.data["needed"]:
        text = "what may go from /boot: no package of a kernel that neither runs nor is the default takes enough"
        return Cure(finding.id, decide=text)
    step = Step("remove-packages", f"remove the oldest kernels: rpm -e {' '.join(chosen)}", {"packages": chosen}, True)
    return Cure(finding.id, (step,))


def keep_alive(finding: Finding, _facts: Facts) -> Cure:
    """Nothing can be started on such a host any more, so that nothing can be done from within."""
    text = (
        f"from where {' and '.join(finding.files)} are put back from one package of glibc: a shell that still runs, a "
        "static busybox, or from outside. Do not log out and do not reboot before"
    )
    return Cure(finding.id, decide=text)


def make_writable(finding: Finding, _facts: Facts) -> Cure:
    """Mount it for writing again, unless the kernel has something against the file system."""
    path = finding.data["path"]
    if finding.data["faults"]:
        text = f"when {path} can be checked (fsck): {finding.data['faults']}, and to write would make it worse"
        return Cure(finding.id, decide=text)
    options = "remount,bind,rw" if finding.data["bound"] else "remount,rw"
    step = Step("remount", f"mount {path} for writing: mount -o {options} {path}", {"path": path, "options": options})
    return Cure(finding.id, (step,))


def end_offline_update(finding: Finding, _facts: Facts) -> Cure:
    """A boot that was meant for it alone is not given up by a program."""
    text = (
        "whether the update goes on: `journalctl -b -u packagekit-offline-update` says what it did. To give it up, "
        "remove /system-update and run `systemctl reboot`; this doctor then sees what it left"
    )
    return Cure(finding.id, decide=text)


def reload_trust(finding: Finding, facts: Facts) -> Cure:
    """Have fapolicyd read its trust data anew, once no transaction is at work."""
    if any(lock.path == facts.database.lock and not lock.waits for lock in facts.locks):
        return Cure(finding.id, decide="nothing yet: a transaction is at work; look again when it has ended")
    text = "have fapolicyd read its trust data anew: fapolicyd-cli --update"
    return Cure(finding.id, (Step("update-trust", text),))


def wait_for_it(finding: Finding, _facts: Facts) -> Cure:
    """A query that waits is whole again when the transaction ends."""
    return Cure(finding.id, decide="nothing: the query goes on when the transaction ends; rpm 6.1 no longer waits")


CURES: Mapping[str, Callable[[Finding, Facts], Cure]] = {
    "no-initramfs": make_initramfs,
    "boot-full": make_room,
    "loader-broken": keep_alive,
    "read-only-database": make_writable,
    "offline-update-pending": end_offline_update,
    "fapolicyd-denies": reload_trust,
    "query-takes-lock": wait_for_it,
}
