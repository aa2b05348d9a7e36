"""Which product a host runs, and on which hardware: from its release files and its firmware's words."""

from __future__ import annotations

import os
import re
from typing import Any, Optional

from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.system.proc import read_text

LIMIT = 10.0
LINE_FILES = (
    "etc/vmware-release", "etc/redhat-release", "etc/SuSE-release", "etc/system-release", "etc/fedora-release",
)  # fmt: skip
FAMILIES = {
    "rhel": "rhel", "centos": "rhel", "rocky": "rhel", "almalinux": "rhel", "ol": "rhel", "fedora": "fedora",
    "sles": "suse", "suse": "suse", "opensuse-leap": "suse", "opensuse-tumbleweed": "suse", "amzn": "amazon",
    "debian": "debian", "xenenterprise": "rhel",
}  # fmt: skip
NAMES = (
    (re.compile(r"VMware ESXi", re.I), "esxi"), (re.compile(r"VMware ESX", re.I), "esx"),
    (re.compile(r"Red Hat|CentOS|Rocky|Alma|Oracle|Scientific", re.I), "rhel"), (re.compile(r"Fedora", re.I), "fedora"),
    (re.compile(r"SUSE", re.I), "suse"), (re.compile(r"Amazon", re.I), "amazon"),
)  # fmt: skip


def product(root: str) -> Optional[dict[str, str]]:
    """Return family, name and version, or None where no file says it."""
    for name in LINE_FILES:
        line = read_text(os.path.join(root, name)).strip().partition("\n")[0]
        found = _from_line(line)
        # A file that only some product has says more than the one that all have.
        if found is not None and (
            name == "etc/vmware-release" or not os.path.exists(os.path.join(root, "etc/os-release"))
        ):
            return found
    return _from_os_release(read_text(os.path.join(root, "etc/os-release")))


def _from_line(line: str) -> Optional[dict[str, str]]:
    family = next((family for pattern, family in NAMES if pattern.search(line)), "")
    if not family:
        return None
    version = re.search(r"\d+(?:\.\d+)*", line)
    name = re.split(r"\s+(?:release\s+|Server\s+|\d)", line)[0].strip()
    return {"family": family, "name": name, "version": version.group() if version else ""}


def _from_os_release(text: str) -> Optional[dict[str, str]]:
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    said = {key.strip(): value.strip().strip("\"'") for key, equals, value in pairs if equals}
    if not said.get("ID"):
        return None
    words = [said["ID"], *said.get("ID_LIKE", "").split()]
    family = next((FAMILIES[word] for word in words if word in FAMILIES), "other")
    return {"family": family, "name": said.get("NAME", said["ID"]), "version": said.get("VERSION_ID", "")}


def hardware(host: Host) -> Optional[dict[str, str]]:
    """Return what the firmware says of the machine: by dmidecode, as administrators ask, or from the kernel."""
    found: dict[str, Any] = {}
    for field, keyword, file in (
        ("vendor", "system-manufacturer", "sys_vendor"), ("product", "system-product-name", "product_name"),
    ):  # fmt: skip
        value = _dmidecode(host, keyword) or read_text(os.path.join(host.paths.root, "sys/class/dmi/id", file)).strip()
        if value:
            found[field] = value
    return found or None


def _dmidecode(host: Host, keyword: str) -> str:
    try:
        done = host.runner.run(["dmidecode", "-s", keyword], timeout=LIMIT, check=False)
    except InterlockError:
        return ""
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip() and not line.startswith("#")]
    return lines[-1] if lines and done.status == 0 else ""
