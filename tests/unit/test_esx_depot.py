"""Depots in the layout of ESX 4 are read, and what is wrong with one is said."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from interlock.depot.bulletin import BulletinStatus, bulletin_states
from interlock.depot.errors import BadMetadata, FileMissing, NotARepository
from interlock.depot.repository import open_depot
from interlock.depot.trust import TrustPolicy
from interlock.depot.trust_check import TrustCheck
from interlock.depot.trust_errors import UnsignedMetadata
from interlock.lab.esx_depot import EsxBulletin, Vib, write_esx_depot
from interlock.package import Evr, Nevra, Package
from interlock.system.run import Runner

GLIBC, AGENT = Vib("glibc", "2.5-34.4908", reboot=True), Vib("hp-insight", "8.2-1")
UPDATE = EsxBulletin("ESX400-Update01", "Update 1", [GLIBC, AGENT])
REPLACED = EsxBulletin("ESX400-Update01a", "Update 1a", [GLIBC], category="general")


@pytest.fixture
def depot(tmp_path: Path) -> Path:
    write_esx_depot(tmp_path, [UPDATE, REPLACED])
    return tmp_path


def test_its_bulletins_and_packages_are_read(depot: Path) -> None:
    found = open_depot(str(depot))
    assert [one.id for one in found.bulletins] == ["ESX400-Update01", "ESX400-Update01a"]
    first = found.bulletins[0]
    assert (first.title, first.severity, first.vendor, first.reboot) == ("Update 1", "Critical", "VMware, Inc.", True)
    assert [str(one) for one in first.packages] == ["glibc-2.5-34.4908.x86_64", "hp-insight-8.2-1.x86_64"]
    assert found.bulletins[1].category == "bugfix"
    sizes = {one.name: one.download_size for one in found.packages}
    assert all((depot / one.location).is_file() for one in found.packages)
    assert sizes["glibc"] == (depot / "vmw" / "vibs/glibc-2.5-34.4908.vib").stat().st_size
    assert found.defects == ()


def test_bulletins_are_judged_by_what_a_host_has(depot: Path) -> None:
    found = open_depot(str(depot))
    host = [Package(Nevra("glibc", Evr(0, "2.5", "34"), "x86_64"))]
    assert [one.status for one in bulletin_states(found, host)] == [BulletinStatus.APPLICABLE] * 2
    assert {one.status for one in bulletin_states(found, [])} == {BulletinStatus.NOT_APPLICABLE}


def test_it_is_unsigned_as_far_as_we_can_tell(depot: Path) -> None:
    check = TrustCheck(TrustPolicy(), (), Runner(), str(depot / "seen"), 0.0, records=True)
    with pytest.raises(UnsignedMetadata, match="ESX 4"):
        open_depot(str(depot), trust=check)
    lenient = TrustCheck(TrustPolicy(metadata="any"), (), Runner(), str(depot / "seen"), 0.0, records=True)
    assert len(open_depot(str(depot), trust=lenient).bulletins) == 2


def rewritten(depot: Path, name: str, content: bytes) -> None:
    """Put a file of our own into ``metadata.zip``."""
    path = depot / "vmw/metadata.zip"
    files = {one: zipfile.ZipFile(path).read(one) for one in zipfile.ZipFile(path).namelist()} | {name: content}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for one, text in files.items():
            archive.writestr(one, text)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("vibs/bad.xml", b"<vib><name>../x</name><version>1-1</version></vib>", "not a package name"),
        ("vibs/bad.xml", b"<vib", "not well-formed"),
        ("vibs/bad.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><vib>&b;</vib>', "document type"),
        ("vibs/bad.xml", b"<other/>", "root element"),
        ("vibs/bad.xml", b"<vib><name>a</name><version>1-1</version><checksum>zz</checksum></vib>", "checksum"),
        ("bulletins/bad.xml", b"<bulletin><id></id></bulletin>", "not an id"),
        ("bulletins/bad.xml", b"<bulletin><id>--x</id></bulletin>", "not an id"),
    ],
)
def test_one_bad_file_is_left_out_and_said(depot: Path, name: str, content: bytes, why: str) -> None:
    rewritten(depot, name, content)
    found = open_depot(str(depot))
    assert len(found.bulletins) == 2
    (defect,) = found.defects
    assert name in defect
    assert why in defect


def test_a_path_out_of_the_depot_and_broken_archives_are_refused(depot: Path) -> None:
    rewritten(depot, "../../vibs/x.xml", b"<vib/>")
    with pytest.raises(BadMetadata, match="leads out"):
        open_depot(str(depot))
    (depot / "vmw/metadata.zip").write_bytes(b"PK junk")
    with pytest.raises(BadMetadata, match="no zip file"):
        open_depot(str(depot))
    (depot / "vmw/metadata.zip").unlink()
    with pytest.raises(FileMissing, match=r"metadata\.zip"):
        open_depot(str(depot))
    (depot / "index.xml").write_text("<html>vendor")
    with pytest.raises(BadMetadata, match=r"index\.xml"):
        open_depot(str(depot))
    (depot / "index.xml").write_text("<html/>")
    with pytest.raises(NotARepository):
        open_depot(str(depot))
