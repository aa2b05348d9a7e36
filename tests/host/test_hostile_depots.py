"""Each hostile or broken depot is refused with its own message, within bounds; what is left of it still scans."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Host
from hostile import BAD, CASES, GOOD, SERVERS, Case, Made, bundle, server

from interlock.lab import verbs
from interlock.lab.bulletins import LabBulletin
from interlock.lab.depots import make_depot, read_packages
from interlock.lab.hosts import Lab
from interlock.lab.key_maker import KeyMaker, key_maker
from interlock.lab.network import ensure_bridge
from interlock.lab.recipe import Recipe, build
from interlock.lab.signing import SigningKey, sign, sign_metadata
from interlock.system.run import Completed

# Bytes of address space and seconds; a plain scan takes 100 MB and less than one.
MEMORY, SECONDS = 600_000_000, 60


@pytest.fixture(scope="module")
def host(lab: Lab, new_host: Callable[..., Host]) -> Iterator[Host]:
    made = new_host("current")
    yield made
    verbs.down(lab, [made.name], False)


@pytest.fixture(scope="module")
def maker(host: Host) -> Iterator[KeyMaker]:
    """Return keys, of which the host trusts the expired one and another."""
    with key_maker() as found:
        found.make("trusted")
        found.make("unknown")
        found.make_expired("expired")
        folder = Path(host.root) / "etc/interlock/keys"
        folder.mkdir(parents=True)
        for name in ("trusted", "expired"):
            (folder / f"{found.fingerprint(name)}.asc").write_text(found.armor(name))
        yield found


@pytest.fixture(scope="module")
def good(host: Host, lab_key: SigningKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a good depot of three packages and two bulletins."""
    folder, runner = Path(host.root) / "srv/good", host.lab.runner
    recipes = [Recipe(f"hostile-{name}") for name in "abc"]
    sign(build(recipes, folder, tmp_path_factory.mktemp("work"), runner), lab_key, runner)
    found = read_packages(folder, runner)
    rows = [LabBulletin(f"HOST-{number}", "Hostile", "security", "Important", "2026-01-01 00:00:00", "x", found)
            for number in (1, 2)]  # fmt: skip
    make_depot(folder, rows, runner, lab_key)
    return folder


def scan(host: Host, location: str, *more: str) -> Completed:
    words = ["prlimit", f"--as={MEMORY}", "timeout", str(SECONDS), "interlock", "scan", "--depot", location, *more]
    return host.run(*words, check=False, timeout=SECONDS + 30)


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_depot(host: Host, good: Path, lab_key: SigningKey, maker: KeyMaker, name: str) -> None:
    case: Case = CASES[name]
    folder = good.with_name(name)
    shutil.copytree(good, folder)
    case.make(Made(folder, lab_key, host.lab.runner, maker))
    if case.again:
        sign_metadata(folder, lab_key, host.lab.runner)
    done = scan(host, f"/srv/{name}")
    said = done.stdout + done.stderr
    assert done.status == case.status, said
    assert case.said in " ".join(said.split())
    assert "Traceback" not in said
    assert not any(one in said for one in "\x1b\x9b\u202e")
    if case.status == GOOD:
        rows = json.loads(scan(host, f"/srv/{name}", "--json").stdout)
        assert rows["bulletins"] != []
        assert [case.said in one for one in rows["defects"]] == ([True] if case.said else [])
    else:
        assert "→" in said


def test_hostile_servers(lab: Lab, host: Host) -> None:
    address = str(ensure_bridge(lab.cache, lab.runner)[1])
    with server(address) as url, ThreadPoolExecutor(2) as pool:
        found = dict(zip(SERVERS, pool.map(lambda kind: scan(host, f"{url}/{kind}"), SERVERS)))
    for kind, done in found.items():
        assert done.status == BAD, (kind, done.stdout + done.stderr)
        assert SERVERS[kind] in done.stderr
        assert url in done.stderr
        assert "root:" not in done.stderr


def test_hostile_bundles(host: Host, good: Path) -> None:
    bundle(good, good.with_name("slip.zip"), slip=True)
    assert scan(host, "/srv/slip.zip").status == 0
    host.run("interlock", "depot", "import", "/srv/slip.zip", "/srv/out")
    assert not (Path(host.root) / "tmp/slipped").exists()
    assert sorted(path.name for path in (Path(host.root) / "srv/out").iterdir()) == sorted(
        [path.name for path in good.iterdir()]
    )
    content = good.with_name("slip.zip").read_bytes()
    good.with_name("cut.zip").write_bytes(content[: len(content) // 2])
    done = scan(host, "/srv/cut.zip")
    assert (done.status, "no zip file" in done.stderr) == (BAD, True)
