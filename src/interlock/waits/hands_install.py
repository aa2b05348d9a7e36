"""The hand that installs again what a transaction failed to install."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from interlock.host.context import Host
from interlock.waits.hands import StepFailed, Treatment

WAIT, PAUSE, LIMIT = 60.0, 0.2, 600.0


def install_again(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Install packages from their files, once the transaction that failed to has ended; what it did manage is left."""
    host = treatment.host
    _wait_for(host, [int(pid) for pid in data.get("after", ())])
    files = {str(name): str(path) for name, path in data["files"].items()}
    missing = {name: path for name, path in files.items() if not _installed(host, name)}
    if not missing:
        return f"installed by their own transaction after all: {', '.join(sorted(files))}"
    gone = sorted(name for name, path in missing.items() if not os.path.isfile(path))
    if gone:
        raise StepFailed(detail=f"the package files of {', '.join(gone)} are not there any more; install them again")
    done = host.runner.run(["rpm", "-U", *missing.values()], timeout=LIMIT, check=False)
    failed = sorted(name for name in missing if not _installed(host, name))
    if failed:
        raise StepFailed(detail=f"{', '.join(failed)} could not be installed: {(done.stderr or '').strip()[-300:]}")
    return f"installed again: {', '.join(sorted(missing))}"


def _wait_for(host: Host, pids: list[int]) -> None:
    deadline = host.clock.monotonic() + WAIT
    while any(host.proc.state(pid) not in ("Z", "X", None) for pid in pids):
        if host.clock.monotonic() > deadline:
            raise StepFailed(detail=f"pid {pids[0]} still runs {WAIT:g} s after the write lock was free; look again")
        host.clock.sleep(PAUSE)


def _installed(host: Host, name: str) -> bool:
    """Ask by name: a query takes no lock."""
    return host.runner.run(["rpm", "-q", "--quiet", name], timeout=LIMIT, check=False).status == 0
