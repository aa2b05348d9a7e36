from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

import depot_tools
import pytest
from depot_tools import package_xml, primary, write_repository

from interlock.depot import markup, repository, unpack
from interlock.depot.errors import BadMetadata, DepotMissing, DepotUnreadable, FileMissing, NotARepository
from interlock.depot.repository import Depot, open_depot
from interlock.errors import BadDepot, CommandMissing, ExitStatus
from interlock.package import Evr, Relation
from interlock.system.run import Runner


def test_a_real_repository_is_read() -> None:
    depot = open_depot(depot_tools.repository())
    assert [str(one.nevra) for one in depot.packages] == [
        "helper-1-1.noarch",
        "libtool-1:2-1.noarch",
        "tool-2-1.noarch",
    ]
    helper, libtool, tool = depot.packages
    assert set(tool.package.requires) == {Relation("libtool", ">=", Evr(0, "2")), Relation("/usr/bin/helper", pre=True)}
    assert tool.package.provides == (
        Relation("tool", "=", Evr(0, "2", "1")),
        Relation("tool(x)", "=", Evr(3, "2", "1")),
    )
    assert libtool.package.obsoletes == (Relation("oldtool", "<", Evr(0, "2")),)
    assert libtool.package.conflicts == (Relation("tool", "<", Evr(0, "1.5")),)
    assert set(helper.package.files) == {"/usr/bin/helper", "/etc/helper.conf"}
    path = os.path.join(depot.location, tool.location)
    assert (tool.download_size, tool.checksum_type) == (os.path.getsize(path), "sha256")
    assert (depot.defects, tool.name) == ((), "tool")


def test_its_bulletins_are_read() -> None:
    (found,) = open_depot(depot_tools.repository()).bulletins
    assert (found.id, found.title, found.severity, found.category) == (
        "EX-2024-1",
        "tool: mended",
        "Important",
        "security",
    )
    assert (found.issued, found.updated) == ("2024-02-03 04:05:06", "2024-02-03 04:05:06")
    assert (found.reboot, found.restart) == (True, False)
    assert [str(one) for one in found.packages] == ["tool-2-1.noarch"]
    assert [(one.identity, one.kind) for one in found.references] == [("CVE-2024-1", "cve")]


def test_file_lists_are_read_when_asked_for() -> None:
    depot = open_depot(depot_tools.repository())
    assert "/usr/share/helper/data" in depot.with_file_lists().by_file
    some = depot.with_file_lists(["/usr/share/helper/data"])
    assert [one.name for one in some.by_file["/usr/share/helper/data"]] == ["helper"]
    assert Depot("/nowhere").with_file_lists().packages == ()


@pytest.mark.parametrize("given", [lambda path: f"file://{path}", lambda path: f"{path}/", os.path.relpath])
def test_a_location_can_be_given_in_several_ways(given: Callable[[str], str]) -> None:
    assert len(open_depot(given(depot_tools.repository())).packages) == 3


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
def test_createrepos_ways_of_packing_are_read(kind: str, tmp_path: Path) -> None:
    shutil.copy(os.path.join(depot_tools.repository(), "tool-2-1.noarch.rpm"), tmp_path)
    depot_tools.create_repository(str(tmp_path), f"--general-compress-type={kind}", "--compress-type", kind)
    assert [one.name for one in open_depot(str(tmp_path)).packages] == ["tool"]


def zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=content, check=True, capture_output=True).stdout


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, bz2.compress, zstd])
def test_every_way_of_packing_is_told_by_its_first_bytes(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    write_repository(str(tmp_path), {"primary": pack(primary(package_xml()))})
    depot = open_depot(str(tmp_path))
    assert (len(depot.packages), depot.revision) == (1, "7")


def test_without_zstd_the_error_says_so(tmp_path: Path) -> None:
    class NoZstd(Runner):
        def start(self, argv: Any, **_: Any) -> Any:
            raise CommandMissing(program=argv[0])

    write_repository(str(tmp_path), {"primary": zstd(primary())})
    with pytest.raises(BadMetadata, match=r"no `zstd` program"):
        open_depot(str(tmp_path), runner=NoZstd())


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, zstd])
def test_a_cut_file_is_bad_metadata(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    content = pack(primary(*(package_xml(f"p{number}") for number in range(500))))
    write_repository(str(tmp_path), {"primary": content[: len(content) // 2]})
    with pytest.raises(BadMetadata, match="cannot be unpacked"):
        open_depot(str(tmp_path))


def test_a_missing_depot(tmp_path: Path) -> None:
    with pytest.raises(DepotMissing, match="does not exist") as caught:
        open_depot(str(tmp_path / "none"))
    assert caught.value.exit_status is ExitStatus.BAD_DEPOT


def test_an_unreadable_depot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DepotUnreadable, match="Not a directory"):
        open_depot(str(tmp_path / "file"))
    (tmp_path / "repodata").mkdir()
    os.mkfifo(tmp_path / "repodata" / "repomd.xml")
    with pytest.raises(DepotUnreadable, match="not a regular file"):
        open_depot(str(tmp_path))


def test_what_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(NotARepository, match=r"no repodata/repomd\.xml"):
        open_depot(str(tmp_path))


def test_a_missing_metadata_file(tmp_path: Path) -> None:
    write_repository(str(tmp_path), {"primary": primary()})
    (tmp_path / "repodata" / "primary").unlink()
    with pytest.raises(FileMissing, match="repodata/primary"):
        open_depot(str(tmp_path))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"checksum": "0" * 64}, "checksum is not the one in repomd.xml"),
        ({"size": "5"}, "larger than|has .* bytes"),
        ({"size": "500000"}, "repomd.xml says 500000"),
        ({"kind": "md5", "checksum": "0" * 32}, "unknown checksum type 'md5'"),
        ({"checksum": "zz"}, "not a sha256 checksum"),
        ({"location": "../../etc/passwd"}, "leads out of the depot"),
        ({"location": "/etc/passwd"}, "leads out of the depot"),
        ({"location": "repodata/../../x"}, "leads out of the depot"),
    ],
)
def test_wrong_metadata_is_refused(wrong: dict[str, str], message: str, tmp_path: Path) -> None:
    write_repository(str(tmp_path), {"primary": primary()}, **wrong)
    with pytest.raises(BadDepot, match=message):
        open_depot(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not well-formed"),
        (b"not xml", "not well-formed"),
        (primary()[:-5], "not well-formed"),
        (b"<html/>", "root element is <html>"),
        (b"<metadata>" + b"<a>" * 100_000, "more than 64 levels deep"),
        (b'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "b">]><metadata>&a;</metadata>', "document type"),
        (b'<?xml version="1.0"?><!DOCTYPE m SYSTEM "file:///etc/passwd"><metadata/>', "document type"),
        ('<?xml version="1.0"?><!DOCTYPE m []><metadata/>'.encode("utf-16"), "document type"),
        (b"<metadata>&unknown;</metadata>", "not well-formed"),
        (b"<metadata>\xff\xfe</metadata>", "not well-formed"),
        (b'<?xml version="1.0" encoding="ebcdic-no-such"?><metadata/>', "unknown encoding|not well-formed"),
    ],
)
def test_hostile_xml_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    write_repository(str(tmp_path), {"primary": content})
    with pytest.raises(BadMetadata, match=message):
        open_depot(str(tmp_path))


def giant() -> list[bytes]:
    return [
        b"<metadata><package><name>" + b"x" * 300_000,
        b"<metadata><package a='" + b"x" * 300_000,
        b"<metadata><!--" + b"x" * 300_000,
        b"<metadata>" + b" " * 300_000,
        b"<metadata><package>" + b"<file>x</file>" * 30_000,
    ]


@pytest.mark.parametrize("number", range(5))
def test_a_giant_record_is_refused_before_it_fills_the_memory(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markup, "RECORD_LIMIT", 200_000)
    write_repository(str(tmp_path), {"primary": giant()[number]})
    with pytest.raises(BadMetadata, match="one record has more than 200000 bytes"):
        open_depot(str(tmp_path))


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack.unpacked, "__defaults__", (1_000_000,))
    write_repository(str(tmp_path), {"primary": gzip.compress(b"<metadata>" + package_xml().encode() * 10_000)})
    with pytest.raises(BadMetadata, match="unpacks to more than 1000000 bytes"):
        open_depot(str(tmp_path))


