"""Hosts that are not there: they speak what real ones speak, with seeded delays and faults, for scale and for chaos.

The manager drives them through the same `Link` as hosts behind ssh, with its real workflows and its real database. What
a host has done outlives the manager where the fleet is given a file; the host goes on from what is in it.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from interlock.manager import errors
from interlock.manager.inventory import Entry
from interlock.manager.link import Answer

# What can be wrong with a host, and what a rollout makes of it.
FAULTS = {
    "gone": "unreachable", "key": "unreachable", "sudo": "unreachable", "python": "unreachable", "full": "unreachable",
    "garbage": "unreachable", "fails": "rolled-back", "held": "held", "refuses": "refused", "sick": "unhealthy",
}  # fmt: skip
# What passes: the connection breaks, before or after what was asked for took effect.
BREAKS = 0.05
STATUS = {"fails": 4, "held": 5}
STATE = {0: "done", 4: "rolled-back", 5: "held"}


@dataclass
class SimulatedFleet:
    """Hosts by name: ``share`` of them have a fault, and ``breaks`` of all questions are lost, or their answers.

    An upgrade takes ``seconds`` on average, a round trip ``delay`` seconds.
    """

    seed: int
    share: float = 0.05
    seconds: float = 0.0
    delay: float = 0.0
    file: str = ":memory:"
    breaks: float = BREAKS
    at_work: int = 0
    most_at_work: int = 0
    _asked: Counter[str] = field(default_factory=Counter, repr=False)
    _database: sqlite3.Connection = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._database = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS operations"
            " (wish TEXT PRIMARY KEY, host TEXT, number TEXT, begun REAL, ends REAL, status INTEGER)"
        )

    def fault(self, name: str) -> str:
        """Return what is wrong with a host, or nothing: the same for the same seed."""
        chance = random.Random(f"{self.seed}:{name}")
        return chance.choice(sorted(FAULTS)) if chance.random() < self.share else ""

    def luck(self, name: str) -> float:
        """Return a number from 0 to 1 for a host's next question: the same for the same seed and question."""
        self._asked[name] += 1
        return random.Random(f"{self.seed}:{name}:{self._asked[name]}").random()

    def expected(self, name: str) -> str:
        """Return what a rollout has to come to on a host."""
        return FAULTS.get(self.fault(name), "done")

    def upgrades(self, name: str) -> int:
        """Return how often a host was upgraded: by the host's own record."""
        row = self._database.execute("SELECT count(*) FROM operations WHERE host = ?", (name,)).fetchone()
        return int(row[0])

    @asynccontextmanager
    async def connect(self, entry: Entry) -> AsyncIterator[SimulatedLink]:
        """Give a connection, or what is wrong with the way to the host."""
        await asyncio.sleep(self.delay)
        kind = self.fault(entry.name)
        if kind == "gone":
            raise errors.Unreachable(host=entry.name, detail="no route to host")
        if kind == "key":
            raise errors.WrongHostKey(host=entry.name)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            yield SimulatedLink(self, entry.name, kind)
        finally:
            self.at_work -= 1

    def begin(self, name: str, wish: str, now: float) -> str:
        """Begin an upgrade, once for each wish, and return its number."""
        chance = random.Random(f"{self.seed}:{name}:{wish}")
        status = STATUS.get(self.fault(name), 0)
        ends = now + self.seconds * chance.uniform(0.5, 1.5)
        self._database.execute(
            "INSERT OR IGNORE INTO operations (wish, host, number, begun, ends, status) VALUES (?, ?, ?, ?, ?, ?)",
            (wish, name, f"op-{chance.getrandbits(32):08x}", now, ends, status),
        )
        return str(self.find(wish)["number"])

    def find(self, wish: str) -> dict[str, Any]:
        """Return what is known of a wish; nothing where nobody has made it."""
        found = self._database.execute(
            "SELECT number, ends, status FROM operations WHERE wish = ? OR number = ?", (wish, wish)
        ).fetchone()
        return dict(zip(("number", "ends", "status"), found)) if found else {}


class SimulatedLink:
    """A connection to a host that is not there."""

    def __init__(self, fleet: SimulatedFleet, name: str, fault: str) -> None:
        self.fleet, self.host, self.fault = fleet, name, fault

    @property
    def name(self) -> str:
        """The host's name."""
        return self.host

    async def run(self, words: Sequence[str], timeout: float) -> Answer:
        """Do what a host would do, and sometimes lose the question, or the answer."""
        await asyncio.sleep(self.fleet.delay)
        lost = self.fleet.luck(self.host)
        if lost < self.fleet.breaks / 2:
            raise errors.Unreachable(host=self.host, detail="the connection broke")
        answer = self._answer(list(words), asyncio.get_running_loop().time())
        if lost < self.fleet.breaks:
            raise errors.Unreachable(host=self.host, detail="the connection broke")
        return answer

    async def put(self, content: bytes, path: str, timeout: float) -> None:
        """Take a file, if there is space."""
        if self.fault == "full":
            raise errors.HostDiskFull(host=self.host, detail=f"{path}: No space left on device")

    def _answer(self, words: list[str], now: float) -> Answer:
        if self.fault == "sudo":
            raise errors.NoSudo(host=self.host)
        if words[0] == "sh":
            return self._shell(words[2])
        if self.fault == "garbage":
            return Answer(0, "Welcome to the machine!", "")
        verb, rest = words[2], words[3:]
        made = {"operation": self._operation, "update": self._update, "rollback": self._rollback}
        row = made[verb](rest, now) if verb in made else {"hold": None, "interrupted": None}
        return Answer(int(row.get("exit_status", 0)), json.dumps(row), "")

    def _shell(self, script: str) -> Answer:
        if "boot_id" in script:
            return Answer(0, f"boot {self.host}\n", "")
        if "version_info" in script:
            there = "" if self.fault == "full" else "there\n"
            return Answer(0, "found 3.6.8\n" if self.fault == "python" else f"python python3\n{there}", "")
        return Answer(1, "", "it does not answer") if self.fault == "sick" else Answer(0, "", "")

    def _operation(self, words: list[str], now: float) -> dict[str, Any]:
        found = self.fleet.find(words[0])
        if not found:
            return {"format": 1, "operation": None}
        over = now >= found["ends"]
        state = STATE[found["status"]] if over else "applying"
        end = {"exit_status": found["status"], "message": f"simulated: {state}", "op": found["number"]}
        return {
            "format": 1, "operation": found["number"], "state": state, "running": not over, "events": [], "offset": 0,
            "end": end if over else None, "reboot": False,
        }  # fmt: skip

    def _update(self, words: list[str], now: float) -> dict[str, Any]:
        if self.fault == "refuses":
            return {"error": "refused", "exit_status": 3, "message": "Refused: simulated.", "hint": "Ask again."}
        wish = words[words.index("--id") + 1]
        return {"operation": self.fleet.begin(self.host, wish, now), "detached": True}

    def _rollback(self, words: list[str], now: float) -> dict[str, Any]:
        return {"operation": words[0]}
