"""Drives one host through one wish. Asking twice is harmless: the host knows the wish by its name.

A connection that breaks loses nothing: the host goes on by itself, and its events are picked up where they were left.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from interlock.manager.errors import GarbledAnswer, HostError
from interlock.manager.inventory import Entry
from interlock.manager.link import Answer, Link
from interlock.manager.scan import Scanner

START_SECONDS, ASK_SECONDS, BACK_SECONDS, HEALTH_SECONDS = 1800.0, 60.0, 3600.0, 300.0
POLL_SECONDS, AGAIN_SECONDS = 1.0, 5.0
DONE, FAILED, REFUSED, HELD, UNREACHABLE, UNHEALTHY, NOTHING, DENIED = (
    "done", "rolled-back", "refused", "held", "unreachable", "unhealthy", "nothing-to-do", "reboot-denied",
)  # fmt: skip
BACK, NOT_BACK = "taken-back", "not-taken-back"
GOOD = (DONE, NOTHING)
REFUSED_STATUS = 3
# Another boot has another id; a container shares the machine's, so the start of its first process counts as well.
BOOT = "cat /proc/sys/kernel/random/boot_id; cut -d ' ' -f 22 /proc/1/stat"
# The exit statuses of the program, as outcomes of a host.
OUTCOMES = {0: DONE, 3: REFUSED, 4: FAILED, 5: HELD, 6: REFUSED, 7: REFUSED}


@dataclass(frozen=True)
class Wish:
    """What a host is to do. ``name`` is the same however often it is asked."""

    name: str
    depot: str
    bulletins: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Driver:
    """How hosts are driven. ``patience`` is how long an unreachable one is tried again, in seconds.

    ``poll`` and ``again`` are the seconds between two looks at one that is at work, and two tries to reach one.
    """

    scanner: Scanner
    patience: float
    monotonic: Callable[[], float]
    poll: float = POLL_SECONDS
    again: float = AGAIN_SECONDS

    async def carry_out(self, entry: Entry, wish: Wish) -> dict[str, Any]:
        """Have a host carry out a wish, and return what came of it; never raises for what is wrong with the host."""
        until = self.monotonic() + self.patience
        while True:
            try:
                async with self.scanner.connect(entry) as link:
                    python, product = await self.scanner.prepare(link)
                    if product:
                        return _row(entry, REFUSED, f"{product} is not an RPM system of ours")
                    words = [python, self.scanner.path]
                    return await self._on(link, words, entry, wish)
            except HostError as error:
                if self.monotonic() > until:
                    return _row(entry, UNREACHABLE, f"{error} {error.advice}")
            await asyncio.sleep(self.again)

    async def boot(self, entry: Entry) -> str:
        """Return what tells this boot of a host from another; nothing where it cannot be reached."""
        until = self.monotonic() + self.patience
        while True:
            try:
                async with self.scanner.connect(entry) as link:
                    return await _boot(link)
            except HostError:
                if self.monotonic() > until:
                    return ""
            await asyncio.sleep(self.again)

    async def reboot(self, entry: Entry, before: str) -> dict[str, Any]:
        """Reboot a host by its own verdict, unless it is in another boot than ``before``; return what came of it.

        It counts as rebooted when it answers from another boot, is not held, and has nothing unfinished.
        """
        until, problem = self.monotonic() + self.patience, ""
        while self.monotonic() <= until:
            try:
                async with self.scanner.connect(entry) as link:
                    program = [(await self.scanner.prepare(link))[0], self.scanner.path]
                    if await _boot(link) != before:
                        return await self._up(link, program, entry)
                    answer = await link.run([*program, "reboot", "--yes", "--json"], ASK_SECONDS)
                    if answer.status == REFUSED_STATUS:
                        return {"outcome": DENIED, "detail": _reasons(answer)}
            except HostError as error:
                problem = f"{error} {error.advice}"
            await asyncio.sleep(self.again)
        return {"outcome": UNREACHABLE, "detail": f"it was to reboot, and has not come back: {problem}"}

    async def _up(self, link: Link, program: Sequence[str], entry: Entry) -> dict[str, Any]:
        status = _object(link, await link.run([*program, "status", "--json"], ASK_SECONDS))
        if status.get("hold") or status.get("interrupted"):
            return {"outcome": HELD, "detail": f"after the reboot: {status.get('hold') or 'something is unfinished'}"}
        return {"outcome": DONE, "detail": "rebooted"}

    async def healthy(self, entry: Entry, command: str) -> dict[str, Any]:
        """Run the user's own health check; return its outcome, tried again while the host cannot be reached."""
        until = self.monotonic() + self.patience
        while True:
            try:
                async with self.scanner.connect(entry) as link:
                    answer = await link.run(["sh", "-c", command], HEALTH_SECONDS)
                if answer.status == 0:
                    return {"outcome": DONE}
                said = (answer.stderr or answer.stdout).strip()[-300:]
                detail = f"the health check ended with status {answer.status}: {said}"
                return {"outcome": UNHEALTHY, "detail": detail}
            except HostError as error:
                if self.monotonic() > until:
                    return {"outcome": UNHEALTHY, "detail": f"the health check could not be made: {error}"}
            await asyncio.sleep(self.again)

    async def _on(self, link: Link, program: Sequence[str], entry: Entry, wish: Wish) -> dict[str, Any]:
        known = await self._ask(link, program, wish.name)
        if known["operation"] is None:
            bulletins = [word for one in wish.bulletins for word in ("--bulletin", one)]
            words = ["update", "--yes", "--json", "--detach", "--id", wish.name, "--depot", wish.depot, *bulletins]
            started = _object(link, await link.run([*program, *words, *wish.options], START_SECONDS))
            if "error" in started:
                outcome = OUTCOMES.get(int(started.get("exit_status", 1)), FAILED)
                return _row(entry, outcome, f"{started.get('message')} {started.get('hint', '')}".strip())
            if started.get("operation") is None:
                return _row(entry, NOTHING, "this host has all that applies")
        end = await self._end(link, program, wish.name)
        row = _row(entry, OUTCOMES.get(int(end["exit_status"]), FAILED), str(end["message"]), str(end["op"]))
        return {**row, "reboot": bool((await self._ask(link, program, wish.name)).get("reboot"))}

    async def _ask(self, link: Link, program: Sequence[str], name: str) -> dict[str, Any]:
        return _object(link, await link.run([*program, "operation", name, "--json"], ASK_SECONDS))

    async def _end(self, link: Link, program: Sequence[str], name: str) -> dict[str, Any]:
        while True:
            answer = await self._ask(link, program, name)
            if answer.get("end"):
                return dict(answer["end"])
            if not answer.get("running"):
                # Somebody has to bring the host to one side: by its own word, what was cut off is old or new then.
                await link.run([*program, "resume", "--json"], BACK_SECONDS)
                answer = await self._ask(link, program, name)
                state = str(answer.get("state"))
                if not answer.get("end"):
                    status = {"done": 0, "rolled-back": 4}.get(state, 5)
                    return {
                        "exit_status": status,
                        "message": f"its engine was cut off; it is {state}",
                        "op": answer["operation"],
                    }
            await asyncio.sleep(self.poll)

    async def take_back(self, entry: Entry, operation: str) -> dict[str, Any]:
        """Roll one operation of a host back, and return what came of it."""
        try:
            async with self.scanner.connect(entry) as link:
                python, _ = await self.scanner.prepare(link)
                words = [python, self.scanner.path, "rollback", operation, "--yes", "--json"]
                answer = await link.run(words, BACK_SECONDS)
                outcome = BACK if answer.status == 0 else NOT_BACK
                return _row(entry, outcome, answer.stderr.strip()[-300:], operation)
        except HostError as error:
            return _row(entry, NOT_BACK, str(error), operation)


def _row(entry: Entry, outcome: str, detail: str, operation: str = "") -> dict[str, Any]:
    return {"host": entry.name, "outcome": outcome, "detail": detail, "operation": operation}


async def _boot(link: Link) -> str:
    return " ".join((await link.run(["sh", "-c", BOOT], ASK_SECONDS)).stdout.split())


def _reasons(answer: Answer) -> str:
    try:
        found = json.loads(answer.stdout)
        reasons = [f"{one.get('subject')} {one.get('detail')}" for one in found.get("reasons", [])]
        return "; ".join(reasons) or str(found.get("message", ""))
    except (ValueError, AttributeError):
        return answer.stderr.strip()[-300:]


def _object(link: Link, answer: Answer) -> dict[str, Any]:
    try:
        row = json.loads(answer.stdout)
    except ValueError:
        said = (answer.stderr or answer.stdout).strip()[:200]
        raise GarbledAnswer(host=link.name, detail=f"status {answer.status}, {said!r}") from None
    if not isinstance(row, dict):
        raise GarbledAnswer(host=link.name, detail="it is no object")
    return row
