"""Three hundred looks at hosts that work hard and are not in trouble: no deadlock and no orphan is claimed.

On `current` the storm kills queries without a pause, which SQLite does not mind; the same storm breaks a Berkeley DB
environment for real, so the load on `classic` is queries and transactions that nobody kills.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from conftest import Host

LOOKS = 100

# Looks again and again on the host, and prints what was claimed, how often somebody waited, and what failed.
LOOKER = """\
import json, subprocess, sys
claims, waits, failed = [], 0, []
for number in range(int(sys.argv[1])):
    done = subprocess.run(["interlock", "locks", "--json"], capture_output=True, text=True)
    if done.returncode not in (0, 3):
        failed.append(done.stderr[-500:])
        continue
    graph = json.loads(done.stdout)
    waits += any(lock["waits"] for lock in graph["locks"])
    if graph["cycles"] or graph["orphans"] or graph["hopeless"] or done.returncode:
        claims.append(graph)
print(json.dumps({"claims": claims, "waits": waits, "failed": failed}))
"""
QUERIES = "while :; do rpm -qa; rpm -q glibc; done"
TRANSACTIONS = "while :; do rpm -U --replacepkgs /srv/depots/{release}-updates-1/lab-tool-0{number}-*.rpm; done"
ON_TERMINAL = "while :; do script -qec '{command}' /dev/null; done"
INSTALL = "rpm -U --replacepkgs /srv/depots/{release}-updates-1/lab-tool-03-*.rpm"
TOOLS = "while :; do dnf -q -C list --installed; zypper --non-interactive search -i lab-tool; done"
UPDATES = "while :; do interlock update --yes --depot /srv/depots/{release}-updates-{number}; done"


def load(host: Host, name: str, text: str) -> None:
    host.run("systemd-run", "--quiet", f"--unit=load-{name}", "--", "sh", "-c", f"( {text} ) >/dev/null 2>&1")


def look_often(host: Host) -> None:
    (host.root / "root/looker.py").write_text(LOOKER)
    found = json.loads(host.run("python3", "/root/looker.py", str(LOOKS), timeout=300).stdout)
    assert found["failed"] == []
    assert found["claims"] == [], json.dumps(found["claims"][:2], indent=1)
    # Without anybody who waits there would be nothing to claim wrongly.
    assert found["waits"] > 0


@pytest.mark.parametrize("release", ["classic", "current", "next"])
def test_no_look_claims_what_is_not_so(host_of: Callable[..., Host], release: str) -> None:
    host = host_of(release, *(["storm"] if release == "current" else []))
    load(host, "queries", QUERIES)
    load(host, "transactions", TRANSACTIONS.format(release=release, number=2))
    # On a terminal rpm waits for its turn, elsewhere it gives up.
    for number in (1, 2):
        load(host, f"terminal-{number}", ON_TERMINAL.format(command=INSTALL.format(release=release)))
    if release == "next":
        load(host, "tools", TOOLS)
        load(host, "updates", UPDATES.format(release=release, number=2))
    look_often(host)
    units = host.run("systemctl", "list-units", "--plain", "--no-legend", "load-*").stdout.splitlines()
    assert all(" running " in unit for unit in units)
    assert units
    answered = host.run("rpm", "-qa", check=False, timeout=30)
    assert answered.status == 0
