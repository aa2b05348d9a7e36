"""Who signed what: every kind of key and signature on real hosts, each refused by its own name, and nothing changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Host

from interlock.lab import verbs
from interlock.lab.hosts import Lab
from interlock.lab.key_maker import LONG_AGO, THEN, KeyMaker, key_maker
from interlock.lab.recipe import Recipe, build, index
from interlock.lab.signing import IDENTITY, SigningKey, sign, sign_metadata

DepotOn = Callable[..., str]
TOOL = Recipe("lab-tool-01", "90", {"/usr/share/trusted": "x"})


@pytest.fixture(scope="module", params=["classic", "next"])
def host(lab: Lab, new_host: Callable[..., Host], request: pytest.FixtureRequest) -> Iterator[Host]:
    made = new_host(request.param)
    yield made
    verbs.down(lab, [made.name], False)


@pytest.fixture
def maker() -> Iterator[KeyMaker]:
    with key_maker() as found:
        for name in ("stranger", "revoked", "good"):
            found.make(name, algorithm="rsa3072")
        found.make_expired("expired", "rsa3072")
        yield found


def metadata(host: Host, depot: str) -> Path:
    return Path(host.root) / depot.lstrip("/") / "repodata/repomd.xml"


def keep(host: Host, maker: KeyMaker, *names: str) -> None:
    """Let the host trust keys, whatever became of them since."""
    folder = Path(host.root) / "etc/interlock/keys"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{maker.fingerprint(name)}.asc").write_text(maker.armor(name))


def refused(host: Host, depot: str, code: str, *options: str) -> str:
    before = host.database()
    done = host.update(depot, "--json", *options)
    answer = json.loads(done.stdout)
    assert (done.status, answer["error"]) == (3, code), answer
    assert host.database() == before
    return str(answer["message"] + answer["hint"])


SIGNATURES = {
    "unknown-metadata-key": ("stranger", ()),
    "expired-key": ("expired", ("--faked-system-time", THEN)),
    "revoked-key": ("revoked", ()),
    "weak-signature": ("good", ("--digest-algo", "SHA1")),
}


def test_metadata_of_each_kind_is_refused_by_its_own_name(host: Host, depot_on: DepotOn, maker: KeyMaker) -> None:
    depot = depot_on(host, [TOOL])
    content = metadata(host, depot)
    signature = content.with_name("repomd.xml.asc")
    good = signature.read_text()
    made = {code: maker.sign(name, content.read_bytes(), *how) for code, (name, how) in SIGNATURES.items()}
    maker.revoke("revoked")
    keep(host, maker, "good", "expired", "revoked")
    for code, text in made.items():
        signature.write_bytes(text)
        said = refused(host, depot, code)
        assert maker.fingerprint(SIGNATURES[code][0])[-16:] in said
    signature.unlink()
    assert "repomd.xml.asc" in refused(host, depot, "unsigned-metadata")
    signature.write_text(good[: len(good) // 2])
    refused(host, depot, "bad-metadata-signature")
    refused(host, depot, "bad-metadata-signature", "--allow-unsigned")
    signature.write_text(good)
    assert host.update(depot, "--dry-run").status == 0


def test_older_metadata_is_a_replay_until_somebody_says_otherwise(
    host: Host, depot_on: DepotOn, lab_key: SigningKey
) -> None:
    depot = depot_on(host, [TOOL])
    folder = Path(host.root) / depot.lstrip("/")
    dated(host, folder, 2_000_000_000, lab_key)
    assert host.update(depot, "--dry-run").status == 0
    dated(host, folder, 1_900_000_000, lab_key)
    said = refused(host, depot, "replayed-metadata")
    assert "2030-03-17" in said
    assert "2033-05-18" in said
    assert f"interlock depot forget {depot}" in said
    host.run("interlock", "depot", "forget", depot)
    assert host.update(depot, "--dry-run").status == 0


def dated(host: Host, folder: Path, seconds: int, key: SigningKey) -> None:
    """Let the metadata be of another time, and sign it."""
    content = folder / "repodata/repomd.xml"
    text = re.sub(r"<(revision|timestamp)>\d+", rf"<\g<1>>{seconds}", content.read_text())
    content.write_text(text)
    sign_metadata(folder, key, host.lab.runner)


def signed_by(host: Host, folder: Path, maker: KeyMaker, work: Path, lab_key: SigningKey) -> None:
    """Sign a package with a key of our own making, and have it in a depot whose metadata is the lab's."""
    packages = build([TOOL], folder, work, host.lab.runner)
    sign(packages, SigningKey(Path(maker.home), Path()), host.lab.runner)
    index(folder, host.lab.runner, lab_key)