BAD_PACKAGES = {
    "name": package_xml(name="../evil"),
    "option": package_xml(name="--root=x"),
    "space": package_xml(name="a b"),
    "version": package_xml(version="1-2"),
    "arch": package_xml().replace("<arch>noarch</arch>", "<arch/>"),
    "epoch": package_xml(epoch="-1"),
    "location": package_xml(location="../../etc/shadow"),
    "absolute": package_xml(location="/etc/shadow"),
    "control": package_xml(location="a&#10;b.rpm"),
    "checksum": package_xml(checksum="../../x"),
    "flags": package_xml(more='<rpm:requires><rpm:entry name="a" flags="XX" ver="1"/></rpm:requires>'),
    "nameless": package_xml(more="<rpm:requires><rpm:entry/></rpm:requires>"),
    "no format": package_xml().replace("<format></format>", ""),
    "size": package_xml().replace('package="10"', 'package="lots"'),
    "base": package_xml().replace("<location ", '<location xml:base="http://elsewhere" ').replace("xml:base", "base"),
}


@pytest.mark.parametrize("kind", BAD_PACKAGES)
def test_one_bad_package_is_left_out_and_said(kind: str, tmp_path: Path) -> None:
    write_repository(str(tmp_path), {"primary": primary(BAD_PACKAGES[kind], package_xml("good"))})
    depot = open_depot(str(tmp_path))
    assert [one.name for one in depot.packages] == ["good"]
    assert len(depot.defects) == 1
    assert "is left out: " in depot.defects[0]


def test_sources_and_other_machines_packages_are_passed_over(tmp_path: Path) -> None:
    some = [
        package_xml(f"p{number}", arch=arch)
        for number, arch in enumerate(["src", "nosrc", "sparc64", "x86_64", "noarch"])
    ]
    write_repository(str(tmp_path), {"primary": primary(*some)})
    depot = open_depot(str(tmp_path), arches=frozenset(("x86_64", "noarch")))
    assert ([one.nevra.arch for one in depot.packages], depot.defects) == (["x86_64", "noarch"], ())


def test_a_package_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    some = [package_xml(), package_xml(), package_xml(checksum="b" * 64)]
    write_repository(str(tmp_path), {"primary": primary(*some)})
    depot = open_depot(str(tmp_path))
    assert len(depot.packages) == 1
    assert depot.defects == ("the package tool-1-1.noarch is there with different contents; the first is used",)


def update(identity: str, more: str = "") -> str:
    row = f'<package name="a" version="2" release="1" epoch="0" arch="noarch">{more}</package>'
    return f'<update type="bugfix"><id>{identity}</id><pkglist><collection>{row}</collection></pkglist></update>'


def bulletins(tmp_path: Path, *updates: str) -> Depot:
    content = f"<updates>{''.join(updates)}</updates>".encode()
    write_repository(str(tmp_path), {"primary": primary(), "updateinfo": content})
    return open_depot(str(tmp_path))


@pytest.mark.parametrize(
    "bad",
    [update(""), update("--x"), update("a\nb"), update("x" * 300), update("X").replace('"2"', '"2-3"'), "<update/>"],
)
def test_one_bad_bulletin_is_left_out_and_said(bad: str, tmp_path: Path) -> None:
    depot = bulletins(tmp_path, bad, update("good"))
    assert [one.id for one in depot.bulletins] == ["good"]
    assert len(depot.defects) == 1


def test_of_two_bulletins_with_one_id_the_first_is_kept(tmp_path: Path) -> None:
    depot = bulletins(tmp_path, update("X"), update("X", "<reboot_suggested/>"))
    assert [one.reboot for one in depot.bulletins] == [False]
    assert depot.defects == ("the bulletin X is left out: there was one with this id before",)


@pytest.mark.parametrize(
    ("said", "reboot", "restart"),
    [
        ("<reboot_suggested/>", True, False),
        ("<reboot_suggested>True</reboot_suggested>", True, False),
        ("<reboot_suggested>0</reboot_suggested>", False, False),
        ("<restart_suggested>1</restart_suggested>", False, True),
        ("<relogin_suggested>True</relogin_suggested>", False, True),
    ],
)
def test_what_must_be_started_again(said: str, reboot: bool, restart: bool, tmp_path: Path) -> None:
    (found,) = bulletins(tmp_path, update("X", said)).bulletins
    assert (found.reboot, found.restart) == (reboot, restart)


def test_defects_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "DEFECT_LIMIT", 3)
    depot = bulletins(tmp_path, *[update("")] * 10)
    assert (len(depot.defects), depot.defects[-1]) == (4, "and 7 more defects")
