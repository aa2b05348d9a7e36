"""The doctor as a person meets it: it asks, it can be taken back, and it keeps away from work in progress."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Host

from interlock.lab import verbs
from interlock.lab.cases.case import Scene
from interlock.lab.cases.reproduce import CASES, ask_doctor
from interlock.lab.handle import HostHandle
from interlock.lab.hosts import Lab


@pytest.fixture
def malformed(lab: Lab, new_host: Callable[..., Host], tmp_path: Path) -> Iterator[HostHandle]:
    """Return a host whose database has damaged pages."""
    host = new_host("current")
    handle = HostHandle(lab, host.name)
    CASES["sqlite-malformed"].make(Scene(handle, tmp_path, random.Random(7)))
    yield handle
    verbs.down(lab, [host.name], False)


def content(handle: HostHandle) -> bytes:
    return (handle.root / "var/lib/rpm/rpmdb.sqlite").read_bytes()


def test_without_consent_nothing_is_changed(malformed: HostHandle) -> None:
    before = content(malformed)
    asked = malformed.run(["sh", "-c", "echo n | script -qec 'interlock doctor --cure' /dev/null"], 60)
    assert "Go on? [y/N]" in asked.stdout
    assert "Nothing was changed." in asked.stdout
    assert malformed.run(["interlock", "doctor", "--cure"], 60).status == 2
    assert content(malformed) == before
    assert not (malformed.root / "var/lib/interlock/cures").exists()


def test_a_cure_can_be_taken_back(malformed: HostHandle) -> None:
    before = content(malformed)
    cured = ask_doctor(malformed, ["--cure", "--yes"])
    assert (cured.status, cured.ids) == (0, [])
    assert content(malformed) != before
    name = cured.report["undo"]
    assert malformed.run(["interlock", "doctor", "--undo"], 30).stdout.split() == [name]
    assert malformed.run(["interlock", "doctor", "--undo", name], 60).status == 0
    assert content(malformed) == before
    assert ask_doctor(malformed).ids == ["sqlite-malformed"]


def test_an_unknown_cure_is_named(malformed: HostHandle) -> None:
    done = malformed.run(["interlock", "doctor", "--undo", "20200101-1", "--json"], 30)
    assert (done.status, json.loads(done.stdout)["error"]) == (2, "unknown-cure")


def test_it_keeps_away_from_an_upgrade(host_of: Callable[..., Host]) -> None:
    host = host_of("current")
    depot = "/srv/depots/current-updates-2"
    started = host.update(depot, "--detach", INTERLOCK_TRACE="prepared=stop")
    assert started.status == 0
    handle = HostHandle(host.lab, host.name)
    pid = handle.run(["sed", "-n", r's/.*"pid": \([0-9]*\).*/\1/p', "/var/lib/interlock/lease"], 30).stdout
    state = f"until grep -q 'State:.*[Tt] (stopped' /proc/{pid.strip()}/status; do sleep 0.1; done"
    assert handle.run(["sh", "-c", state], 60).status == 0
    assert ask_doctor(handle).ids == []
    assert handle.run(["sh", "-c", "echo x > /var/lib/dnf/rpmdb_lock.pid"], 10).status == 0
    done = handle.run(["interlock", "doctor", "--cure", "--yes", "--json"], 60)
    assert (done.status, json.loads(done.stdout)["error"]) == (6, "busy")
    assert os.path.exists(handle.root / "var/lib/dnf/rpmdb_lock.pid")


@pytest.mark.parametrize("words", [("--root", "/nothing"), ("--proc", "/nothing")])
def test_a_place_that_is_not_there_is_named(host_of: Callable[..., Host], words: tuple[str, str]) -> None:
    done = host_of("current").run("interlock", "doctor", *words, check=False)
    assert done.status == 2
    assert "/nothing is not a directory" in done.stderr
