"""Every shipped rule, from the rule file alone: a host that it affects, one that it does not; the article's table."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from interlock.advice.rules import judge, parse_rules, read_rules, telling

RULES = read_rules("/nonexistent")
BOOTED = 1_000_000
HOST: dict[str, Any] = {
    "product": {"family": "rhel", "name": "Red Hat Enterprise Linux", "version": "9.4"},
    "hardware": {"vendor": "Dell Inc.", "product": "PowerEdge R710"},
    "rpm": {"version": "4.16.1.3", "backend": "sqlite", "path": "/var/lib/rpm"},
    "glibc": {"version": "2.34-100", "installed": BOOTED - 5000},
    "packages": {"glibc": [{"epoch": 0, "version": "2.34", "release": "100", "arch": "x86_64", "evr": "2.34-100"}]},
    "agents": [],
    "rpm_running": [],
    "kernel": "5.14.0",
    "booted": BOOTED,
    "now": BOOTED + 9000,
    "mounts": {
        "/": {"type": "xfs", "read_only": False, "free": 1 << 33, "size": 1 << 35, "free_inodes": 900000, "own": True},
        "/var": {
            "type": "xfs",
            "read_only": False,
            "free": 1 << 33,
            "size": 1 << 35,
            "free_inodes": 900000,
            "own": True,
        },
        "/boot": {
            "type": "xfs",
            "read_only": False,
            "free": 1 << 30,
            "size": 1 << 30,
            "free_inodes": 90000,
            "own": True,
        },
    },
    "virtual_machines": [],
    "hold": "",
    "pid_files": [],
    "container": False,
    "dnf_excludes": [],
    "bulletins_done": [],
    "files": {"/system-update": False, "/run/ostree-booted": False},
    "programs": {"dracut": True, "mkinitrd": False, "update-initramfs": False},
}
UPDATE: dict[str, Any] = {
    "bulletins": ["RHSA-1"],
    "packages": {"bash": {"version": "5", "release": "1"}},
    "removed": [],
    "reboot": False,
    "kernel": False,
    "download_size": 1,
}
INSIGHT = {"name": "HP Insight Management Agents", "evidence": "unit hp-health.service", "units": ["hp-health.service"]}
OSQUERY = {"name": "osquery", "evidence": "unit osqueryd.service", "units": ["osqueryd.service"]}
ESX = {"family": "esx", "name": "VMware ESX", "version": "4.0.0"}
PROLIANT = {"vendor": "HP", "product": "ProLiant DL380 G6"}
U1, U1A = {"bulletins": ["ESX400-Update01"]}, {"bulletins": ["ESX400-Update01a"]}
KERNEL = {"kernel": True, "packages": {"kernel-core": {"version": "6", "release": "1"}}}
MACHINES = [{"name": "db", "kind": "esx", "disks": ["/vmfs/volumes/local/db/db.vmdk"], "local": True, "runs": True}]
# Rule: what makes a host affected (host, update), and what of that makes it not affected any more (host, update).
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "esx40-update1-insight-agents": (
        {"product": ESX, "hardware": PROLIANT, "agents": [INSIGHT]},
        U1,
        {"agents": []},
        {},
    ),
    "esx40-update1-rpm-users": ({"product": ESX, "rpm_running": ["rpm -qa (pid 5)"]}, U1, {"rpm_running": []}, {}),
    "esx40-update1-replaced": ({"product": ESX}, U1, {"product": {**ESX, "version": "4.1.0"}}, {}),
    "esx40-update1a-agents": ({"product": ESX, "agents": [OSQUERY]}, U1A, {"agents": []}, {}),
    "esx40-update1a-no-rpm": ({"product": ESX}, U1A, {}, U1),
    "esxi40-update1-not-affected": ({"product": {**ESX, "family": "esxi"}}, U1, {"product": ESX}, {}),
    "esx40-update1-not-rebooted": (
        {"product": ESX, "glibc": {"version": "2.5-34", "installed": BOOTED + 60}},
        {},
        {"booted": BOOTED + 90},
        {},
    ),
    "esx40-local-machines": ({"product": ESX, "virtual_machines": MACHINES}, U1, {"virtual_machines": []}, {}),
    "el7-glibc-libdb": (
        {
            "product": {"family": "rhel", "name": "x", "version": "7.2"},
            "rpm": {**HOST["rpm"], "backend": "bdb"},
            "packages": {"libdb": [{"version": "5.3.21", "release": "19.el7"}]},
        },
        {"packages": {"glibc": {"version": "2.17", "release": "157"}}},
        {"packages": {"libdb": [{"version": "5.3.28", "release": "24.el7"}]}},
        {},
    ),
    "agent-upgrades-itself": (
        {"agents": [{"name": "Salt", "evidence": "", "units": ["salt-minion.service"]}]},
        {"packages": {"salt-minion": {"version": "3007", "release": "1"}}},
        {"agents": [OSQUERY]},
        {},
    ),
    "fapolicyd-reload": ({"agents": [{**OSQUERY, "name": "fapolicyd"}]}, {}, {"agents": [OSQUERY]}, {}),
    "stale-pid-file": ({"pid_files": [{"path": "/run/yum.pid", "pid": 9, "alive": False}]}, {}, {"pid_files": []}, {}),
    "boot-too-full": (
        {"mounts": {**HOST["mounts"], "/boot": {**HOST["mounts"]["/boot"], "free": 40 << 20}}},
        KERNEL,
        {"mounts": HOST["mounts"]},
        {},
    ),
    "no-initramfs-tool": (
        {"programs": {"dracut": False, "mkinitrd": False, "update-initramfs": False}},
        KERNEL,
        {"programs": HOST["programs"]},
        {},
    ),
    "kernel-in-container": ({"container": True}, KERNEL, {"container": False}, {}),
    "rpm6-query-lock": (
        {"rpm": {**HOST["rpm"], "version": "6.0.1"}, "agents": [OSQUERY]},
        {},
        {"rpm": {**HOST["rpm"], "version": "4.20.1"}},
        {},
    ),
    "berkeley-db-readers": (
        {"rpm": {**HOST["rpm"], "backend": "bdb"}, "agents": [OSQUERY]},
        {},
        {"rpm": HOST["rpm"]},
        {},
    ),
    "offline-update-pending": ({"files": {**HOST["files"], "/system-update": True}}, {}, {"files": HOST["files"]}, {}),
    "image-based-host": ({"files": {**HOST["files"], "/run/ostree-booted": True}}, {}, {"files": HOST["files"]}, {}),
    "var-read-only": (
        {"mounts": {**HOST["mounts"], "/var": {**HOST["mounts"]["/var"], "read_only": True}}},
        {},
        {"mounts": HOST["mounts"]},
        {},
    ),
    "few-inodes": (
        {"mounts": {**HOST["mounts"], "/var": {**HOST["mounts"]["/var"], "free_inodes": 12}}},
        {},
        # A file system without a fixed number of them has none to run out of.
        {"mounts": {**HOST["mounts"], "/var": {**HOST["mounts"]["/var"], "free_inodes": -1}}},
        {},
    ),
    "overlay-root": (
        {"mounts": {**HOST["mounts"], "/": {**HOST["mounts"]["/"], "type": "overlay"}}},
        {},
        {"mounts": HOST["mounts"]},
        {},
    ),
    "excluded-packages": ({"dnf_excludes": ["kernel*", "bash"]}, {}, {"dnf_excludes": ["zsh"]}, {}),
    "ssm-raw-rpm": (
        {
            "product": {"family": "amazon", "name": "Amazon Linux", "version": "2023"},
            "agents": [{**OSQUERY, "name": "AWS Systems Manager"}],
        },
        {},
        {"agents": [OSQUERY]},
        {},
    ),
    "rpm-runs-now": ({"rpm_running": ["rpm -qa (pid 5)"]}, {}, {"rpm_running": []}, {}),
}


def states(host: dict[str, Any], update: dict[str, Any]) -> dict[str, str]:
    return {one.rule.id: one.state for one in judge(RULES, host, update)}


def test_the_shipped_rules_are_all_good_and_all_have_cases() -> None:
    assert RULES.defects == ()
    assert set(RULES.rules) == set(CASES)


def test_a_usual_host_is_affected_by_nothing() -> None:
    assert telling(judge(RULES, HOST, UPDATE)) == []
    assert telling(judge(RULES, HOST, {**UPDATE, **KERNEL})) == []


@pytest.mark.parametrize("rule", sorted(CASES))
def test_a_host_of_each_kind(rule: str) -> None:
    host, update, other_host, other_update = CASES[rule]
    affected = {**HOST, **host}
    assert states(affected, {**UPDATE, **update})[rule] == "affected"
    spared = states({**affected, **other_host}, {**UPDATE, **update, **other_update})[rule]
    assert spared in ("not-affected", "not-concerned")
    advice = next(one for one in judge(RULES, affected, {**UPDATE, **update}) if one.rule.id == rule)
    assert advice.rule.source
    assert len(advice.rule.explanation) > 20


@pytest.mark.parametrize("rule", sorted(CASES))
def test_a_fact_that_is_missing_never_counts_as_allow(rule: str) -> None:
    host, update, _, _ = CASES[rule]
    for name in host:
        known = {**HOST, **copy.deepcopy(host)}
        del known[name]
        found = next(one for one in judge(RULES, known, {**UPDATE, **update}) if one.rule.id == rule)
        # Another fact may decide alone, as either of two kinds of users does.
        assert found.state in ("unknown", "affected") or name in ("rpm_running",), name
        assert found.stops == (found.rule.verdict in ("deny", "hold") and found.state != "not-affected")


# The article, cell by cell: who, with which hardware, what runs, which update → what comes of it.
WHO = {"esx": ESX, "esxi": {**ESX, "family": "esxi", "name": "VMware ESXi"}, "esx41": {**ESX, "version": "4.1.0"}}
ON = {"proliant": PROLIANT, "dell": HOST["hardware"]}
RUNS: dict[str, dict[str, Any]] = {
    "insight": {"agents": [INSIGHT]},
    "another": {"agents": [OSQUERY]},
    "a person": {"rpm_running": ["rpm -qa (pid 7)"]},
    "nobody": {},
}
UPDATES = {"U1": U1, "U1 by its other name": {"bulletins": ["ESX400-200911201-UG"]}, "U1a": U1A, "another": {}}


def expected(who: str, runs: str, update: str) -> str:
    if who != "esx" or update == "another":
        return "allow"
    if update == "U1a":
        return "quiesce" if runs in ("insight", "another") else "allow"
    return "allow" if runs == "nobody" else "deny"


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("on", ON)
@pytest.mark.parametrize("who", WHO)
def test_the_table_of_the_article(who: str, on: str, runs: str, update: str) -> None:
    host = {**HOST, "product": WHO[who], "hardware": ON[on], **RUNS[runs]}
    found = [one for one in judge(RULES, host, {**UPDATE, **UPDATES[update]}) if one.rule.id.startswith("esx")]
    affected = {one.rule.verdict for one in found if one.state == "affected"}
    verdict = "deny" if affected & {"deny", "hold"} else "quiesce" if "quiesce" in affected else "allow"
    assert verdict == expected(who, runs, update)
    assert not any(one.state == "unknown" for one in found)
    insight = next(one for one in found if one.rule.id == "esx40-update1-insight-agents")
    assert (insight.state == "affected") == (
        who == "esx" and on == "proliant" and runs == "insight" and update.startswith("U1") and update != "U1a"
    )


def test_after_update_1_without_a_reboot_the_host_is_held_and_local_machines_are_named() -> None:
    half = {
        **HOST,
        "product": ESX,
        "glibc": {"version": "2.5-34", "installed": BOOTED + 60},
        "virtual_machines": MACHINES,
    }
    found = {one.rule.id: one for one in telling(judge(RULES, half, {**UPDATE, "bulletins": [], "packages": {}}))}
    assert found["esx40-update1-not-rebooted"].rule.verdict == "hold"
    assert "support-bundle" in found["esx40-update1-not-rebooted"].rule.solution
    assert found["esx40-local-machines"].names == ("db",)
    # Update 1a, carried out by Interlock and proven, is no such case.
    proven = {**half, "bulletins_done": [{"id": "ESX400-Update01a", "at": BOOTED + 90}]}
    assert states(proven, UPDATE)["esx40-update1-not-rebooted"] == "not-affected"


def rule_text(**more: Any) -> str:
    row = {
        "id": "x",
        "revision": 1,
        "title": "t",
        "verdict": "deny",
        "when": "true",
        "explanation": "e",
        "solution": "s",
    }
    return json.dumps({"format": 1, "rules": [{**row, **more}]})


@pytest.mark.parametrize(
    ("more", "defect"),
    [
        ({"when": "host.("}, "`when`: character 6"),
        ({"verdict": "maybe"}, "`verdict` is none of"),
        ({"id": "Ä"}, "`id` is not made of"),
        ({"extra": 1}, "unknown field 'extra'"),
        ({"title": ""}, "`title` is missing"),
        ({"revision": "1"}, "`revision` is no number"),
        ({"when": "(" * 100 + "1" + ")" * 100}, "nested more than"),
        ({"source": "x"}, "`source` is no list"),
        ({"when": "a" * 9000}, "longer than"),
    ],
)
def test_a_bad_rule_is_named_and_left_out(more: dict[str, Any], defect: str) -> None:
    rules, defects = parse_rules(rule_text(**more), "file")
    assert rules == []
    assert defect in defects[0]
    assert "file: rule" in defects[0]


def test_a_later_revision_wins_and_a_bad_file_takes_nothing_with_it(tmp_path: Path) -> None:
    (tmp_path / "new.json").write_text(rule_text(id="few-inodes", revision=9, when="false"))
    (tmp_path / "old.json").write_text(rule_text(id="overlay-root", revision=0, when="false"))
    (tmp_path / "bad.json").write_text("{")
    found = read_rules(str(tmp_path))
    assert (found.rules["few-inodes"].revision, found.rules["overlay-root"].revision) == (9, 1)
    assert "bad.json was left out" in found.defects[0]
