"""Finds the catalogue's cases: the rest of the host, as far as packages depend on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Callable, Optional

from interlock.waits.conditions import Mount
from interlock.waits.facts import Facts
from interlock.waits.finding import LIKELY, PROVEN, WAITS, Finding
from interlock.waits.graph import WaitGraph

BOOT = "/boot"
QUERIES = ("rpm -q", "rpm --query", "rpmquery", "/usr/bin/rpm -q")


def no_initramfs(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """Find kernels whose initramfs is missing or not whole."""
    system = facts.system
    if system is None or not system.initramfs:
        return
    proof = tuple(f"{BOOT}/vmlinuz-{version} needs an initramfs: {text}" for version, text in system.initramfs.items())
    owners = (system.owners.get(version, "") for version in system.initramfs)
    yield Finding(
        "no-initramfs", PROVEN if system.owners else LIKELY, proof,
        files=tuple(f"{BOOT}/vmlinuz-{version}" for version in system.initramfs),
        packages=tuple(owner for owner in owners if owner),
        data={"versions": list(system.initramfs), "tools": list(system.tools)},
    )  # fmt: skip


def boot_full(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """Find a /boot into which a kernel as big as those that are there does not fit any more."""
    mount, system = _mount(facts, BOOT), facts.system
    if mount is None or system is None or mount.path != BOOT or not system.images:
        return
    biggest = max(system.images.values())
    if mount.free >= biggest:
        return
    spare = [version for version in system.kernels if version not in system.keep]
    proof = (
        f"{BOOT} has {mount.free >> 10} KiB free of {mount.size >> 10}; "
        f"the biggest kernel there takes {biggest >> 10} KiB with its initramfs",
        f"kernels there: {', '.join(system.kernels)}; to be kept: {', '.join(system.keep)}",
    )
    owned = [version for version in spare if version in system.owners]
    yield Finding(
        "boot-full", PROVEN, proof, files=(BOOT,), packages=tuple(system.owners[version] for version in owned),
        data={"versions": owned, "needed": biggest - mount.free, "sizes": {one: system.images[one] for one in owned}},
    )  # fmt: skip


def loader_broken(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """Find a C library and a loader that are not of one build, and nobody who is about to put that right."""
    holders = {lock.pid for lock in facts.locks if lock.path == facts.database.lock and not lock.waits}
    if facts.system is not None and facts.system.loader and not holders & facts.moving:
        files = [word for word in facts.system.loader.replace(",", "").split() if word.startswith("/")]
        yield Finding("loader-broken", PROVEN, (facts.system.loader,), files=tuple(files))


def read_only_database(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """Find a package database on a file system that cannot be written, and is not meant to be so."""
    mount = _mount(facts, facts.database.path)
    if mount is None or mount.writable or mount.meant or not facts.database.backend:
        return
    what = "is mounted read-only" if mount.bound else "is read-only as a whole"
    faults = (mount.faults,) if mount.faults else ()
    yield Finding(
        "read-only-database", PROVEN,
        (f"/proc/self/mountinfo: {mount.path} ({mount.kind}), where {facts.database.path} lies, {what}", *faults),
        files=(facts.database.path,), data={"path": mount.path, "bound": mount.bound, "faults": mount.faults},
    )  # fmt: skip


def _mount(facts: Facts, path: str) -> Optional[Mount]:
    """Return the file system of a path: the longest of those that were looked at."""
    mounts = facts.system.mounts if facts.system else ()
    found = [one for one in mounts if path == one.path or path.startswith(one.path.rstrip("/") + "/")]
    return max(found, key=lambda one: len(one.path)) if found else None


def offline_update_pending(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """Find a boot for an offline update that nobody carries out, or that has not got on for long."""
    system = facts.system
    if system is None or not system.offline_update:
        return
    workers = [
        one for one in facts.processes.values() if "offline-update" in one.command or "system-upgrade" in one.command
    ]
    if any(one.pid in facts.moving for one in workers):
        return
    proof = f"/system-update leads to {system.offline_update}, and this boot is the update's own"
    who = f"; its program (pid {workers[0].pid}) does not get on" if workers else "; no program of an update runs"
    yield Finding(
        "offline-update-pending", LIKELY, (proof + who,), pids=tuple(one.pid for one in workers),
        files=("/system-update",), since=max((one.age for one in workers), default=0.0),
    )  # fmt: skip


def fapolicyd_denies(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """Find trust data of fapolicyd that do not know the packages on the disk."""
    if facts.system is not None and facts.system.fapolicyd:
        pids = tuple(one.pid for one in facts.processes.values() if one.name == "fapolicyd")
        proof = (facts.system.fapolicyd, "the rules deny what the trust data do not know")
        yield Finding("fapolicyd-denies", LIKELY, proof, pids=pids, files=("/var/lib/fapolicyd/data.mdb",))


def query_takes_lock(facts: Facts, graph: WaitGraph) -> Iterator[Finding]:
    """Find a query that waits for the lock of a transaction: rpm 6.0 takes it for queries, too."""
    waiting = [lock.pid for lock in facts.locks if lock.waits and lock.path == facts.database.lock]
    queries = [pid for pid in waiting if pid in facts.processes and facts.processes[pid].command.startswith(QUERIES)]
    for pid in queries:
        after = [one for one in graph.after(f"process:{pid}") if one.verb == "waits for"]
        holders = [graph.nodes[two.target] for one in after for two in graph.after(one.target)]
        named = ", ".join(one.label for one in holders) or "nobody that is seen"
        proof = f"{facts.processes[pid].command} (pid {pid}) waits for {facts.database.lock}, held by {named}"
        pids = (pid, *(one.pid for one in holders))
        yield Finding("query-takes-lock", WAITS, (proof,), pids=pids, files=(facts.database.lock,),
                      since=facts.processes[pid].age)  # fmt: skip


DETECTORS: tuple[Callable[[Facts, WaitGraph], Iterable[Finding]], ...] = (
    no_initramfs, boot_full, loader_broken, read_only_database, offline_update_pending, fapolicyd_denies,
    query_takes_lock,
)  # fmt: skip

# A case, and those that are only its consequences.
BRINGS: Mapping[str, frozenset[str]] = {"query-takes-lock": frozenset({"transaction-waits"})}
