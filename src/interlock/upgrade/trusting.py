"""What this host demands of a depot's metadata, and the keys that it trusts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from interlock.depot.config import read_config
from interlock.depot.keys import read_kept
from interlock.depot.trust import ANY, TrustPolicy
from interlock.depot.trust_check import TrustCheck
from interlock.host.context import Host


def policy_of(host: Host, location: str) -> TrustPolicy:
    """Return the policy of a depot: that of its configuration where it has a name, else the strict one."""
    found = read_config(host.paths.depots, location)
    return TrustPolicy() if found is None else found.trust


def trust_check(host: Host, location: str, keyring: Sequence[str], allow_unsigned: bool) -> TrustCheck:
    """Return how a depot's metadata is checked on this host; ``keyring`` are the keys of rpm's keyring."""
    policy = policy_of(host, location)
    if allow_unsigned:
        policy = replace(policy, metadata=ANY)
    armors = [*keyring, *read_kept(host.paths.keys)[0]]
    records = os.geteuid() == 0
    return TrustCheck(policy, armors, host.runner, host.paths.seen, host.clock.now(), records)
