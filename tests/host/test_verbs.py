"""Each verb on a real host: what it prints for people and for programs, and that looking changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from conftest import Host
from test_concurrency import until

from interlock.events import SCHEMA
from interlock.lab import verbs
from interlock.lab.hosts import Lab
from interlock.lab.recipe import Recipe

DepotOn = Callable[..., str]


@pytest.fixture(scope="module", params=["classic", "current", "next"])
def host(lab: Lab, new_host: Callable[..., Host], request: pytest.FixtureRequest) -> Iterator[Host]:
    made = new_host(request.param)
    yield made
    verbs.down(lab, [made.name], False)


def updates(host: Host, version: int = 2) -> str:
    return f"/srv/depots/{host.release}-updates-{version}"


def test_scan(host: Host) -> None:
    found = host.json("scan", "--depot", updates(host))
    (bulletin,) = found["bulletins"]
    assert (bulletin["id"], bulletin["state"]) == ("LAB-2026-0002", "applicable")
    assert len(found["upgrade"]["upgrades"]) == 12
    assert "LAB-2026-0002" in host.run("interlock", "scan", "--depot", updates(host)).stdout


def test_check(host: Host) -> None:
    digest = host.database()
    found = host.json("check", "--depot", updates(host))
    assert found["verdict"] == "allow"
    reasons = {row["subject"]: row for row in found["reasons"]}
    assert reasons["signatures"]["level"] == "ok"
    backend = "bdb" if host.release == "classic" else "sqlite"
    assert backend in reasons["package database"]["detail"]
    assert host.database() == digest
    assert "verdict: allow" in host.run("interlock", "check").stdout


def test_check_names_what_is_wrong_with_a_depot(host: Host, depot_on: DepotOn) -> None:
    unsigned = depot_on(host, [Recipe("lab-tool-01", "90", {"/usr/share/x": "x"})], None)
    done = host.run("interlock", "check", "--depot", unsigned, check=False)
    assert done.status == 3
    assert "not signed: lab-tool-01-90-1.noarch" in done.stdout
    assert "verdict: deny" in done.stdout
    missing = host.run("interlock", "check", "--depot", "/srv/nothing", check=False)
    assert missing.status == 7


@pytest.mark.parametrize("release", ["classic", "current"])
def test_check_sees_agents(host_of: Callable[..., Host], release: str) -> None:
    """By their units. On a host of its own: the agent's queries are killed, and its database suffers from it."""
    host = host_of(release, "insight")
    rows = [row for row in host.json("check")["reasons"] if row["subject"] == "agents"]
    assert any("HP Insight Management Agents" in row["detail"] for row in rows)


@pytest.mark.parametrize("release", ["classic", "next"])
def test_check_sees_a_program_that_is_on_no_list(host_of: Callable[..., Host], release: str) -> None:
    """By evidence: something runs rpm again and again. On a host of its own, whose database suffers from it."""
    host = host_of(release, "storm")
    until(lambda: any("interlock-lab-storm" in row["detail"] for row in host.json("check")["reasons"]))


def test_stage_changes_nothing(host: Host) -> None:
    digest, packages = host.database(), host.packages()
    found = host.json("stage", "--depot", updates(host))
    assert len(found["files"]) == 12
    for path in found["files"].values():
        assert (host.root / path.lstrip("/")).is_file()
    assert (host.database(), host.packages()) == (digest, packages)
    assert host.json("history") == []


def test_dry_run(host: Host) -> None:
    packages = host.packages()
    found = host.json("update", "--depot", updates(host), "--dry-run")
    assert found["operation"] is None
    assert len(found["plan"]["upgrades"]) == 12
    assert host.packages() == packages


def test_update_with_events_then_history(host: Host) -> None:
    done = host.run(
        "interlock", "update", "--depot", updates(host), "--bulletin", "LAB-2026-0002", "--yes", "--json",
        "--events", "/root/events",
    )  # fmt: skip
    end = json.loads(done.stdout)["end"]
    assert (end["state"], end["exit_status"], end["error"]) == ("done", 0, None)
    events = [json.loads(line) for line in (host.root / "root/events").read_text().splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    common = {"v", "seq", "at", "op", "type"}
    assert all(set(event) - common == set(SCHEMA[event["type"]]) for event in events)
    kinds = [event["type"] for event in events]
    assert kinds.count("element.finished") == 24
    assert kinds[-1] == "operation.ended"
    scripts = [event for event in events if event["type"] == "script.finished"]
    assert scripts
    assert not [event for event in scripts if event["failed"]]
    (row,) = host.json("history")
    assert row["state"] == "done"
    records = host.json("history", row["id"])
    assert [one["name"] for one in records if one["kind"] == "state"] == [
        "planned", "staged", "prepared", "applying", "applied", "verified", "committed", "done",
    ]  # fmt: skip
    assert row["id"] in host.run("interlock", "history").stdout
    assert "done" in host.run("interlock", "status").stdout


def test_nothing_to_do(host: Host) -> None:
    """Runs after the update above, on the same host."""
    done = host.update(updates(host))
    assert done.status == 0
    assert "Nothing to do" in done.stdout
    found = host.json("scan", "--depot", updates(host))
    assert found["bulletins"][0]["state"] == "installed"


def test_unknown_operation(host: Host) -> None:
    done = host.run("interlock", "history", "19990101-000000-abcd", check=False)
    assert done.status == 2
    assert "19990101-000000-abcd" in done.stderr


def test_ordinary_users_are_told(host: Host) -> None:
    argv = f"interlock update --depot {updates(host)} --yes"
    done = host.run("su", "nobody", "-s", "/bin/sh", "-c", argv, check=False)
    assert done.status == 3
    assert "root" in done.stderr


@pytest.mark.parametrize("words", [["update"], ["nonsense"], ["update", "--depot", "/x", "--isolation", "magic"]])
def test_usage(host: Host, words: list[str]) -> None:
    done = host.run("interlock", *words, check=False)
    assert done.status == 2
    assert "usage:" in done.stderr
