"""Times `interlock depot sync` of 2,000 packages from a local http server beside `dnf reposync`, in turn, in one run.

.venv/bin/python bench/sync.py [--packages N] [--rounds N] [--kills N]

Needs dnf with its plugin reposync (Debian: dnf, dnf-plugins-core). The packages are real ones, made by rpmbuild.
`--kills` also kills our sync at that many random moments (seeded) and looks at what is there after the last.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import random
import shutil
import signal
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from interlock.depot.lint import BAD, lint
from interlock.depot.repository import open_depot

SEED = 20261123
HEAD = """Name: made
Version: 1
Release: 1
Summary: Made
License: none
BuildArch: noarch
%define _build_id_links none
%define __os_install_post %{nil}
%description
Made.
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, keeps connections, says nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Be quiet."""


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 128


def make_depot(folder: Path, count: int) -> None:
    """Build that many packages of 20 to 60 KiB of data that does not compress, as subpackages of one."""
    chance = random.Random(SEED)
    parts, files, data = [], [], folder / "data"
    data.mkdir(parents=True)
    for number in range(count):
        name = f"p{number:04d}"
        (data / name).write_bytes(chance.randbytes(chance.randint(20_000, 60_000)))
        parts.append(f"%package {name}\nSummary: Made\n%description {name}\nMade.\n")
        files.append(f"%files {name}\n/opt/made/{name}\n")
    install = f"%install\nmkdir -p %{{buildroot}}/opt/made\ncp {data}/* %{{buildroot}}/opt/made/\n"
    (folder / "made.spec").write_text("\n".join([HEAD, *parts, install, *files]))
    defines = {"_topdir": folder / "top", "_rpmdir": folder / "depot", "_binary_payload": "w1.gzdio"}
    words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
    subprocess.run(["rpmbuild", "-bb", "--quiet", *words, str(folder / "made.spec")], check=True, capture_output=True)
    shutil.rmtree(data)
    subprocess.run(["createrepo_c", "-q", str(folder / "depot")], check=True)


def timed(words: list[str]) -> float:
    """Return how long a command takes, in seconds."""
    begun = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words[0]} ended with status {done.returncode}: {done.stderr[-500:]}")
    return time.monotonic() - begun


def ours(url: str, target: Path) -> list[str]:
    """Return our command."""
    return [str(Path(sys.executable).parent / "interlock"), "depot", "sync", url, str(target)]


def theirs(url: str, target: Path) -> list[str]:
    """Return dnf's command, with what makes it as quick as it can be."""
    options = ["--setopt=reposdir=/nowhere", f"--setopt=cachedir={target}-cache", "--setopt=max_parallel_downloads=8"]
    return ["dnf", "-q", "--releasever=1", *options, f"--repofrompath=made,{url}", "--repo=made", "--nogpgcheck",
            "reposync", "--download-metadata", "--norepopath", "-p", str(target)]  # fmt: skip


def killed(url: str, target: Path, seconds: float, kills: int) -> None:
    """Kill our sync at random moments, then let it end, and check what came of it."""
    chance = random.Random(SEED)
    print(f"seed {SEED}, {kills} kills")
    for _ in range(kills):
        child = subprocess.Popen(ours(url, target), stdout=subprocess.DEVNULL)
        try:
            child.wait(chance.uniform(0.1, seconds))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
    subprocess.run(ours(url, target), check=True, stdout=subprocess.DEVNULL)
    bad = [one for one in lint(str(target)) if one.level == BAD]
    left = [name for name in os.listdir(target) if name.startswith(".")]
    print(f"after {kills} kills: {len(open_depot(str(target)).packages)} packages, {len(bad)} bad, left over: {left}")
    if bad or left:
        raise SystemExit(1)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="interlock-bench-sync-", dir="/var/tmp") as name:
        folder = Path(name)
        make_depot(folder, options.packages)
        handler = functools.partial(Quiet, directory=str(folder / "depot"))
        with Server(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}"
            found: dict[str, list[float]] = {"interlock": [], "reposync": []}
            for number in range(options.rounds):
                found["interlock"].append(timed(ours(url, folder / f"ours{number}")))
                found["reposync"].append(timed(theirs(url, folder / f"theirs{number}")))
            medians = {who: statistics.median(rows) for who, rows in found.items()}
            print(json.dumps({**medians, "ratio": medians["interlock"] / medians["reposync"]}, indent=1))
            if options.kills:
                killed(url, folder / "killed", medians["interlock"], options.kills)
    return 0


if __name__ == "__main__":
    sys.exit(main())