@pytest.mark.parametrize("fate", ["revoked", "expired"])
def test_a_package_by_a_key_that_is_no_longer_good(host: Host, tmp_path: Path, lab_key: SigningKey, fate: str) -> None:
    depot = f"/srv/{fate}"
    with key_maker() as own:
        fingerprint = own.make(IDENTITY, "--faked-system-time", LONG_AGO, algorithm="rsa3072")
        signed_by(host, Path(host.root) / depot.lstrip("/"), own, tmp_path, lab_key)
        if fate == "revoked":
            own.revoke(IDENTITY)
        else:
            own.gpg("--faked-system-time", LONG_AGO, "--quick-set-expire", fingerprint, "20200201T000000")
        keep(host, own, IDENTITY)
    said = refused(host, depot, f"{fate}-package-key")
    assert "lab-tool-01-90-1.noarch" in said
    assert fingerprint[-8:].lower() in said


def test_an_added_key_is_enough_and_a_removed_one_is_not(host: Host, tmp_path: Path, lab_key: SigningKey) -> None:
    folder = Path(host.root) / "srv/own"
    shutil.rmtree(Path(host.root) / "etc/interlock/keys", ignore_errors=True)
    with key_maker() as own:
        fingerprint = own.make(IDENTITY, algorithm="rsa3072")
        signed_by(host, folder, own, tmp_path, lab_key)
        content = folder / "repodata/repomd.xml"
        content.with_name("repomd.xml.asc").write_bytes(own.sign(IDENTITY, content.read_bytes()))
        (Path(host.root) / "root/own.asc").write_text(own.armor(IDENTITY))
    refused(host, "/srv/own", "unknown-metadata-key")
    host.run("interlock", "depot", "add", "own", "/srv/nothing", "/srv/own")
    added = host.run("interlock", "keys", "add", "/root/own.asc", "--depot", "own", "--yes")
    assert fingerprint in added.stdout
    rows = {row["fingerprint"]: row for row in host.json("keys", "list")["keys"]}
    assert (rows[fingerprint]["from"], rows[fingerprint]["depots"], rows[fingerprint]["state"]) == (
        "interlock", ["own"], "valid")  # fmt: skip
    host.run("interlock", "depot", "export", "own", "/root/own.zip")
    assert host.update("/root/own.zip", "--dry-run").status == 0
    assert host.update("own").status == 0
    assert host.run("rpm", "-q", "lab-tool-01", timeout=20).stdout.startswith("lab-tool-01-90-1")
    host.run("interlock", "rollback", "--yes")
    host.run("interlock", "keys", "remove", fingerprint)
    refused(host, "own", "unknown-metadata-key")


def test_a_depot_that_names_its_keys_takes_no_others(host: Host, depot_on: DepotOn, maker: KeyMaker) -> None:
    depot = depot_on(host, [TOOL])
    host.run("interlock", "depot", "add", "narrow", depot, "--key", maker.fingerprint("good"))
    refused(host, "narrow", "unknown-metadata-key")
    assert host.update(depot, "--dry-run").status == 0
    host.run("interlock", "depot", "add", "free", depot, "--max-age", "0.000001")
    refused(host, "free", "stale-metadata")
