"""Finds and removes what a killed or crashed lab left behind. Every lab command begins with it.

A leftover is what has no living record: a host that was being made by a command that is gone, a control group or a
root directory of no host, a network without hosts, half-built work that nobody builds, a loop device of the image
file that is not mounted. A host whose container ended is not a leftover: it is off, and keeps its root directory.
Processes are only ever ended through a control group that the lab made.
"""

from __future__ import annotations

import os
from dataclasses import replace

from interlock.lab import disks, groups, network, state
from interlock.lab.build import clear_work
from interlock.lab.cache import locked, try_locked
from interlock.lab.hosts import Lab, remove
from interlock.lab.state import HostRecord


def clear(lab: Lab) -> list[str]:
    """Remove all leftovers of this lab; return what was removed, in words."""
    found = _half_made_hosts(lab)
    with locked(lab.cache, "state.lock"):
        records = state.load_all(lab.cache)
        found += _dead_containers(lab, records)
        known = {record.name for record in records}
        found += _strangers(lab, known)
        if not known and network.remove_bridge(lab.cache, lab.runner):
            found.append(f"the network {network.bridge_name(lab.cache)}")
    return found + _loop_devices(lab) + _half_built(lab)


def _half_made_hosts(lab: Lab) -> list[str]:
    found = []
    for record in state.load_all(lab.cache):
        if record.maker is not None and not state.is_being_made(record, lab.proc):
            remove(lab, record)
            found.append(f"the half-made host {record.name}")
    return found


def _dead_containers(lab: Lab, records: list[HostRecord]) -> list[str]:
    found = []
    for record in records:
        if record.keeper is not None and not state.runs(record, lab.proc):
            if groups.end(lab.cache, record.name):
                found.append(f"processes and mounts of the host {record.name}, which is off")
            state.save(lab.cache, replace(record, keeper=None))
    return found


def _strangers(lab: Lab, known: set[str]) -> list[str]:
    found = []
    for name in set(groups.host_groups(lab.cache)) - known:
        groups.end(lab.cache, name)
        found.append(f"processes of {name}")
    if lab.cache.is_mounted() and lab.cache.roots.exists():
        for path in sorted(lab.cache.roots.iterdir()):
            if path.name.startswith(".#"):
                if path.name[2:-4] not in known:
                    path.unlink(missing_ok=True)
            elif path.name not in known:
                disks.remove_root(lab.cache, path.name, lab.runner)
                found.append(f"the root directory of {path.name}")
        for name in disks.strangers(lab.cache, known):
            disks.remove_root(lab.cache, name, lab.runner)
            found.append(f"the disk of {name}")
    return found


def _loop_devices(lab: Lab) -> list[str]:
    if lab.cache.is_mounted() or not lab.cache.image.exists():
        return []
    listed = lab.runner.run(["losetup", "--noheadings", "--output", "NAME", "-j", str(lab.cache.image)]).stdout
    for device in listed.split():
        lab.runner.run(["losetup", "--detach", device], check=False)
    return [f"the loop device {device}" for device in listed.split()]


def _half_built(lab: Lab) -> list[str]:
    cache = lab.cache
    half_made_image = cache.image.with_suffix(".new")
    with try_locked(cache, "build.lock") as held:
        if not held:
            return []
        found = ["a half-made image file"] if half_made_image.exists() else []
        half_made_image.unlink(missing_ok=True)
        if cache.is_mounted() and cache.work.exists() and os.listdir(cache.work):
            names = ", ".join(sorted(os.listdir(cache.work)))
            clear_work(cache, lab.runner)
            found.append(f"half-built {names}")
    return found
