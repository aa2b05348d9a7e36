"""What others make of our depots: dnf and zypper on real hosts list our bulletins and see our packages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Host

from interlock.depot.make import create_depot, recall
from interlock.lab.recipe import Recipe, build
from interlock.lab.signing import SigningKey, sign
from interlock.system.run import Runner

HostOf = Callable[..., Host]


@pytest.mark.parametrize("release", ["current", "next"])
def test_dnf_and_zypper_install_from_a_depot_of_ours_and_list_its_bulletins(
    host_of: HostOf, lab_key: SigningKey, tmp_path: Path, release: str
) -> None:
    host = host_of(release)
    place = Path(host.root) / "srv/own"
    recipes = [Recipe("own-tool", "2", {"/opt/own-tool": "2"}), Recipe("own-other", "1", {"/opt/own-other": "1"})]
    first = Path(host.root) / "srv/first"
    for folder, wanted in ((place, recipes), (first, [Recipe("own-tool", "1", {"/opt/own-tool": "1"})])):
        sign(build(wanted, folder, tmp_path / folder.name, host.lab.runner), lab_key, host.lab.runner)
    rows = [
        {"id": "OWN-1", "title": "Own update", "packages": ["own-tool"], "category": "security",
         "severity": "Important", "issued": "2026-01-01 00:00:00"},
        {"id": "OWN-2", "packages": ["own-other"], "category": "newpackage", "issued": "2026-01-02 00:00:00"},
    ]  # fmt: skip
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    create_depot(str(place), str(tmp_path / "rows.json"), Runner())
    host.shell("rpm -U /srv/first/*.rpm")
    dnf = "dnf -q --disablerepo='*' --repofrompath=own,/srv/own --enablerepo=own --setopt=own.gpgcheck=0"
    listed = host.shell(f"{dnf} updateinfo list 2>&1", timeout=100).stdout
    assert "OWN-1" in listed
    assert "own-tool-2-1.noarch" in listed
    ours = {
        row["id"]
        for row in host.json("scan", "--depot", "/srv/own", "--allow-unsigned")["bulletins"]
        if row["state"] == "applicable"
    }
    assert ours == {line.split()[0] for line in listed.splitlines() if line.startswith("OWN")}
    host.shell(f"{dnf} -y install own-other 2>&1", timeout=100)
    assert (host.root / "opt/own-other").read_text() == "1"
    zypper = "zypper --non-interactive --no-gpg-checks --no-refresh"
    host.shell(f"{zypper} addrepo --no-check file:///srv/own own", timeout=100)
    host.shell("zypper --non-interactive --no-gpg-checks refresh own", timeout=100)
    patches = host.shell(f"{zypper} list-patches --all 2>&1", timeout=100).stdout
    assert "OWN-1" in patches
    host.shell(f"{zypper} install --from own --allow-unsigned-rpm own-tool 2>&1", timeout=100)
    assert (host.root / "opt/own-tool").read_text() == "2"
    recall(str(place), "OWN-1", "broken", "", Runner())
    assert host.json("info", "OWN-1", "--depot", "/srv/own", "--allow-unsigned")["recalled"] is True
