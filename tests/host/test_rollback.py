"""`interlock rollback`: the host is what it was, what others changed since is theirs, and nothing is done by halves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Host

from interlock.lab.recipe import Recipe
from interlock.lab.tree import Content, differences, tree

HostOf = Callable[..., Host]
CONTENT: Content = {}
# On btrfs the other tests go back.
WAYS = [("classic", "classic-current", "ext4"), ("current", "current-next", "xfs")]


@pytest.mark.parametrize(("release", "depot", "filesystem"), WAYS)
def test_a_whole_system_goes_back(host_of: HostOf, release: str, depot: str, filesystem: str) -> None:
    """Setuid bits and capabilities included: the lab's own packages have both."""
    host = host_of(release, filesystem=filesystem)
    assert host.run("stat", "--file-system", "--format", "%T", "/").stdout.split()[0].startswith(filesystem[:3])
    host.shell("setcap cap_net_raw+ep /usr/bin/ping 2>/dev/null || setcap cap_net_raw+ep /usr/bin/hostname; true")
    old, packages = tree(host.root, CONTENT), host.packages()
    assert any(seen.mode & 0o4000 for seen in old.values())
    assert host.update(f"/srv/depots/{depot}").status == 0
    assert len(differences(old, tree(host.root, CONTENT))) > 10000
    store = next((host.root / "var/lib/interlock/undo").iterdir())
    kept = [path.lstat() for path in store.rglob("*") if path.is_file()]
    events = [one for one in host.json_lines("events.jsonl") if one["type"] == "undo.kept"]
    replaced = sum(one.st_size for one in kept)
    # Copies and lists: what the store takes beside the old files that it only keeps from going away.
    own = events[0]["bytes"] + sum(path.stat().st_size for path in store.iterdir() if path.is_file())
    print(f"undo store: {own >> 10} KiB of its own for {replaced >> 20} MiB replaced")
    assert own < replaced / 10
    back = host.run("interlock", "rollback", "--yes", timeout=300)
    assert "paths were put back" in back.stdout
    assert differences(old, tree(host.root, CONTENT))[:5] == []
    assert host.packages() == packages
    assert host.run("rpmdb", "--verifydb").status == 0
    assert host.leftovers() == []
    # It is a whole host: it takes the same upgrade again.
    assert host.update(f"/srv/depots/{depot}").status == 0


def test_what_others_changed_since_is_theirs(host_of: HostOf) -> None:
    host = host_of("current")
    host.update("/srv/depots/current-updates-2", check=True)
    config = next(one for one in host.run("rpm", "-qc", "lab-tool-01").stdout.split())
    host.shell(f"echo edited >> {config}; echo mine > /etc/mine; echo changed >> /etc/hosts; rm /etc/motd")
    shown = host.run("interlock", "rollback", "--dry-run").stdout
    assert f"{config}: " in shown
    assert "what it is now is kept aside" in shown
    done = host.run("interlock", "rollback", "--yes")
    assert "somebody else's" in done.stdout
    # Both changed it: the old one is back, theirs is kept. What the upgrade had not changed is not touched.
    aside = next((host.root / "var/lib/interlock/undo").glob("*/aside"))
    assert "edited" in (aside / config.lstrip("/")).read_text()
    assert "edited" not in (host.root / config.lstrip("/")).read_text()
    assert (host.root / "etc/mine").read_text() == "mine\n"
    assert (host.root / "etc/hosts").read_text().endswith("changed\n")
    assert not (host.root / "etc/motd").exists()


def test_a_host_that_has_moved_on_is_not_taken_back(host_of: HostOf) -> None:
    host = host_of("current")
    assert host.run("interlock", "rollback", "--yes", check=False).status == 2
    host.update("/srv/depots/current-updates-2", check=True)
    host.run("rpm", "-e", "--nodeps", "lab-tool-02")
    old = tree(host.root, CONTENT)
    done = host.run("interlock", "rollback", "--yes", check=False)
    assert done.status == 3, done.stderr
    assert "since then went lab-tool-02-2" in done.stderr
    assert differences(old, tree(host.root, CONTENT))[:5] == []
    assert host.json("history")[-1]["state"] == "done"


@pytest.mark.parametrize("damage", ["rm", "flip", "list"])
def test_a_damaged_store_changes_nothing(host_of: HostOf, damage: str) -> None:
    host = host_of("current")
    host.update("/srv/depots/current-updates-2", check=True)
    store = next((host.root / "var/lib/interlock/undo").iterdir())
    victim = max(path for path in (store / "files").rglob("*") if path.is_file() and path.stat().st_nlink == 1)
    if damage == "rm":
        victim.unlink()
    elif damage == "flip":
        content, times = bytearray(victim.read_bytes()), victim.stat()
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
        host.shell(f"touch -d @{times.st_mtime} /var/lib/interlock/undo/{store.name}/{victim.relative_to(store)}")
    else:
        text = (store / "manifest.jsonl").read_text()
        (store / "manifest.jsonl").write_text(text[: len(text) // 2])
    old = tree(host.root, CONTENT)
    done = host.run("interlock", "rollback", "--yes", check=False)
    assert done.status != 0
    assert "Nothing was changed" in done.stderr
    assert differences(old, tree(host.root, CONTENT))[:5] == []


def test_history_says_until_when_and_the_policy_decides(host_of: HostOf) -> None:
    host = host_of("current")
    host.update("/srv/depots/current-updates-2", check=True)
    assert "UNDO UNTIL" in host.run("interlock", "history").stdout
    assert host.json("history")[-1]["undo_until"] > 0
    host.shell('mkdir -p /etc/interlock; echo \'{"undo": {"days": 0}}\' > /etc/interlock/policy.json')
    assert "cannot be taken back any more" in host.run("interlock", "rollback", "--expire").stdout
    assert host.json("history")[-1]["undo_until"] is None
    assert host.leftovers() == []
    host.shell('echo \'{"undo": {"weeks": 1}}\' > /etc/interlock/policy.json')
    refused = host.run("interlock", "history", check=False)
    assert (refused.status, "no `weeks`" in refused.stderr) == (2, True)


def test_what_a_scriptlet_does_to_a_package_that_stays(host_of: HostOf, depot_on: Callable[..., str]) -> None:
    """In place, by another file, by taking it away: the snapshot has it, where root is a btrfs subvolume."""
    host = host_of("current")
    known = host.run("rpm", "-ql", "lab-tool-02", "lab-tool-03", "lab-tool-04").stdout.split()
    victims = [path for path in known if (host.root / path.lstrip("/")).is_file() and path.startswith("/usr/")][:3]
    assert len(victims) == 3
    script = f"echo more >> {victims[0]}; mv {victims[1]} {victims[1]}.old; rm {victims[2]}; chmod 4700 /usr/bin/env"
    depot = depot_on(host, [Recipe("lab-tool-01", "2", scripts={"post": script})])
    old = tree(host.root, CONTENT)
    host.update(depot, check=True)
    assert {path for path in victims if path in "".join(differences(old, tree(host.root, CONTENT)))} == set(victims)
    host.run("interlock", "rollback", "--yes")
    assert differences(old, tree(host.root, CONTENT))[:5] == []
    assert list((host.root / "var/lib/interlock/undo").glob("*/snapshot")) == []
    # By a failing one it comes back at once.
    failing = Recipe("lab-tool-01", "3", scripts={"post": script, "posttrans": "rm /bin/true"})
    assert host.update(depot_on(host, [failing])).status == 4
    assert differences(old, tree(host.root, CONTENT))[:5] == []
