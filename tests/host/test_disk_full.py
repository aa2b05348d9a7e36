"""A file system that is full, in each phase: refused before anything is changed, or undone; never between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Host

from interlock.lab.recipe import Recipe
from interlock.lab.tree import Content, differences, tree

HostOf = Callable[..., Host]
DepotOn = Callable[..., str]
CONTENT: Content = {}
PHASES = ("operation.created", "undo.begin", "apply.begin", "applied", "commit.intent")
BIG = {f"/usr/share/lab-tool-01/data-{number}": "new" * 40_000 for number in range(1, 6)}
KERNEL = {"/boot/vmlinuz-9-lab": "kernel" * 40_000}
# A small file system of its own takes the place of each; what it is filled with is nobody's.
FOLDERS = {"/usr/share/lab-tool-01": BIG, "/boot": KERNEL, "/var/lib/interlock": BIG}


def inside(host: Host) -> str:
    """Return what the host itself sees in the places that are file systems of their own now."""
    look = "find /usr/share/lab-tool-01 /boot ! -name filling -type f | sort | xargs -r sha256sum"
    return host.shell(f"{look}; rpm -qa | sort").stdout


@pytest.mark.parametrize("folder", FOLDERS)
def test_old_or_new_and_never_between(host_of: HostOf, depot_on: DepotOn, folder: str) -> None:
    host = host_of("current")
    depot = depot_on(host, [Recipe("lab-tool-01", "90", FOLDERS[folder])])
    host.shell(
        f"mkdir -p {folder} /root/kept; cp -a {folder}/. /root/kept; mount -t tmpfs -o size=4m lab {folder}; "
        f"cp -a /root/kept/. {folder}"
    )
    old, before = tree(host.root, CONTENT), inside(host)
    for phase in PHASES:
        fill = f"run:cat /dev/zero > {folder}/filling 2>/dev/null; true"
        done = host.update(depot, INTERLOCK_TRACE=f"{phase}={fill}")
        print(f"{folder} full at {phase}: exit status {done.status}")
        host.shell(f"rm -f {folder}/filling")
        resumed = host.run("interlock", "resume", check=False)
        assert resumed.status == 0, resumed.stdout + resumed.stderr
        if done.status == 0:
            host.run("interlock", "rollback", "--yes")
        else:
            assert done.status in (3, 4, 5), done.stderr
        assert inside(host) == before
        assert differences(old, tree(host.root, CONTENT))[:5] == []
        assert host.json("status")["hold"] is None
