"""Reads what else a system needs to come up: accounts, its name, the unit that it boots into, merged directories."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

from interlock.boot.boot_tree import Tree

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

MERGED = ("/bin", "/sbin", "/lib", "/lib64")
UNITS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
SELINUX = "/etc/selinux"
MASK = "/dev/null"


class Essentials(NamedTuple):
    """What was found. ``default_target`` is None where systemd is not the init; else what is wrong with the unit.

    ``broken_links`` are merged directories that lead nowhere; ``policy_missing`` the folder of the SELinux policy that
    is enforced and not there; ``update`` where a link leads that makes the next boot an offline update.
    """

    root_account: bool
    os_release: bool
    default_target: Optional[str]
    broken_links: tuple[str, ...]
    policy_missing: str
    update: str


def read_essentials(tree: Tree, target: str = "") -> Essentials:
    """Return them; ``target`` is the unit that the boot entry's arguments ask for, if any."""
    systemd = (tree.resolve("/sbin/init") or "").endswith("/systemd") or tree.is_file("/usr/lib/systemd/systemd")
    return Essentials(
        root_account=any(line.split(":")[2:3] == ["0"] for line in tree.lines("/etc/passwd")),
        os_release=tree.is_file("/etc/os-release") or tree.is_file("/usr/lib/os-release"),
        default_target=_target(tree, target or "default.target") if systemd else None,
        broken_links=tuple(_broken_links(tree)),
        policy_missing=_policy(tree),
        update=tree.link("/system-update") or tree.link("/etc/system-update") or "",
    )


def _broken_links(tree: Tree) -> Iterator[str]:
    for path in MERGED:
        missing = path in ("/bin", "/sbin") and not tree.exists(path)
        if missing or (tree.is_link(path) and not tree.is_directory(path)):
            yield path


def _target(tree: Tree, name: str) -> str:
    """Say what is wrong with the unit to boot into; empty where nothing is."""
    for folder in UNITS:
        path = f"{folder}/{name}"
        leads = tree.link(path)
        if leads == MASK:
            return f"{path} is masked"
        if leads is not None and not tree.exists(path):
            # systemd takes the link's last part as a unit's name, wherever that unit may be.
            alias = posixpath.basename(leads)
            if alias == name or not any(tree.is_file(f"{one}/{alias}") for one in UNITS):
                return f"{path} leads to {leads}, which is not there"
            return ""
        if tree.is_file(path):
            return ""
    return f"there is no {name} in {', '.join(UNITS[:2])}"


def _policy(tree: Tree) -> str:
    """Return the folder of the policy that systemd would fail to load, and stop; empty where it would not."""
    pairs = (re.match(r"^(SELINUX|SELINUXTYPE)=\s*(\w+)", line) for line in tree.lines(f"{SELINUX}/config"))
    settings = {match.group(1): match.group(2) for match in pairs if match}
    folder = f"{SELINUX}/{settings.get('SELINUXTYPE', 'targeted')}/policy"
    if settings.get("SELINUX") != "enforcing" or (tree.live and not tree.is_directory("/sys/fs/selinux")):
        return ""
    return "" if any(name.startswith("policy.") for name in tree.names(folder)) else folder
