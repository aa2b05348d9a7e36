"""Dresses a host of the lab as a product: by the files that say what a host is, and a stand-in for ``dmidecode``.

What runs is still the lab's release: only those who ask what the host is are told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from interlock.lab.errors import UnknownDress

DMIDECODE = """#!/bin/sh
# Interlock lab: a stand-in for dmidecode, which has no firmware to ask here.
case "$2" in
    system-manufacturer) echo "{vendor}" ;;
    system-product-name) echo "{product}" ;;
esac
"""


@dataclass(frozen=True)
class Dress:
    """One product: files by their paths below the root directory, and the hardware it says it runs on."""

    title: str
    files: Mapping[str, str] = field(default_factory=dict)
    vendor: str = ""
    product: str = ""


def _os_release(identity: str, name: str, version: str, like: str = "") -> str:
    return f'ID="{identity}"\nID_LIKE="{like}"\nNAME="{name}"\nVERSION_ID="{version}"\n'


_ESX = {"etc/vmware-release": "VMware ESX 4.0.0 (Kandinsky)\n"}
DRESSES: Mapping[str, Dress] = {
    "esx40-proliant": Dress("ESX 4.0 on an HP ProLiant", _ESX, "HP", "ProLiant DL380 G6"),
    "esx40": Dress("ESX 4.0 on another vendor's machine", _ESX, "Dell Inc.", "PowerEdge R710"),
    "esxi40": Dress("ESXi 4.0", {"etc/vmware-release": "VMware ESXi 4.0.0\n"}, "HP", "ProLiant DL380 G6"),
    "rhel7": Dress(
        "RHEL 7", {"etc/os-release": _os_release("rhel", "Red Hat Enterprise Linux Server", "7.9", "fedora")}
    ),
    "rhel8": Dress("RHEL 8", {"etc/os-release": _os_release("rhel", "Red Hat Enterprise Linux", "8.10", "fedora")}),
    "sles15": Dress("SLES 15", {"etc/os-release": _os_release("sles", "SLES", "15.6", "suse")}),
    "fedora": Dress("Fedora", {"etc/os-release": _os_release("fedora", "Fedora Linux", "43")}),
}


def find_dress(name: str) -> Dress:
    """Return the dress called ``name``."""
    if name not in DRESSES:
        raise UnknownDress(name=name, known=", ".join(DRESSES))
    return DRESSES[name]


def dress(root: Path, name: str) -> None:
    """Dress the host at ``root``."""
    chosen = find_dress(name)
    for path in ("etc/vmware-release", "usr/local/bin/dmidecode"):
        (root / path).unlink(missing_ok=True)
    for path, text in chosen.files.items():
        place = root / path
        place.unlink(missing_ok=True)
        place.write_text(text)
    if chosen.vendor:
        program = root / "usr/local/bin/dmidecode"
        program.write_text(DMIDECODE.format(vendor=chosen.vendor, product=chosen.product))
        program.chmod(0o755)
