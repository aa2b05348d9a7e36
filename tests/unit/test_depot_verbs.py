"""Depots made, copied, checked and recalled: real packages and createrepo_c, a real server, and kills."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from depot_tools import Spec, build, create_repository, scratch

from interlock.depot.errors import DigestMismatch, NotARepository
from interlock.depot.lint import BAD, lint
from interlock.depot.make import create_depot, recall
from interlock.depot.repository import open_depot
from interlock.depot.sync import WORK, TargetInUse, sync
from interlock.errors import UnknownBulletin, UsageError
from interlock.system import linux
from interlock.system.run import Runner

SEED = 20261123
ROWS: list[dict[str, Any]] = [
    {"id": "B-1", "title": "First <&> \x07", "packages": ["alpha"], "category": "security", "severity": "Important",
     "issued": "2026-01-01", "reboot": True, "vendor": "us",
     "references": [{"href": "https://x/?a&b", "id": "C", "type": "cve"}]},
    {"id": "B-2", "packages": ["beta-2-1.noarch"], "category": "bugfix", "maintenance": True},
]  # fmt: skip


@pytest.fixture(scope="module")
def made() -> str:
    """Return a directory with four packages and no metadata."""
    folder = scratch()
    build([Spec("alpha"), Spec("beta", "2"), Spec("gamma"), Spec("delta")], folder)
    return folder


@pytest.fixture
def depot(made: str, tmp_path: Path) -> Path:
    place = tmp_path / "depot"
    shutil.copytree(made, place)
    (tmp_path / "bulletins.json").write_text(json.dumps(ROWS))
    create_depot(str(place), str(tmp_path / "bulletins.json"), Runner())
    return place


@pytest.fixture
def url(depot: Path) -> Iterator[str]:
    handler = partial(Quiet, directory=str(depot))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def state(folder: Path) -> dict[str, str]:
    """Return what a directory has, without what is under way."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and WORK not in path.parts
    }


def test_bulletins_are_written_as_they_are_read(depot: Path) -> None:
    found = {one.id: one for one in open_depot(str(depot)).bulletins}
    first, second = found["B-1"], found["B-2"]
    assert (first.title, first.severity, first.reboot, first.vendor) == ("First <&>", "Important", True, "us")
    assert [str(one) for one in first.packages] == ["alpha-1-1.noarch"]
    assert [(one.href, one.kind) for one in first.references] == [("https://x/?a&b", "cve")]
    assert (second.maintenance, first.maintenance, second.recalled) == (True, False, False)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "X", "packages": ["omega"]}], "names omega, which is not in the depot"),
        ([{"title": "x"}], "has no `id`"),
        ([{"id": "X", "colour": 1}], "unknown field 'colour'"), ({"id": "X"}, "is no list of bulletins"),
    ],
)  # fmt: skip
def test_a_bad_list_of_bulletins_is_named(depot: Path, tmp_path: Path, rows: Any, message: str) -> None:
    (tmp_path / "bad.json").write_text(json.dumps(rows))
    with pytest.raises(UsageError, match=message):
        create_depot(str(depot), str(tmp_path / "bad.json"), Runner())


def test_a_recall_marks_one_bulletin_and_keeps_the_rest_of_the_document(depot: Path) -> None:
    recall(str(depot), "B-1", "it breaks <things>", "B-2", Runner())
    recall(str(depot), "B-1", "it breaks more", "B-2", Runner())
    found = {one.id: one for one in open_depot(str(depot)).bulletins}
    assert (found["B-1"].recalled, found["B-1"].recall_reason, found["B-1"].replacement) == (
        True,
        "it breaks more",
        "B-2",
    )
    assert (found["B-2"].recalled, found["B-2"].maintenance) == (False, True)
    assert [one.kind for one in found["B-1"].references] == ["cve", "replacement"]
    with pytest.raises(UnknownBulletin):
        recall(str(depot), "B-9", "x", "", Runner())
    with pytest.raises(UnknownBulletin):
        recall(str(depot), "B-2", "x", "B-9", Runner())


