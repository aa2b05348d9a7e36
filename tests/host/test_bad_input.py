"""Bad input on real hosts: each defect has its exit status and its name, and the database is as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Host

from interlock.lab import verbs
from interlock.lab.hosts import Lab
from interlock.lab.recipe import Recipe, build, index
from interlock.lab.signing import SigningKey, ensure_key
from interlock.system.run import Completed

DepotOn = Callable[..., str]
GOOD = Recipe("lab-tool-01", "90", {"/usr/share/lab-tool-01/new": "new"})


@pytest.fixture(scope="module", params=["classic", "current", "next"])
def host(lab: Lab, new_host: Callable[..., Host], request: pytest.FixtureRequest) -> Iterator[Host]:
    made = new_host(request.param)
    yield made
    verbs.down(lab, [made.name], False)


@pytest.fixture(autouse=True)
def unchanged(host: Host) -> Iterator[None]:
    """After every refusal the packages and the very bytes of the database are those from before."""
    packages, digest = host.packages(), host.database()
    yield
    assert host.packages() == packages
    assert host.database() == digest
    assert host.leftovers() == []
    assert host.json("status")["hold"] is None


def refused(done: Completed, status: int, *names: str) -> None:
    assert done.status == status, done.stdout + done.stderr
    for name in names:
        assert name in done.stderr, done.stderr
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr


def test_depot_missing(host: Host) -> None:
    refused(host.update("/srv/no-such-depot"), 7, "/srv/no-such-depot")


def test_depot_server_missing(host: Host) -> None:
    refused(host.update("http://127.0.0.1:9/depot"), 7, "127.0.0.1:9")


def test_depot_unreadable(host: Host, depot_on: DepotOn) -> None:
    depot = depot_on(host, [GOOD])
    path = host.root / depot.lstrip("/") / "repodata/repomd.xml"
    path.unlink()
    path.mkdir()
    refused(host.update(depot), 7, "repomd.xml")


def test_not_a_repository(host: Host) -> None:
    (host.root / "srv/plain").mkdir(exist_ok=True)
    refused(host.update("/srv/plain"), 7, "/srv/plain", "repomd.xml")


def test_damaged_metadata(host: Host, depot_on: DepotOn) -> None:
    depot = depot_on(host, [GOOD])
    primary = next((host.root / depot.lstrip("/") / "repodata").glob("*primary.xml.gz"))
    primary.write_bytes(primary.read_bytes()[:-20])
    refused(host.update(depot), 7, "primary")


def test_truncated_package(host: Host, depot_on: DepotOn) -> None:
    depot = depot_on(host, [GOOD])
    package = host.root / depot.lstrip("/") / "lab-tool-01-90-1.noarch.rpm"
    package.write_bytes(package.read_bytes()[:-100])
    refused(host.update(depot), 7, "lab-tool-01-90-1.noarch", "bytes")


def test_wrong_digest(host: Host, depot_on: DepotOn) -> None:
    depot = depot_on(host, [GOOD])
    package = host.root / depot.lstrip("/") / "lab-tool-01-90-1.noarch.rpm"
    content = bytearray(package.read_bytes())
    content[-10] ^= 1
    package.write_bytes(bytes(content))
    refused(host.update(depot), 7, "lab-tool-01-90-1.noarch", "digest")


def test_damaged_package_with_fitting_metadata(host: Host, depot_on: DepotOn, lab_key: SigningKey) -> None:
    depot = depot_on(host, [GOOD])
    folder = host.root / depot.lstrip("/")
    package = folder / "lab-tool-01-90-1.noarch.rpm"
    content = bytearray(package.read_bytes())
    content[-10] ^= 1
    package.write_bytes(bytes(content))
    index(folder, host.lab.runner, lab_key)
    done = host.update(depot)
    assert done.status in (3, 7), done.stderr
    refused(done, done.status, "lab-tool-01-90-1.noarch")


def test_unsigned_package(host: Host, depot_on: DepotOn) -> None:
    refused(host.update(depot_on(host, [GOOD], None)), 3, "lab-tool-01-90-1.noarch", "not signed")


def test_unknown_key(host: Host, depot_on: DepotOn, tmp_path_factory: pytest.TempPathFactory) -> None:
    key = ensure_key(tmp_path_factory.getbasetemp() / "stranger", host.lab.runner)
    refused(host.update(depot_on(host, [GOOD], key)), 3, "lab-tool-01-90-1.noarch", "key")


def test_file_conflict(host: Host, depot_on: DepotOn) -> None:
    clash = Recipe("lab-tool-01", "91", {"/etc/os-release.d/x": "x", "/usr/bin/rpm": "not rpm"})
    refused(host.update(depot_on(host, [clash])), 3, "/usr/bin/rpm", "conflict")


def test_missing_dependency(host: Host, depot_on: DepotOn) -> None:
    lacking = Recipe("lab-tool-01", "92", {"/usr/share/x": "x"}, requires=["libnowhere >= 7"])
    refused(host.update(depot_on(host, [lacking])), 3, "libnowhere >= 7", "lab-tool-01-92-1.noarch")


def test_dependency_that_would_break(host: Host, depot_on: DepotOn) -> None:
    gone = Recipe("lab-nothing", "1", {"/usr/share/y": "y"}, obsoletes=["rpm"])
    done = host.update(depot_on(host, [gone]))
    assert done.status == 3, done.stdout + done.stderr


def test_unknown_bulletin(host: Host) -> None:
    depot = f"/srv/depots/{host.release}-updates-2"
    done = host.update(depot, "--bulletin", "NO-SUCH-1")
    refused(done, 2, "NO-SUCH-1", "LAB-2026-0002")


def test_nobody_to_ask(host: Host, depot_on: DepotOn) -> None:
    done = host.run("interlock", "update", "--depot", depot_on(host, [GOOD]), check=False)
    refused(done, 2, "--yes")


def test_unwritable_journal(host: Host, depot_on: DepotOn) -> None:
    depot = depot_on(host, [GOOD])
    host.shell("mkdir -p /var/lib/interlock && mount -t tmpfs -o ro tmpfs /var/lib/interlock")
    try:
        refused(host.update(depot), 3, "/var/lib/interlock", "Read-only")
    finally:
        host.shell("umount /var/lib/interlock")


def test_no_space_for_the_shadow(host: Host, depot_on: DepotOn) -> None:
    """The database is moved, through a link, onto a small file system of its own, as administrators do."""
    depot = depot_on(host, [GOOD])
    host.shell(
        "mkdir -p /small && mount -t tmpfs -o size=20m tmpfs /small && cp -a /var/lib/rpm /small/rpm && "
        "mv /var/lib/rpm /var/lib/rpm.aside && ln -s /small/rpm /var/lib/rpm"
    )
    try:
        refused(host.update(depot), 3, "no space for the shadow", "MiB")
        assert host.shell("ls -A /small").stdout.split() == ["rpm"]
    finally:
        host.shell("rm /var/lib/rpm && mv /var/lib/rpm.aside /var/lib/rpm && umount /small")


def test_pre_fails(host: Host, depot_on: DepotOn) -> None:
    bad = Recipe("lab-tool-01", "93", {"/usr/share/z": "z"}, {"pre": "echo the disk array is degraded\nexit 3"})
    done = host.update(depot_on(host, [bad]))
    refused(done, 4, "%pre of lab-tool-01-93-1.noarch")
    assert "the disk array is degraded" in done.stdout
    assert host.states()[-2:] == ["rolling-back", "rolled-back"]
    assert not (host.root / "usr/share/z").exists()


def test_unsigned_is_let_in_when_asked_for(host: Host, depot_on: DepotOn, tmp_path: Path) -> None:
    (rpm,) = build([GOOD], tmp_path / "only", tmp_path / "work", host.lab.runner)
    assert rpm.exists()
    depot = depot_on(host, [GOOD], None)
    assert host.update(depot, "--allow-unsigned", "--dry-run").status == 0
