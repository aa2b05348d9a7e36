"""What the lab needs of a machine, and how it keeps its records; nothing is made here."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from interlock.errors import ExitStatus
from interlock.lab import agents, groups, network, preflight, state
from interlock.lab.cache import Cache, check_space, default_home, locked, try_locked
from interlock.lab.errors import (
    BadHostName,
    KernelFeaturesMissing,
    NotRoot,
    ProgramsMissing,
    TooLittleSpace,
    UnknownAgent,
    UnknownHost,
    UnknownRelease,
)
from interlock.lab.releases import RELEASES, find_release, predecessor, step_into
from interlock.lab.settings import macros
from interlock.lab.state import HostRecord
from interlock.lab.trees import pick_mirror
from interlock.system.proc import ProcessId, ProcReader
from interlock.system.zipapp import candidates


def test_the_cache_is_where_the_environment_says() -> None:
    assert default_home({"INTERLOCK_CACHE": "/c", "HOME": "/h"}) == Path("/c")
    assert default_home({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/interlock")
    assert default_home({"HOME": "/h"}) == Path("/h/.cache/interlock")


def test_releases_and_their_steps() -> None:
    assert [step_into(release) for release in RELEASES] == [None, "classic-current", "current-next"]
    assert predecessor(find_release("next")) == find_release("current")
    with pytest.raises(UnknownRelease) as caught:
        find_release("old")
    assert caught.value.exit_status == ExitStatus.USAGE
    assert "classic, current, next" in str(caught.value)


def test_only_berkeley_db_is_asked_for_by_name() -> None:
    assert "%_db_backend bdb" in macros(find_release("classic"))
    assert "_db_backend" not in macros(find_release("current"))


def test_the_archive_is_the_one_that_has_whole_releases() -> None:
    targets = "a-security main u1\nb/updates main u2\na contrib u3\na main u4\n"
    assert pick_mirror(targets) == "u4"
    assert pick_mirror("") == ""


def test_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(NotRoot) as caught:
        preflight.check_root()
    assert caught.value.exit_status == ExitStatus.REFUSED


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name in ("debootstrap", "btrfs") else f"/bin/{name}")
    with pytest.raises(ProgramsMissing) as caught:
        preflight.check_programs()
    assert "debootstrap, btrfs" in str(caught.value)
    assert caught.value.advice == "apt-get install btrfs-progs debootstrap"


def test_missing_kernel_features_are_named() -> None:
    assert preflight.missing_filesystems("nodev\tcgroup2\n\text4\n") == ["btrfs"]
    assert "modprobe btrfs" in KernelFeaturesMissing(features="btrfs", modules="btrfs").advice


def test_too_little_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interlock.lab.cache.free_bytes", lambda path: 1 << 30)
    with pytest.raises(TooLittleSpace, match=r"and 1\.0 GiB are free"):
        check_space(Cache(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_one_lock_keeps_two_commands_apart(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with locked(cache, "build.lock"), try_locked(cache, "build.lock") as held:
        assert not held
    with try_locked(cache, "build.lock") as held:
        assert held


def test_a_stamp_counts_only_for_its_recipe(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.stamps.mkdir(parents=True)
    cache.stamp("image", "classic", "1")
    assert cache.made("image", "classic", "1")
    assert not cache.made("image", "classic", "2")
    cache.unstamp("image", "classic")
    assert not cache.made("image", "classic", "1")


def record(name: str = "a", **more: object) -> HostRecord:
    return HostRecord(name, "classic", "198.18.0.2", "now", **more)  # type: ignore[arg-type]


def test_records_are_read_back_and_unknown_hosts_named(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.state.mkdir()
    kept = record(agents=("storm",), keeper=ProcessId(1, 2, "b"))
    state.save(cache, kept)
    assert state.load(cache, "a") == kept
    with pytest.raises(UnknownHost, match="it has: a"):
        state.load(cache, "b")


def test_a_reused_pid_is_not_the_keeper() -> None:
    proc = ProcReader()
    me = proc.identify(1)
    assert me is not None
    assert state.runs(record(keeper=me), proc)
    assert not state.runs(record(keeper=ProcessId(me.pid, me.started + 1, me.boot)), proc)
    assert not state.runs(record(), proc)


@pytest.mark.parametrize("name", ["", "A", "1a", "a-", "a_b", "a" * 41, "../a"])
def test_names_that_no_host_can_have(name: str) -> None:
    with pytest.raises(BadHostName):
        state.check_name(name)


def test_two_caches_have_two_bridges_and_blocks(tmp_path: Path) -> None:
    one, other = Cache(tmp_path / "one"), Cache(tmp_path / "other")
    assert network.bridge_name(one) != network.bridge_name(other)
    assert len(network.bridge_name(one)) < 16
    assert set(network.blocks(one)) == set(network.blocks(other))


def test_addresses_are_given_once() -> None:
    net = ipaddress.IPv4Network("198.18.4.0/29")
    assert network.free_address(net, []) == "198.18.4.2"
    assert network.free_address(net, ["198.18.4.2"]) == "198.18.4.3"
    with pytest.raises(network.NetworkFull):
        network.free_address(net, [f"198.18.4.{last}" for last in range(2, 7)])


def test_the_unified_hierarchy_is_found_wherever_it_is() -> None:
    hybrid = "31 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    assert groups.find_mount(f"24 1 0:5 / /sys/fs/cgroup rw - tmpfs t rw\n{hybrid}") == Path("/sys/fs/cgroup/unified")
    assert groups.find_mount("24 1 0:5 / / rw - ext4 d rw\n") is None


def test_agents_say_that_they_are_stand_ins() -> None:
    for agent in agents.AGENTS:
        for unit in agent.units:
            assert "Description=Interlock lab stand-in for " in agents.unit_text(agent, unit)
    names = [unit.name for unit in agents.find_agent("insight").units]
    assert names == ["hp-health.service", "hp-snmp-agents.service", "hpsmhd.service"]
    with pytest.raises(UnknownAgent, match="insight, storm, reader"):
        agents.find_agent("thunder")


def test_an_agent_is_files_outside_all_packages(tmp_path: Path) -> None:
    agents.install(tmp_path, "storm", enabled=True)
    link = tmp_path / "etc/systemd/system/multi-user.target.wants/interlock-lab-storm.service"
    assert link.is_symlink()
    assert (tmp_path / agents.PROGRAM).exists()


def test_the_zipapp_can_be_named(tmp_path: Path) -> None:
    assert candidates({"INTERLOCK_ZIPAPP": str(tmp_path)}) == [tmp_path]
    assert candidates({})[0].name == "interlock.pyz"
