from __future__ import annotations

from typing import Optional

import pytest
from depot_tools import offered, package

from interlock.depot.bulletin import Bulletin, BulletinState, BulletinStatus, bulletin_states
from interlock.depot.repository import Depot
from interlock.package import Nevra, Package


def state(names: str, installed: list[Package], available: Optional[list[Package]] = None) -> BulletinState:
    """Return the state of one bulletin of these NEVRAs; the depot has just these, unless told otherwise."""
    nevras = tuple(Nevra.parse(name) for name in names.split())
    have = [Package(nevra) for nevra in nevras] if available is None else available
    depot = Depot("/d", packages=offered(*have), bulletins=(Bulletin("B", packages=nevras),))
    return bulletin_states(depot, installed)[0]


@pytest.mark.parametrize(
    ("names", "installed", "status"),
    [
        ("a-2-1.noarch", "a-1-1", BulletinStatus.APPLICABLE),
        ("a-2-1.noarch b-2-1.noarch", "a-1-1", BulletinStatus.APPLICABLE),
        ("a-2-1.noarch b-2-1.noarch", "a-2-1 b-1-1", BulletinStatus.APPLICABLE),
        ("a-2-1.noarch b-2-1.noarch", "a-2-1", BulletinStatus.INSTALLED),
        ("a-2-1.noarch", "a-3-1", BulletinStatus.INSTALLED),
        ("a-2-1.noarch", "b-1-1", BulletinStatus.NOT_APPLICABLE),
        ("", "b-1-1", BulletinStatus.NOT_APPLICABLE),
        ("a-2-1.aarch64", "a-1-1.x86_64", BulletinStatus.NOT_APPLICABLE),
        ("a-2-1.aarch64 a-2-1.x86_64", "a-1-1.x86_64", BulletinStatus.APPLICABLE),
        ("a-2-1.noarch", "a-1-1.x86_64", BulletinStatus.APPLICABLE),
        ("kernel-3-1.noarch", "kernel-1-1 kernel-2-1", BulletinStatus.APPLICABLE),
        ("kernel-3-1.noarch", "kernel-1-1 kernel-3-1", BulletinStatus.INSTALLED),
    ],
)
def test_what_a_bulletin_is_on_a_host(names: str, installed: str, status: BulletinStatus) -> None:
    found = state(names, [package(one) for one in installed.split()])
    assert found.status is status
    assert found.reason
    assert bool(found.upgrades) == (status is BulletinStatus.APPLICABLE)


def test_an_obsoleted_package_has_not_to_be_installed() -> None:
    host = [package("new-5-1", obsoletes="a <= 9")]
    assert state("a-2-1.noarch", host).status is BulletinStatus.OBSOLETED
    assert state("a-10-1.noarch", host).status is BulletinStatus.NOT_APPLICABLE


def test_a_successor_by_obsoletion_applies() -> None:
    found = state("new-2-1.noarch", [package("old-1-1")], [package("new-2-1", obsoletes="old < 2")])
    assert found.status is BulletinStatus.APPLICABLE


def test_a_package_that_the_depot_lacks_is_named() -> None:
    found = state("a-2-1.noarch", [package("a-1-1")], [])
    assert found.status is BulletinStatus.MISSING_PACKAGE
    assert "a-2-1.noarch" in found.reason


def test_a_later_package_of_the_depot_does_as_well() -> None:
    assert state("a-2-1.noarch", [package("a-1-1")], [package("a-3-1")]).status is BulletinStatus.APPLICABLE


def test_reasons_say_what_is_the_case() -> None:
    assert "aarch64" in state("a-2-1.aarch64", [package("a-1-1.x86_64")]).reason
    assert state("a-2-1.noarch", []).reason == "none of its packages is installed"
