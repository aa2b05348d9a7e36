from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import depot_tools
import pytest

from interlock.depot.errors import (
    BadSignature,
    DamagedPackage,
    DigestMismatch,
    FileMissing,
    NoSpaceToStage,
    TruncatedPackage,
    UnknownKey,
    UnsignedPackage,
    WrongPackage,
    some_names,
)
from interlock.depot.repository import open_depot
from interlock.errors import ExitStatus
from interlock.system.run import Runner
from interlock.upgrade.plan import Plan, make_plan
from interlock.upgrade.stage import Staged, StageProgress, stage

HOST = [depot_tools.package("tool-1-1"), depot_tools.package("helper-0-1"), depot_tools.package("libtool-1-1")]
NAMES = ["helper-1-1.noarch", "libtool-1:2-1.noarch", "tool-2-1.noarch"]


class Keys:
    """A key ring of gpg and two rpm databases: one that knows the key and one that does not."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.environment = {**os.environ, "GNUPGHOME": directory}
        os.chmod(directory, 0o700)
        self.gpg("--passphrase", "", "--quick-gen-key", "Test <test@example.org>", "rsa2048", "sign", "never")
        exported = os.path.join(directory, "key.asc")
        self.gpg("--armor", "--output", exported, "--export", "Test")
        self.knows, self.empty = os.path.join(directory, "knows"), os.path.join(directory, "empty")
        for path in (self.knows, self.empty):
            subprocess.run(["rpmdb", "--dbpath", path, "--initdb"], check=True, capture_output=True)
        subprocess.run(["rpmkeys", "--dbpath", self.knows, "--import", exported], check=True, capture_output=True)

    def gpg(self, *words: str) -> None:
        subprocess.run(["gpg", "--batch", *words], check=True, env=self.environment, capture_output=True)

    def sign(self, *paths: str) -> None:
        argv = [
            "rpmsign",
            "--define",
            "_gpg_name Test",
            "--define",
            f"__gpg {shutil.which('gpg')}",
            "--addsign",
            *paths,
        ]
        subprocess.run(argv, check=True, env=self.environment, capture_output=True)


@functools.cache
def keys() -> Keys:
    found = Keys(depot_tools.scratch())
    end_agent = ["gpgconf", "--homedir", found.directory, "--kill", "all"]
    atexit.register(subprocess.run, end_agent, check=False, capture_output=True)
    return found


@functools.cache
def signed() -> str:
    """Return the repository with all of its packages signed; not to be changed."""
    directory = depot_tools.scratch()
    for name in os.listdir(depot_tools.repository()):
        if name.endswith(".rpm"):
            shutil.copy(os.path.join(depot_tools.repository(), name), directory)
            keys().sign(os.path.join(directory, name))
    depot_tools.create_repository(directory)
    return directory


def copy_of(depot: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(depot, tmp_path / "depot"))


def plan_for(depot: Any) -> Plan:
    plan = make_plan(HOST, open_depot(str(depot)))
    assert not plan.problems
    return plan


def staged(depot: Any, tmp_path: Path, *, plan: Optional[Plan] = None, db: str = "", **options: Any) -> Staged:
    options.setdefault("progress", lambda _: None)
    there = str(tmp_path / "staged")
    return stage(plan or plan_for(depot), str(depot), there, Runner(), dbpath=db or keys().knows, **options)


def test_signed_packages_are_staged(tmp_path: Path) -> None:
    seen: list[StageProgress] = []
    found = staged(signed(), tmp_path, progress=seen.append)
    assert sorted(map(str, found.files)) == NAMES
    assert stat.S_IMODE(os.stat(found.directory).st_mode) == 0o700
    assert sorted(os.listdir(found.directory)) == sorted(os.path.basename(path) for path in found.files.values())
    assert Staged.from_json(json.loads(json.dumps(found.to_json()))) == found
    fetched = [one for one in seen if one.step == "fetch"]
    assert (fetched[-1].bytes_done, fetched[-1].number) == (fetched[-1].bytes_total, 3)
    assert (seen[-1].step, seen[-1].bytes_done) == ("check", seen[-1].bytes_total)


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    depot = copy_of(signed(), tmp_path)
    plan = plan_for(depot)
    first = staged(depot, tmp_path, plan=plan)
    times = {path: os.stat(path).st_mtime_ns for path in first.files.values()}
    damaged = next(iter(first.files.values()))
    Path(damaged).write_bytes(b"x")
    seen: list[StageProgress] = []
    again = staged(depot, tmp_path, plan=plan, progress=seen.append)
    assert len({one.package for one in seen if one.step == "fetch"}) == 1
    assert again == first
    assert [path for path, at in times.items() if os.stat(path).st_mtime_ns != at] == [damaged]


def test_staged_packages_need_no_depot(tmp_path: Path) -> None:
    depot = copy_of(signed(), tmp_path)
    plan = plan_for(depot)
    staged(depot, tmp_path, plan=plan)
    for one in depot.glob("*.rpm"):
        one.unlink()
    assert len(staged(depot, tmp_path, plan=plan).files) == 3


def test_an_empty_plan_stages_nothing(tmp_path: Path) -> None:
    assert staged(signed(), tmp_path, plan=Plan("/d")).files == {}


def test_unsigned_packages_are_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(UnsignedPackage, match=r"not signed: helper-1-1\.noarch") as caught:
        staged(depot_tools.repository(), tmp_path)
    assert caught.value.exit_status is ExitStatus.REFUSED
    assert len(staged(depot_tools.repository(), tmp_path, allow_unsigned=True).files) == 3


def test_an_unknown_key_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownKey, match=r"the key [0-9a-f]{8,}, which signed .*tool-2-1\.noarch of") as caught:
        staged(signed(), tmp_path, db=keys().empty)
    assert caught.value.exit_status is ExitStatus.REFUSED
    with pytest.raises(UnknownKey):
        staged(signed(), tmp_path, db=keys().empty, allow_unsigned=True)


def rewritten(depot: Path, change: Any) -> Path:
    """Change one package and make the metadata anew, as somebody would who holds the depot but not the key."""
    path = depot / "tool-2-1.noarch.rpm"
    path.write_bytes(change(path.read_bytes()))
    shutil.rmtree(depot / "repodata")
    depot_tools.create_repository(str(depot))
    return depot


def test_a_changed_header_breaks_the_signature(tmp_path: Path) -> None:
    depot = rewritten(copy_of(signed(), tmp_path), lambda content: content.replace(b"\0none\0", b"\0nine\0"))
    with pytest.raises((BadSignature, DamagedPackage)) as caught:
        staged(depot, tmp_path)
    assert type(caught.value) is BadSignature
    assert "tool-2-1.noarch" in str(caught.value)
    assert caught.value.exit_status is ExitStatus.REFUSED


def test_a_changed_payload_is_damage(tmp_path: Path) -> None:
    depot = rewritten(copy_of(signed(), tmp_path), lambda content: content[:-4] + b"\0\0\0\0")
    with pytest.raises(DamagedPackage, match=r"Payload SHA256.*BAD") as caught:
        staged(depot, tmp_path)
    assert caught.value.exit_status is ExitStatus.BAD_DEPOT


def test_a_wrong_digest(tmp_path: Path) -> None:
    depot = copy_of(signed(), tmp_path)
    plan = plan_for(depot)
    path = depot / "tool-2-1.noarch.rpm"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DigestMismatch, match=r"tool-2-1\.noarch .* wrong digest: sha256:") as caught:
        staged(depot, tmp_path, plan=plan)
    assert caught.value.exit_status is ExitStatus.BAD_DEPOT
    assert not [one for one in os.listdir(tmp_path / "staged") if one.endswith(".part")]


@pytest.mark.parametrize("cut", [0, 100, 4000])
def test_a_truncated_package(tmp_path: Path, cut: int) -> None:
    depot = copy_of(signed(), tmp_path)
    plan = plan_for(depot)
    os.truncate(depot / "tool-2-1.noarch.rpm", cut)
    with pytest.raises(TruncatedPackage, match=f"has {cut} bytes instead of"):
        staged(depot, tmp_path, plan=plan)


def test_a_missing_package(tmp_path: Path) -> None:
    depot = copy_of(signed(), tmp_path)
    plan = plan_for(depot)
    (depot / "tool-2-1.noarch.rpm").unlink()
    with pytest.raises(FileMissing, match=r"tool-2-1\.noarch\.rpm"):
        staged(depot, tmp_path, plan=plan)


def test_a_file_that_holds_another_package(tmp_path: Path) -> None:
    depot = copy_of(signed(), tmp_path)
    for path in (depot / "repodata").glob("*primary.xml.gz"):
        subprocess.run(["gunzip", str(path)], check=True)
    primary = next((depot / "repodata").glob("*primary.xml"))
    text = primary.read_text().replace('epoch="0" ver="2" rel="1"/>', 'epoch="0" ver="9" rel="1"/>')
    depot_tools.write_repository(str(depot), {"primary": text.encode()})
    with pytest.raises(WrongPackage, match=r"holds tool-2-1\.noarch, its metadata says tool-9-1\.noarch"):
        staged(depot, tmp_path)


def test_a_text_file_is_no_package_and_no_list_of_packages(tmp_path: Path) -> None:
    depot = copy_of(signed(), tmp_path)
    plan = plan_for(depot)
    evil = str(depot / "helper-1-1.noarch.rpm").encode()
    (depot / "tool-2-1.noarch.rpm").write_bytes(evil)
    tool = next(one for one in plan.upgrades if one.new.name == "tool")
    new = replace(tool.new, download_size=len(evil), checksum=hashlib.sha256(evil).hexdigest())
    with pytest.raises(DamagedPackage, match=r"tool-2-1\.noarch"):
        staged(depot, tmp_path, plan=replace(plan, upgrades=(replace(tool, new=new),)))


def test_no_space(tmp_path: Path) -> None:
    plan = plan_for(signed())
    first = plan.upgrades[0]
    huge = replace(first, new=replace(first.new, download_size=1 << 60))
    with pytest.raises(NoSpaceToStage, match="bytes are needed") as caught:
        staged(signed(), tmp_path, plan=replace(plan, upgrades=(huge,)))
    assert caught.value.exit_status is ExitStatus.REFUSED


def test_a_link_in_the_directory_is_not_followed(tmp_path: Path) -> None:
    plan = plan_for(signed())
    found = staged(signed(), tmp_path, plan=plan)
    path = next(iter(found.files.values()))
    os.rename(path, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", path)
    staged(signed(), tmp_path, plan=plan)
    assert not os.path.islink(path)


def test_a_staged_file_outside_of_the_directory_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        Staged.from_json({"directory": "/d", "files": {"a-1-1.noarch": "../x"}})


def test_names_are_bounded() -> None:
    assert some_names(["a", "b"]) == "a, b"
    assert some_names("abcde") == "a, b, c and 2 more"
