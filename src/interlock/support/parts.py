"""What goes into a support bundle: named parts, each read by itself, so that one that fails takes nothing with it."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from interlock.host.context import Host

# Of one file or one command's output; the begin says how it came about, the end what happened last.
HEAD, TAIL = 256 * 1024, 768 * 1024
OPERATIONS = 6
SECONDS = 20.0
LOGS = (
    "var/log/dnf.log", "var/log/dnf.rpm.log", "var/log/dnf.librepo.log", "var/log/dnf5.log", "var/log/hawkey.log",
    "var/log/yum.log", "var/log/zypper.log", "var/log/zypp/history", "var/log/zypp/zypper.log",
    "var/log/PackageKit", "var/log/vmware/esxupdate.log",
)  # fmt: skip
SETTINGS = (
    "etc/os-release", "etc/redhat-release", "etc/SuSE-release", "etc/vmware-release", "etc/fstab", "etc/dnf/dnf.conf",
    "etc/yum.conf", "etc/zypp/zypp.conf", "etc/zypp/zypper.conf", "etc/yum.repos.d/*.repo", "etc/zypp/repos.d/*.repo",
    "etc/rpm/*", "etc/interlock/*.json", "etc/interlock/*.d/*.json", "etc/default/grub", "etc/dracut.conf.d/*.conf",
    "proc/cmdline", "proc/mounts", "proc/locks", "proc/meminfo", "proc/uptime", "proc/version", "proc/pressure/*",
)  # fmt: skip
# Not taken along: read only for the secrets in them, which may stand in a log as well.
SECRETS = (
    "root/.netrc", "etc/zypp/credentials.d/*", "etc/pki/entitlement/*key*.pem", "etc/rhsm/rhsm.conf", "root/.pgpass",
    "etc/environment", "etc/profile.d/*.sh", "etc/systemd/system/*/*.conf", "etc/sysconfig/*", "root/.config/*",
    "root/.my.cnf", "root/.aws/*", "root/.docker/config.json", "etc/snmp/*.conf", "etc/dnf/vars/*", "etc/yum/vars/*",
    "etc/cron.d/*", "root/.bash_history",
)  # fmt: skip
COMMANDS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("system/uname.txt", "kernel", ("uname", "-a")),
    ("system/processes.txt", "every process", ("ps", "-eo", "pid,ppid,user,stat,lstart,cgroup,wchan:20,args")),
    ("system/space.txt", "free space", ("df", "-hPT")),
    ("system/inodes.txt", "free inodes", ("df", "-iPT")),
    ("system/failed-units.txt", "units that failed", ("systemctl", "--no-pager", "--failed")),
    ("system/jobs.txt", "what systemd waits for", ("systemctl", "--no-pager", "list-jobs")),
    ("system/boots.txt", "boots", ("journalctl", "--no-pager", "--list-boots")),
    (
        "logs/interlock.txt",
        "what Interlock's units said",
        ("journalctl", "--no-pager", "-n", "3000", "-u", "interlock*"),
    ),
    ("logs/warnings.txt", "warnings since the boot", ("journalctl", "--no-pager", "-b", "-p", "warning", "-n", "2000")),
    ("logs/last.txt", "the last lines of the journal", ("journalctl", "--no-pager", "-n", "1500")),
    ("logs/kernel.txt", "the kernel's messages", ("dmesg", "--ctime")),
)


@dataclass(frozen=True)
class Part:
    """One file of the bundle. ``read`` returns its text, or a JSON value for a name that ends with ``.json``."""

    name: str
    about: str
    read: Callable[[], Any]


def parts(host: Host) -> Iterator[Part]:
    """Yield every part, what helps most first: the bundle is bounded."""
    yield from _operations(host)
    yield from (Part(name, about, _command(host, words)) for name, about, words in COMMANDS)
    yield from _files(host, "settings", SETTINGS)
    yield from _files(host, "logs", LOGS)


def secret_texts(host: Host) -> Iterator[str]:
    """Yield the contents of files that are read for their secrets only."""
    for path in _found(host, SECRETS):
        try:
            yield bounded_text(path)
        except OSError:
            continue


def bounded_text(path: str) -> str:
    """Return a file's text, its middle left out where it is long. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        head = stream.read(HEAD + TAIL)
        size = os.fstat(stream.fileno()).st_size
        if len(head) < HEAD + TAIL or size <= HEAD + TAIL:
            return head.decode("utf-8", "replace")
        stream.seek(size - TAIL)
        return bounded((head[:HEAD] + b"\n" + stream.read(TAIL)).decode("utf-8", "replace"), size)


def bounded(text: str, size: int = 0) -> str:
    """Return ``text`` cut in its middle, at the ends of lines, so that no word is cut in two."""
    if len(text) <= HEAD + TAIL:
        return text
    head, tail = text[:HEAD].rpartition("\n")[0], text[-TAIL:].partition("\n")[2]
    left_out = max(size, len(text)) - len(head) - len(tail)
    return f"{head}\n[{left_out} bytes left out here]\n{tail}"


def _operations(host: Host) -> Iterator[Part]:
    folders = sorted(glob.glob(os.path.join(glob.escape(host.paths.operations), "*")))[-OPERATIONS:]
    for folder in reversed(folders):
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*"))):
            name = f"operations/{os.path.basename(folder)}/{os.path.basename(path)}"
            if os.path.isfile(path):
                yield Part(name, "an operation's own record", _file(path))
    for name in ("hold.json", "dirty.json", "quiesced.json"):
        path = os.path.join(host.paths.state, name)
        if os.path.exists(path):
            yield Part(f"state/{name}", "why this host must not be changed or rebooted", _file(path))


def _files(host: Host, folder: str, patterns: Sequence[str]) -> Iterator[Part]:
    for path in _found(host, patterns):
        yield Part(f"{folder}/{os.path.relpath(path, host.paths.root)}", "a file of the host", _file(path))


def _found(host: Host, patterns: Sequence[str]) -> Iterator[str]:
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(glob.escape(host.paths.root), pattern))):
            if os.path.isfile(path):
                yield path


def _file(path: str) -> Callable[[], Any]:
    def read() -> Any:
        text = bounded_text(path)
        if path.endswith(".json"):
            try:
                return json.loads(text)
            except ValueError:
                pass
        return text

    return read


def _command(host: Host, words: Sequence[str]) -> Callable[[], str]:
    def read() -> str:
        done = host.runner.run(words, timeout=SECONDS, check=False)
        said = f"\n[status {done.status}]\n{done.stderr}" if done.status else ""
        return bounded(done.stdout + said)

    return read
