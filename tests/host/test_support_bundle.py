"""The support bundle of a real host: what support needs is in it, planted secrets are not."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable, Iterator

import pytest
from conftest import Host

SEED = 412
FOLDER = "interlock-support/"


@pytest.fixture(scope="module")
def host(new_host: Callable[..., Host]) -> Iterator[Host]:
    from interlock.lab import verbs  # noqa: PLC0415

    made = new_host("current")
    yield made
    verbs.down(made.lab, [made.name], False)


def contents(host: Host, path: str) -> dict[str, str]:
    """Return the texts of a bundle by their names."""
    raw = (host.root / path.lstrip("/")).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as archive:
        names = [one for one in archive.getmembers() if one.isfile()]
        read = {one.name: archive.extractfile(one) for one in names}
        return {name.removeprefix(FOLDER): stream.read().decode() for name, stream in read.items() if stream}


def plant(host: Host) -> dict[str, str]:
    """Put secrets where administrators and programs leave them; return each with its place."""
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    planted = {f"Zq{chance.randrange(16**10):010x}Xk": "" for _ in range(9)}
    repo, url, argument, log, scriptlet, netrc, plain, key, policy = planted
    repos = host.root / "etc/yum.repos.d"
    repos.mkdir(exist_ok=True)
    (repos / "own.repo").write_text(
        f"[own]\nname=Own\nbaseurl=https://bob:{url}@mirror.example.org/x\npassword = {repo}\nenabled=0\n"
    )
    (host.root / "root/.netrc").write_text(f"machine mirror.example.org login bob password {netrc}\n")
    (host.root / "etc/interlock").mkdir(exist_ok=True)
    (host.root / "etc/interlock/policy.json").write_text(json.dumps({"days": 14, "webhook_token": policy}))
    (host.root / "var/log/dnf.log").write_text(
        f"GET https://mirror.example.org/repo?token={log}\nbare of netrc: {netrc}\n"
        f"-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\nlast line\n"
    )
    host.shell(f"systemd-run --unit=leaky sh -c 'exec sleep 600' --password {argument}")
    host.shell(f"logger -t agent 'retry with api_key={scriptlet}'; logger -t agent 'again: {scriptlet} {plain}'")
    host.shell(f"logger -t agent 'Authorization: Bearer {plain}'")
    return {
        repo: "repository", url: "URL", argument: "argument", log: "log", scriptlet: "journal", netrc: "netrc",
        plain: "header", key: "private key", policy: "policy",
    }  # fmt: skip


def test_no_planted_secret_is_in_it_and_the_rest_is(host: Host) -> None:
    assert host.update("/srv/depots/current-updates-2").status == 0
    planted = plant(host)
    done = host.run("interlock", "support-bundle", "/root/bundle.tar.gz")
    assert "Secrets were removed" in done.stdout
    found = contents(host, "/root/bundle.tar.gz")
    assert (host.root / "root/bundle.tar.gz").stat().st_mode & 0o777 == 0o600
    assert not {place for secret, place in planted.items() for text in found.values() if secret in text}
    # The places themselves are there: they were cleaned, not left out.
    assert "https://[removed]@mirror.example.org/x" in found["settings/etc/yum.repos.d/own.repo"]
    assert "last line" in found["logs/var/log/dnf.log"]
    assert "sleep 600" in found["system/processes.txt"]
    assert json.loads(found["settings/etc/interlock/policy.json"]) == {"days": 14, "webhook_token": "[removed]"}
    operation = json.loads(found["state.json"])["operations"][-1]
    assert operation["state"] == "done"
    assert f"operations/{operation['id']}/journal.jsonl" in found
    assert all(name in found["INDEX.txt"] for name in found if name != "INDEX.txt")
    assert len(found["packages.txt"].splitlines()) > len(host.packages())


def test_a_file_that_is_there_is_not_written_over_and_a_bad_place_is_named(host: Host) -> None:
    (host.root / "root/mine").write_text("mine")
    there = host.run("interlock", "support-bundle", "/root/mine", check=False)
    assert (there.status, (host.root / "root/mine").read_text()) == (2, "mine")
    assert "/root/mine is there already" in there.stderr
    nowhere = host.run("interlock", "support-bundle", "/no/such/folder/x", check=False)
    assert nowhere.status == 1
    assert "No such file or directory" in nowhere.stderr


def test_a_host_whose_database_is_broken_gets_one_too(host: Host) -> None:
    database = host.root / "var/lib/rpm/rpmdb.sqlite"
    whole = database.read_bytes()
    database.write_bytes(whole[:4096] + b"\xff" * 8192 + whole[12288:])
    try:
        host.run("interlock", "support-bundle", "/root/broken.tar.gz")
        found = contents(host, "/root/broken.tar.gz")
    finally:
        database.write_bytes(whole)
    assert json.loads(found["doctor.json"])
    assert "Read first" in found["INDEX.txt"]
