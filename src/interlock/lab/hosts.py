"""Hosts: made from a snapshot of an image, booted in a container, reached by ssh, and removed without a trace.

The record of a host is written before anything of it is made and removed after everything of it is gone; so whatever
is there without a living record is a leftover. Changes of records happen under state.lock.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from interlock.lab import agents, disks, groups, network, ssh, state
from interlock.lab.cache import Cache, Progress, locked
from interlock.lab.errors import HostDidNotBoot, HostExists, HostIsOff
from interlock.lab.releases import Release
from interlock.lab.state import HostRecord
from interlock.lab.zipapp import install_zipapp
from interlock.system.proc import ProcessId, ProcReader
from interlock.system.run import Runner

BOOT_SECONDS = 60.0
_KEEPER = (Path(__file__).parent / "data" / "keeper.sh").read_text()
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_INSTANCES = 4096


@dataclass(frozen=True)
class Lab:
    """One lab and its doors to the machine."""

    cache: Cache
    runner: Runner
    proc: ProcReader
    environment: Mapping[str, str]
    progress: Progress

    def root_of(self, name: str) -> Path:
        """Return where this machine sees a host's root directory."""
        return self.cache.roots / name

    def log_of(self, name: str) -> Path:
        """Return the file that has a host's console."""
        return self.cache.logs / f"{name}.log"

    def state_of(self, record: HostRecord) -> str:
        """Return ``up``, ``off`` or ``being made``."""
        if state.runs(record, self.proc):
            return "up"
        return "being made" if state.is_being_made(record, self.proc) else "off"

    def describe(self, record: HostRecord) -> dict[str, object]:
        """Return what ``--json`` prints for a host."""
        return {
            "name": record.name,
            "release": record.release,
            "state": self.state_of(record),
            "address": record.address,
            "agents": list(record.agents),
            "filesystem": record.filesystem,
            "root": str(self.root_of(record.name)),
            "log": str(self.log_of(record.name)),
            "created": record.created,
        }


def up(
    lab: Lab, names: Sequence[str], release: Release, chosen: Sequence[str], filesystem: str = disks.SNAPSHOT
) -> list[HostRecord]:
    """Make and boot hosts; the image is there. Where one fails, all of this call are removed again."""
    records = _reserve(lab, names, release, chosen, filesystem)
    try:
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda record: _make(lab, record), records))
        # Started from this thread: a child of the pool's would be told that its parent has ended.
        return wait_all(lab, [start(lab, record) for record in made])
    except BaseException:
        for record in records:
            remove(lab, record)
        raise


def wait_all(lab: Lab, records: Sequence[HostRecord]) -> list[HostRecord]:
    """Wait until all hosts answer ssh."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda record: _wait(lab, record), records))
    return list(records)


def _reserve(
    lab: Lab, names: Sequence[str], release: Release, chosen: Sequence[str], filesystem: str
) -> list[HostRecord]:
    maker = lab.proc.identify(os.getpid())
    with locked(lab.cache, "state.lock"):
        known = {record.name: record for record in state.load_all(lab.cache)}
        for name in names:
            if state.check_name(name) in known:
                raise HostExists(name=name, state=lab.state_of(known[name]))
        net = network.ensure_bridge(lab.cache, lab.runner)
        taken = [record.address for record in known.values()]
        records: list[HostRecord] = []
        for name in names:
            address = network.free_address(net, taken)
            taken.append(address)
            created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            record = HostRecord(name, release.name, address, created, tuple(chosen), filesystem, maker)
            state.save(lab.cache, record)
            records.append(record)
    return records


def _make(lab: Lab, record: HostRecord) -> HostRecord:
    root = lab.root_of(record.name)
    disks.make_root(lab.cache, record.release, record.name, record.filesystem, lab.runner)
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (root / "etc/hostname").write_text(f"{record.name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{record.address} {record.name}\n")
    (root / "etc/systemd/network/10-lab.network").write_text(network.host_settings(record.address))
    ssh.install_keys(lab.cache, record, root, lab.runner)
    install_zipapp(root, lab.environment, lab.progress)
    for name in record.agents:
        agents.install(root, name, enabled=True)
    return record


def start(lab: Lab, record: HostRecord) -> HostRecord:
    """Boot a host that is made and does not run; return its record."""
    _allow_many_hosts()
    network.ensure_bridge(lab.cache, lab.runner)
    network.forget_neighbour(lab.cache, lab.runner, record.address)
    _ensure_cgroup2(lab)
    disks.attach(lab.cache, record.name, lab.runner)
    with open(lab.log_of(record.name), "ab") as log:
        child = lab.runner.start(
            keeper_words(lab, record), stdout=log, stderr=log, outlive=True,
            env={"SYSTEMD_SECCOMP": "0", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_LOG_TARGET": "console"},
        )  # fmt: skip
    keeper = lab.proc.identify(child.pid) or ProcessId(child.pid, 0, "")
    with locked(lab.cache, "state.lock"):
        started = record.with_keeper(keeper)
        state.save(lab.cache, started)
    return started


def keeper_words(lab: Lab, record: HostRecord) -> list[str]:
    """Return the command that keeps a host up: the keeper, its control group, and the container."""
    group = f"{groups.folder_name(lab.cache)}/{record.name}"
    return [
        "unshare", "--mount", "--propagation", "slave", "sh", "-c", _KEEPER, "interlock-lab",
        str(lab.cache.mount), str(lab.root_of(record.name)), group,
        "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--settings=no",
        f"--directory={lab.root_of(record.name)}", f"--machine={machine_name(lab, record.name)}",
        f"--hostname={record.name}", f"--network-bridge={network.bridge_name(lab.cache)}",
        f"--bind-ro={lab.cache.depots}:/srv/depots", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
        "--console=read-only",
    ]  # fmt: skip


def machine_name(lab: Lab, name: str) -> str:
    """Return the container's name, which is shared by all labs of this machine."""
    return f"{name}-{network.tag(lab.cache)}"


