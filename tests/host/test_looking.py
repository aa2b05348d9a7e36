"""A look changes nothing: what `locks` and `doctor` ask of the kernel on a busy host, as strace sees it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from conftest import Host

DATABASE = "/var/lib/rpm"
CALLS = (
    "open,openat,openat2,creat,fcntl,flock,kill,tkill,tgkill,pidfd_send_signal,pidfd_open,execve,clone,clone3,fork,"
    "vfork,unlink,unlinkat,rename,renameat,renameat2,truncate,ftruncate,chmod,fchmod,fchmodat,chown,fchown,fchownat,"
    "link,linkat,symlink,symlinkat,mkdir,mkdirat,rmdir,utimensat,mount"
)
CHANGES = frozenset(CALLS.partition("vfork,")[2].split(","))
WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")
LOCKS = re.compile(r"F_(OFD_)?SETLKW?\b")
IN_DATABASE = re.compile(rf'["<]{DATABASE}[/>"]')
RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)$")
CALL = re.compile(r"(\w+)\((.*)$")
# The host's own rpm opens a private copy of a Berkeley DB environment, and asks whether those whom it finds there live:
# signal 0, which is not sent to anybody. Nobody else may do even that.
TRIAL = re.compile(r'"/var/cache/interlock/read-doctor')
NOTHING_SENT = re.compile(r"\d+, 0\)")
SIGNALS = frozenset({"kill", "tkill", "tgkill", "pidfd_send_signal"})


class Call(NamedTuple):
    """A system call of a trace: who, which, and its arguments with what came of it."""

    pid: int
    name: str
    rest: str


def calls_of(text: str) -> Iterator[Call]:
    """Yield the calls of a trace; one that another process's call interrupts stands there in two parts."""
    begun: dict[str, str] = {}
    for line in text.splitlines():
        pid, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest.strip().removesuffix("<unfinished ...>")
            continue
        again = RESUMED.match(rest.strip())
        found = CALL.match(begun.pop(pid, "") + again[1] if again else rest.strip())
        if found:
            yield Call(int(pid), found[1], found[2])
    for pid, rest in begun.items():
        found = CALL.match(rest)
        if found:
            yield Call(int(pid), found[1], found[2])


def faults(text: str) -> list[str]:
    """Return the calls of a trace that a look must not make."""
    calls = list(calls_of(text))
    ours = {call.pid for call in calls}
    trials = {call.pid for call in calls if call.name == "execve" and TRIAL.search(call.rest)}
    return [f"{call.name}({call.rest}" for call in calls if _is_fault(call, ours, trials)]


def _is_fault(call: Call, ours: set[int], trials: set[int]) -> bool:
    if call.name == "kill" and call.pid in trials and NOTHING_SENT.match(call.rest):
        return False
    if call.name in SIGNALS:
        numbers = [abs(int(number)) for number in re.findall(r"(?<![\w.])-?\d+", call.rest.partition(",")[0])]
        return not numbers or numbers[0] not in ours
    if not IN_DATABASE.search(call.rest):
        return False
    if call.name in ("open", "openat", "openat2", "creat"):
        return bool(WRITES.search(call.rest)) or call.name == "creat"
    if call.name == "fcntl":
        return bool(LOCKS.search(call.rest))
    return call.name == "flock" or call.name in CHANGES


def test_the_judge_sees_what_it_should() -> None:
    bad = """\
7 openat(AT_FDCWD</root>, "/var/lib/rpm/rpmdb.sqlite", O_RDWR|O_CLOEXEC) = 3</var/lib/rpm/rpmdb.sqlite>
7 openat(4</var/lib/rpm>, "x", O_WRONLY|O_CREAT, 0644) = 5</var/lib/rpm/x>
7 fcntl(3</var/lib/rpm/.rpm.lock>, F_SETLKW, {l_type=F_WRLCK}) = 0
7 fcntl(3</var/lib/rpm/.rpm.lock>, F_OFD_SETLK, {l_type=F_RDLCK}) = 0
7 flock(3</var/lib/rpm/Packages.db>, LOCK_SH) = 0
7 kill(9, SIGTERM) = 0
7 unlink("/var/lib/rpm/__db.001") = 0
8 kill(9, SIGTERM <unfinished ...>
7 openat(4</var/lib/rpm>, "x", O_RDWR <unfinished ...>
8 <... kill resumed>) = 0
7 <... openat resumed>) = 5</var/lib/rpm/x>
7 kill(9, 0) = 0
6 execve("/usr/bin/rpm", ["rpm", "--dbpath", "/var/cache/interlock/read-doctor"..., "-qa"], 0x7 /* 18 vars */) = 0
6 kill(9, SIGTERM) = 0
"""
    good = """\
7 openat(AT_FDCWD</root>, "/var/lib/rpm/rpmdb.sqlite", O_RDONLY|O_CLOEXEC) = 3</var/lib/rpm/rpmdb.sqlite>
7 openat(AT_FDCWD</root>, "/var/cache/read/var/lib/rpm/rpmdb.sqlite", O_RDWR) = 3</var/cache/read/var/lib/rpm/a>
7 fcntl(3</var/lib/rpm/.rpm.lock>, F_GETLK, {l_type=F_WRLCK}) = 0
8 kill(-7, SIGKILL) = 0
8 kill(-7, SIGKILL <unfinished ...>
7 openat(AT_FDCWD</root>, "/var/lib/rpm", O_RDONLY|O_DIRECTORY) = 3</var/lib/rpm>
6 execve("/usr/bin/rpm", ["rpm", "--dbpath", "/var/cache/interlock/read-doctor"..., "-qa"], 0x7 /* 18 vars */) = 0
6 kill(9, 0) = 0
8 <... kill resumed>) = 0
"""
    assert len(faults(bad)) == len(bad.splitlines()) - 3
    assert faults(good) == []


@pytest.mark.parametrize("release", ["classic", "current", "next"])
def test_a_look_changes_nothing(host_of: Callable[..., Host], release: str) -> None:
    host = host_of(release, "reader")
    depot = f"/srv/depots/{release}-updates-1"
    load = f"while :; do rpm -U --replacepkgs {depot}/lab-tool-01-*.rpm; rpm -qa; done >/dev/null 2>&1"
    host.run("systemd-run", "--quiet", "--unit=looked-at", "--", "sh", "-c", load)
    wrong = {}
    for words in ("locks", "locks --json --svg /tmp/graph.svg", "doctor", "doctor --json"):
        trace = f"/tmp/trace-{words.replace(' ', '').replace('/', '')}"
        # What a busy host makes of it is not judged here, only how it is looked at.
        host.shell(f"strace -f -y --seccomp-bpf -e trace={CALLS} -o {trace} interlock {words}", check=False)
        text = host.run("cat", trace).stdout
        assert "execve(" in text
        assert any(f"{DATABASE}" in call.rest or "/proc/locks" in call.rest for call in calls_of(text))
        if faults(text):
            wrong[words] = sorted(set(faults(text)))
    assert wrong == {}
