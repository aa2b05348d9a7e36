"""What ``interlock lab`` can do, for every face: each verb checks the machine, clears leftovers and does its work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from interlock.lab import agents, depots, disks, hosts, leftovers, preflight, ssh, state
from interlock.lab.build import ensure_images
from interlock.lab.cache import close_cache, in_use, locked, open_cache
from interlock.lab.errors import UnknownDepot
from interlock.lab.hosts import Lab
from interlock.lab.releases import RELEASES, find_release
from interlock.lab.signing import ensure_key
from interlock.lab.state import HostRecord
from interlock.lab.tools import ensure_updates, parse_depot_name
from interlock.system.run import Completed

_RANGE = re.compile(r"^(?P<stem>[a-z]+-updates-)(?P<first>[1-9]\d*)\.\.(?P<last>[1-9]\d*)$")


def build(lab: Lab, names: Sequence[str]) -> list[str]:
    """Build the images of releases (all of them if none is named) and return those that were missing."""
    releases = [find_release(name) for name in names] or list(RELEASES)
    with _at_work(lab):
        return ensure_images(lab.cache, releases, lab.runner, lab.environment, lab.progress)


def up(
    lab: Lab, name: str, release: str, count: Optional[int], chosen: Sequence[str], *, filesystem: str = disks.SNAPSHOT
) -> list[HostRecord]:
    """Boot hosts, building their image first where it is missing; all answer ssh when this returns."""
    wanted = find_release(release)
    names = [name] if count is None else [f"{name}-{number}" for number in range(1, count + 1)]
    for agent in chosen:
        agents.find_agent(agent)
    for one in names:
        state.check_name(one)
    disks.check_filesystem(filesystem)
    with _at_work(lab):
        ensure_images(lab.cache, [wanted], lab.runner, lab.environment, lab.progress)
        disks.ensure_first(lab.cache, release, filesystem, lab.runner, lab.progress)
        return hosts.up(lab, names, wanted, list(dict.fromkeys(chosen)), filesystem)


@contextmanager
def _at_work(lab: Lab) -> Iterator[None]:
    preflight.check_machine(lab.cache, lab.runner)
    with in_use(lab.cache):
        open_cache(lab.cache, lab.runner)
        clear_leftovers(lab)
        yield


def clear_leftovers(lab: Lab) -> list[str]:
    """Remove what a killed lab left, and say so."""
    found = leftovers.clear(lab)
    for one in found:
        lab.progress(f"removed what an earlier lab command left: {one}")
    return found


def resume(lab: Lab) -> bool:
    """Open what is there, for verbs that make nothing; False where there is no lab at all."""
    preflight.check_root()
    if not lab.cache.image.exists():
        return False
    preflight.check_programs()
    open_cache(lab.cache, lab.runner)
    clear_leftovers(lab)
    return True


def list_hosts(lab: Lab) -> list[dict[str, object]]:
    """Return all hosts."""
    if not resume(lab):
        return []
    records = state.load_all(lab.cache)
    if not records:
        close_cache(lab.cache, lab.runner)
    return [lab.describe(record) for record in records]


def execute(lab: Lab, name: str, words: Sequence[str]) -> Completed:
    """Run a command on a host and return its output (for programs)."""
    resume(lab)
    record = hosts.running(lab, name)
    return ssh.run_on(lab.cache, record, words, lab.runner, timeout=24 * 3600, check=False)


def attach(lab: Lab, name: str, words: Sequence[str], terminal: bool) -> int:
    """Run a command on a host with our own input and output; without words, a shell. Returns its exit status."""
    resume(lab)
    record = hosts.running(lab, name)
    argv = ssh.ssh_words(lab.cache, record, terminal)
    return lab.runner.attach([*argv, "--", shlex.join(words)] if words else argv)


def root_path(lab: Lab, name: str) -> Path:
    """Return where a host's root directory is on this machine."""
    resume(lab)
    known = state.load(lab.cache, name).name
    disks.attach(lab.cache, known, lab.runner)
    return lab.root_of(known)


def depot_paths(lab: Lab, name: str) -> list[Path]:
    """Return the directories of a depot, or of a range of update depots, made where they are missing."""
    match = _RANGE.match(name)
    if match is None:
        return [_depot_path(lab, name)]
    versions = range(int(match["first"]), int(match["last"]) + 1)
    return [_depot_path(lab, f"{match['stem']}{version}") for version in versions]


def depot_names(lab: Lab) -> list[str]:
    """Return the depots that are made."""
    return depots.names(lab.cache.depots) if resume(lab) else []


def _depot_path(lab: Lab, name: str) -> Path:
    of_releases = {depots.release_depot(release): release for release in RELEASES}
    update = parse_depot_name(name)
    if update is None and name not in of_releases:
        known = [*of_releases, *(f"{release.name}-updates-2" for release in RELEASES)]
        raise UnknownDepot(name=name, known=", ".join(known))
    if update is None:
        with _at_work(lab):
            ensure_images(lab.cache, [of_releases[name]], lab.runner, lab.environment, lab.progress)
            return lab.cache.depots / name
    with _at_work(lab), locked(lab.cache, "build.lock", lab.progress):
        key = ensure_key(lab.cache.keys, lab.runner)
        return ensure_updates(lab.cache, *update, key, runner=lab.runner, progress=lab.progress)


def switch_agent(lab: Lab, name: str, agent: str, on: bool) -> HostRecord:
    """Start or stop an agent on a host."""
    agents.find_agent(agent)
    resume(lab)
    record = hosts.running(lab, name)
    return agents.switch(lab.cache, record, lab.root_of(name), name=agent, on=on, runner=lab.runner)


def boot(lab: Lab, name: str) -> HostRecord:
    """Start a host that is off."""
    with _at_work(lab):
        return hosts.boot(lab, name)


def power_cut(lab: Lab, name: str) -> HostRecord:
    """End a host at once, as a power cut would."""
    resume(lab)
    return hosts.power_cut(lab, name)


def down(lab: Lab, names: Sequence[str], everything: bool) -> list[str]:
    """Remove hosts; with the last of them the network and the mount go too."""
    if not resume(lab):
        return hosts.down(lab, names)
    chosen = [record.name for record in state.load_all(lab.cache)] if everything else names
    removed = hosts.down(lab, chosen)
    if not state.load_all(lab.cache):
        close_cache(lab.cache, lab.runner)
    return removed
