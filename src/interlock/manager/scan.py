"""Asks hosts what they are: many at a time, each by itself; what is wrong with one is said of that one alone.

The program goes to the host as one file, which is written only where it is not there yet, under its own digest. Nothing
is installed, and nothing of the host's is changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Optional

from sqlalchemy import Engine, update

from interlock.errors import InterlockError
from interlock.manager.errors import GarbledAnswer, HostError, OldPython, WrongClock
from interlock.manager.inventory import FAILED, NOT_OURS, REACHABLE, Entry, Known
from interlock.manager.link import Answer, Link
from interlock.manager.package_sets import intern_set
from interlock.manager.tables import HOSTS

FOLDER = "/var/lib/interlock/pushed"
AT_A_TIME = 50
# sshd holds back new connections from ten unfinished ones on (MaxStartups); jump hosts meet all of them.
HANDSHAKES = 8
ASK_SECONDS, PUSH_SECONDS = 120.0, 120.0
CLOCK_LIMIT = 300.0
FORMAT = 1
PYTHONS = ("python3", "python3.13", "python3.12", "python3.11", "python3.9", "/usr/libexec/platform-python")
# Says which Python can run it, and whether the file is there already; one round trip.
LOOK = """
for one in {pythons}; do
  if "$one" -I -c 'import sys, rpm; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then echo "python $one"; break; fi
done
command -v python3 >/dev/null && python3 -I -c 'import sys; print("found", sys.version.split()[0])'
test -f {path} && echo there
if test -e /etc/vmware-release; then echo "product $(head -n 1 /etc/vmware-release)"; fi
true
"""
Connect = Callable[[Entry], AbstractAsyncContextManager[Link]]
Tell = Callable[["Seen"], None]


@dataclass(frozen=True)
class Seen:
    """What came of asking one host: an answer, or why there is none."""

    known: Known
    answer: Optional[Mapping[str, Any]] = None
    error: Optional[InterlockError] = None
    product: str = ""


@dataclass(frozen=True)
class Scanner:
    """How hosts are asked. ``program`` is the zipapp; ``now`` gives seconds since 1970."""

    connect: Connect
    program: bytes
    now: Callable[[], float]

    @property
    def path(self) -> str:
        """Where the program lies on a host."""
        return f"{FOLDER}/interlock-{hashlib.sha256(self.program).hexdigest()[:16]}.pyz"

    async def ask(self, known: Known) -> Seen:
        """Ask one host; never raises but for what is wrong with us."""
        if known.entry.product:
            return Seen(known, product=known.entry.product)
        try:
            async with self.connect(known.entry) as link:
                return await self._asked(known, link)
        except HostError as error:
            return Seen(known, error=error)

    async def _asked(self, known: Known, link: Link) -> Seen:
        python, product = await self.prepare(link)
        if product:
            return Seen(known, product=product)
        answer = self._read(link.name, await link.run([python, self.path, "inventory"], ASK_SECONDS))
        off = float(answer["now"]) - self.now()
        if abs(off) > CLOCK_LIMIT:
            return Seen(known, answer, WrongClock(host=link.name, seconds=f"{off:+.0f}"))
        return Seen(known, answer)

    async def prepare(self, link: Link) -> tuple[str, str]:
        """Bring the program where it is not there; return the Python for it, or what the host is if it is not ours."""
        script = LOOK.format(pythons=" ".join(PYTHONS), path=self.path)
        said = (await link.run(["sh", "-c", script], ASK_SECONDS)).stdout
        words = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
        if "product" in words:
            return "", words["product"][:200]
        if "python" not in words:
            found = f"it has Python {words['found']}" if "found" in words else "there is none"
            raise OldPython(host=link.name, detail=f"{found}, or rpm's bindings are missing")
        if "there" not in said.splitlines():
            await link.put(self.program, self.path, PUSH_SECONDS)
        return words["python"], ""

    @staticmethod
    def _read(name: str, answer: Answer) -> Mapping[str, Any]:
        try:
            row = json.loads(answer.stdout)
        except (ValueError, RecursionError):
            said = (answer.stderr or answer.stdout).strip()[:200]
            raise GarbledAnswer(host=name, detail=f"status {answer.status}, {said!r}") from None
        if not isinstance(row, dict):
            raise GarbledAnswer(host=name, detail="it is no object")
        if "error" in row:
            raise HostError(host=name, detail=str(row.get("message", row["error"]))[:400])
        if row.get("format") != FORMAT:
            raise GarbledAnswer(host=name, detail=f"its format is {str(row.get('format'))[:20]}, known is {FORMAT}")
        packages, now = row.get("packages"), row.get("now")
        if not isinstance(packages, list) or not all(isinstance(one, str) and len(one) < 512 for one in packages):
            raise GarbledAnswer(host=name, detail="its packages are no list of names")
        if isinstance(now, bool) or not isinstance(now, (int, float)):
            raise GarbledAnswer(host=name, detail="it does not say what time it is")
        return row


async def ask_all(scanner: Scanner, hosts: Sequence[Known], at_a_time: int = AT_A_TIME) -> AsyncIterator[Seen]:
    """Yield what each host says, as it comes."""
    limit = asyncio.Semaphore(at_a_time)

    async def one(known: Known) -> Seen:
        async with limit:
            return await scanner.ask(known)

    tasks = [asyncio.ensure_future(one(known)) for known in hosts]
    try:
        for done in asyncio.as_completed(tasks):
            yield await done
    finally:
        for task in tasks:
            task.cancel()


def record(engine: Engine, seen: Seen, now: float) -> None:
    """Write down what a host said, or that it could not be asked; what was known of it before then stays."""
    row: dict[str, Any] = {"state": REACHABLE, "reason": "", "seen_at": now}
    if seen.product:
        row = {"state": NOT_OURS, "reason": f"{seen.product} is not an RPM system of ours: not affected"}
    if seen.error is not None:
        row |= {"state": FAILED, "reason": str(seen.error)}
        if seen.answer is None:
            row.pop("seen_at")
    with engine.begin() as connection:
        if seen.answer is not None:
            row |= {"facts": seen.answer.get("facts"), "status": seen.answer.get("status")}
            row["package_set"] = intern_set(connection, seen.answer["packages"])
        connection.execute(update(HOSTS).where(HOSTS.c.id == seen.known.id).values(**row))
