"""A host whose C library is of another build than its loader: nothing starts there, so it is seen from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from conftest import Host

LIBRARY = "usr/lib/x86_64-linux-gnu/libc.so.6"


def doctor(host: Host) -> tuple[int, Any]:
    words = [sys.executable, "-m", "interlock", "doctor", "--json", "--root", str(host.root)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout)["findings"]


def test_a_library_of_another_build_is_seen_from_outside(host_of: Callable[..., Host]) -> None:
    host, other = host_of("current"), host_of("next")
    assert doctor(host) == (0, [])
    copy = host.root / f"{LIBRARY}.new"
    shutil.copy(other.root / LIBRARY, copy)
    os.rename(copy, host.root / LIBRARY)
    assert host.run("true", check=False).status != 0
    status, findings = doctor(host)
    assert (status, [one["id"] for one in findings]) == (3, ["loader-broken"])
    assert f"/{LIBRARY.removeprefix('usr/')}" in findings[0]["files"]
    assert "Do not log out" in findings[0]["cure"]["decide"]