def _allow_many_hosts() -> None:
    # systemd takes several inotify instances in each host, and they all count as root's.
    if int(_INOTIFY.read_text()) < _INSTANCES:
        _INOTIFY.write_text(f"{_INSTANCES}\n")


def _ensure_cgroup2(lab: Lab) -> None:
    if groups.find_mount() is None:
        folder = lab.cache.home / "cgroup"
        folder.mkdir(exist_ok=True)
        lab.runner.run(["mount", "-t", "cgroup2", "cgroup2", str(folder)])


def _wait(lab: Lab, record: HostRecord) -> None:
    def alive() -> bool:
        return state.runs(record, lab.proc)

    detail = ssh.wait_until_it_answers(lab.cache, record, lab.runner, alive, BOOT_SECONDS)
    if detail:
        last = lab.log_of(record.name).read_text(errors="replace").strip().splitlines()[-3:]
        said = " / ".join(last)
        log = _keep_log(lab, record.name)
        raise HostDidNotBoot(name=record.name, seconds=f"{BOOT_SECONDS:g}", detail=f"{detail}: {said}", log=log)


def _keep_log(lab: Lab, name: str) -> Path:
    log = lab.log_of(name)
    kept = log.with_suffix(".failed.log")
    kept.write_bytes(log.read_bytes())
    return kept


def boot(lab: Lab, name: str) -> HostRecord:
    """Start a host that is off, and wait for it."""
    record = state.load(lab.cache, name)
    if lab.state_of(record) != "off":
        raise HostExists(name=name, state=lab.state_of(record))
    started = start(lab, record)
    _wait(lab, started)
    return started


def power_cut(lab: Lab, name: str) -> HostRecord:
    """End every process of a host at once; its root directory stays as it is."""
    record = running(lab, name)
    groups.end(lab.cache, name)
    with locked(lab.cache, "state.lock"):
        ended = replace(record, keeper=None)
        state.save(lab.cache, ended)
    return ended


def running(lab: Lab, name: str) -> HostRecord:
    """Return the record of a host that is up."""
    record = state.load(lab.cache, name)
    if not state.runs(record, lab.proc):
        raise HostIsOff(name=name)
    return record


def remove(lab: Lab, record: HostRecord) -> None:
    """End a host and remove all of it."""
    groups.end(lab.cache, record.name)
    root = lab.root_of(record.name)
    if root.exists():
        _detach_loops(lab, root)
    disks.remove_root(lab.cache, record.name, lab.runner)
    for path in traces(lab, record.name):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    with locked(lab.cache, "state.lock"):
        state.forget(lab.cache, record.name)


def _detach_loops(lab: Lab, root: Path) -> None:
    # A loop device that a host attached to one of its files outlives the host.
    device = os.stat(root).st_dev
    backing = f"{os.major(device)}:{os.minor(device)}"
    listed = lab.runner.run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-MAJ:MIN"]).stdout
    for words in map(str.split, listed.splitlines()):
        if words[1:] == [backing]:
            lab.runner.run(["losetup", "--detach", words[0]], check=False)


def traces(lab: Lab, name: str) -> tuple[Path, ...]:
    """Return what a host leaves beside its root directory and record."""
    found = (
        lab.cache.roots / f".#{name}.lck",
        ssh.known_hosts(lab.cache, name),
        lab.log_of(name),
        Path("/run/systemd/nspawn/propagate") / machine_name(lab, name),
        Path("/run/systemd/nspawn/unix-export") / machine_name(lab, name),
    )
    return tuple(path for path in found if path.exists())


def down(lab: Lab, names: Sequence[str]) -> list[str]:
    """Remove hosts, and with the last of them the network."""
    records = [state.load(lab.cache, name) for name in names]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda record: remove(lab, record), records))
    if not state.load_all(lab.cache):
        network.remove_bridge(lab.cache, lab.runner)
    return [record.name for record in records]