def test_a_copy_is_whole_and_the_second_one_fetches_nothing(depot: Path, url: str, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    first = sync(url, str(target))
    assert (first.packages, first.fetched, first.kept, first.removed) == (4, 4, 0, 0)
    assert state(target) == state(depot)
    again = sync(url, str(target))
    assert (again.fetched, again.kept, again.bytes) == (0, 4, 0)
    assert not (target / WORK).exists()
    assert oct((target / "alpha-1-1.noarch.rpm").stat().st_mode & 0o777) == "0o644"


def test_a_new_state_replaces_the_old_one(depot: Path, url: str, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    sync(url, str(target))
    (depot / "gamma-1-1.noarch.rpm").unlink()
    build([Spec("epsilon")], str(depot))
    # A package that was built anew under the same name.
    build([Spec("delta", lines=("Provides: more",))], str(depot))
    create_repository(str(depot))
    done = sync(url, str(target))
    assert (done.fetched, done.removed) == (2, 1)
    assert state(target) == state(depot)


def test_a_depot_that_is_damaged_leaves_the_old_copy(depot: Path, url: str, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    sync(url, str(target))
    before = state(target)
    build([Spec("zeta")], str(depot))
    create_repository(str(depot))
    content = bytearray((depot / "zeta-1-1.noarch.rpm").read_bytes())
    content[-1] ^= 1
    (depot / "zeta-1-1.noarch.rpm").write_bytes(content)
    with pytest.raises(DigestMismatch, match="zeta"):
        sync(url, str(target))
    assert state(target) == before
    (depot / "repodata/repomd.xml").unlink()
    with pytest.raises(NotARepository):
        sync(url, str(target))
    assert state(target) == before


def test_two_copies_into_one_place_are_refused(depot: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    (target / WORK).mkdir(parents=True)
    with (target / WORK / "lock").open("w") as lock:
        linux.lock_whole_file(lock.fileno())
        with pytest.raises(TargetInUse):
            sync(str(depot), str(target))


def test_a_copy_that_is_killed_twenty_times_ends_right(depot: Path, url: str, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    target = tmp_path / "copy"
    sync(url, str(target))
    old = state(target)
    (depot / "gamma-1-1.noarch.rpm").unlink()
    build([Spec(f"more{number}") for number in range(12)], str(depot))
    create_repository(str(depot))
    argv = [sys.executable, "-m", "interlock", "depot", "sync", url, str(target), "--jobs", "2"]
    seen = set()
    for _ in range(20):
        child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            child.wait(chance.uniform(0.05, 0.6))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        now = state(target)
        metadata = {path for path in now if path.startswith("repodata/")}
        whole = open_depot(str(target))
        # Old or new: whatever the metadata names is there, with its digest.
        assert [one for one in lint(str(target)) if one.level == BAD] == []
        assert {one.location for one in whole.packages} <= set(now)
        seen.add(frozenset(metadata))
    sync(url, str(target))
    assert state(target) == state(depot)
    assert frozenset(path for path in old if path.startswith("repodata/")) in seen or len(seen) == 1


@pytest.mark.parametrize(
    ("damage", "level", "where", "text"),
    [
        ("truncate -s 100 alpha*.rpm", "bad", "alpha-1-1.noarch.rpm", "it has 100 bytes"),
        ("rm beta*.rpm", "bad", "beta-2-1.noarch.rpm", "it is not there"),
        (
            "printf X | dd of=$(ls gamma*.rpm) bs=1 seek=900 conv=notrunc status=none",
            "bad",
            "gamma",
            "digest is not the one",
        ),
        ("cp alpha*.rpm stray.rpm", "note", "stray.rpm", "not in the metadata"),
        ("rm delta*.rpm; mkfifo delta-1-1.noarch.rpm", "bad", "delta", "is not a regular file"),
    ],
)
def test_each_defect_of_a_file_is_named(depot: Path, damage: str, level: str, where: str, text: str) -> None:
    (unsigned,) = lint(str(depot))
    assert (unsigned.level, unsigned.where) == ("note", "repodata/repomd.xml.asc")
    subprocess.run(["sh", "-c", damage], cwd=depot, check=True)
    found = [one for one in lint(str(depot)) if one != unsigned]
    assert [one.level for one in found] == [level]
    assert where in found[0].where
    assert text in found[0].text
    assert found[0].advice


def test_what_is_odd_about_bulletins_is_noted(depot: Path, tmp_path: Path) -> None:
    odd = [{"id": "O-1", "packages": [], "issued": "soon"}, *ROWS]
    (tmp_path / "odd.json").write_text(json.dumps(odd))
    create_depot(str(depot), str(tmp_path / "odd.json"), Runner())
    recall(str(depot), "B-1", "why", "", Runner())
    texts = [one.text for one in lint(str(depot))]
    assert "it names no package" in texts
    assert "its date `issued` is 'soon'" in texts
    assert "it is recalled, and nothing is named that takes its place" in texts
    assert os.path.exists(depot / "repodata/repomd.xml")
