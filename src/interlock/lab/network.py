"""The lab's own network: a bridge with an address, and one for each host. It leads nowhere else.

Every cache has a bridge of its own, named after the cache directory, and a block of the range that is set aside for
tests of networks (RFC 2544), so two labs on one machine do not meet.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Sequence

from interlock.errors import InterlockError
from interlock.lab.cache import Cache
from interlock.system.run import Runner

_RANGE = ipaddress.ip_network("198.18.0.0/15")
_BLOCK = 22


class NetworkFull(InterlockError):
    """The lab has no free address in {network}."""

    hint = "`interlock lab down NAME` frees one."


def tag(cache: Cache) -> str:
    """Return a short name of this cache, for things that the whole machine shares."""
    return hashlib.sha256(str(cache.home).encode()).hexdigest()[:6]


def bridge_name(cache: Cache) -> str:
    """Return the name of this lab's bridge."""
    return f"ilab-{tag(cache)}"


def blocks(cache: Cache) -> list[ipaddress.IPv4Network]:
    """Return the blocks that this lab may take, the preferred one first."""
    every = [block for block in _RANGE.subnets(new_prefix=_BLOCK) if isinstance(block, ipaddress.IPv4Network)]
    first = int(tag(cache), 16) % len(every)
    return every[first:] + every[:first]


def ensure_bridge(cache: Cache, runner: Runner) -> ipaddress.IPv4Network:
    """Make the bridge where it is missing; return its network."""
    rows = json.loads(runner.run(["ip", "-json", "address", "show"]).stdout)
    name = bridge_name(cache)
    mine = [_networks(row) for row in rows if row["ifname"] == name]
    if mine and mine[0]:
        return mine[0][0]
    taken = [network for row in rows for network in _networks(row)]
    network = _free_block(cache, taken)
    if not mine:
        runner.run(["ip", "link", "add", name, "type", "bridge"])
    runner.run(["ip", "address", "add", f"{network[1]}/{_BLOCK}", "dev", name])
    runner.run(["ip", "link", "set", name, "up"])
    return network


def _networks(row: object) -> list[ipaddress.IPv4Network]:
    infos = row.get("addr_info", []) if isinstance(row, dict) else []
    return [
        ipaddress.IPv4Network(f"{info['local']}/{info['prefixlen']}", strict=False)
        for info in infos
        if info.get("family") == "inet"
    ]


def _free_block(cache: Cache, taken: Sequence[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    for block in blocks(cache):
        if not any(block.overlaps(other) for other in taken):
            return block
    raise NetworkFull(network=_RANGE)


def free_address(network: ipaddress.IPv4Network, taken: Iterable[str]) -> str:
    """Return an address of ``network`` that no host has; the first is the bridge's."""
    used = {*taken, str(network[1])}
    for address in network.hosts():
        if str(address) not in used:
            return str(address)
    raise NetworkFull(network=network)


def forget_neighbour(cache: Cache, runner: Runner, address: str) -> None:
    """Forget who had an address before: the kernel would go on sending to that one for up to half a minute."""
    runner.run(["ip", "neighbour", "delete", address, "dev", bridge_name(cache)], check=False)


def remove_bridge(cache: Cache, runner: Runner) -> bool:
    """Remove the bridge if it is there; say whether it was."""
    name = bridge_name(cache)
    if runner.run(["ip", "link", "show", name], check=False).status != 0:
        return False
    runner.run(["ip", "link", "delete", name], check=False)
    return True


def host_settings(address: str) -> str:
    """Return systemd-networkd's settings of a host's only interface."""
    return f"[Match]\nName=host0\n\n[Network]\nAddress={address}/{_BLOCK}\nLinkLocalAddressing=no\nDHCP=no\n"
