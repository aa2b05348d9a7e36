"""What hosts answer when they are asked, and what is made of answers without sense: a host's trouble stays its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from interlock.manager import inventory
from interlock.manager.errors import (
    GarbledAnswer,
    HostDiskFull,
    HostError,
    HostTimedOut,
    OldPython,
    Unreachable,
    WrongClock,
)
from interlock.manager.inventory import Entry, Known
from interlock.manager.link import Answer, Link
from interlock.manager.scan import Scanner, Seen, ask_all, record
from interlock.manager.store import open_store

NOW = 1_800_000_000.0
GOOD: dict[str, Any] = {
    "format": 1,
    "now": NOW + 3,
    "packages": ["a-1-1.noarch"],
    "facts": {},
    "status": {"hold": None},
}


class MadeLink:
    """A host of our own making: it says what a test wants, and counts what is sent to it."""

    def __init__(self, name: str, look: str, answer: object, error: HostError | None = None) -> None:
        self.name, self.look, self.answer, self.error = name, look, answer, error
        self.put_files: list[str] = []

    async def run(self, words: Sequence[str], timeout: float) -> Answer:
        if words[0] == "sh":
            return Answer(0, self.look, "")
        if self.error is not None:
            raise self.error
        text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return Answer(0, text, "noise")

    async def put(self, content: bytes, path: str, timeout: float) -> None:
        assert content == b"program"
        self.put_files.append(path)


def ask(link: MadeLink, entry: Entry | None = None) -> Seen:
    @asynccontextmanager
    async def connect(_: Entry) -> AsyncIterator[Link]:
        yield link

    scanner = Scanner(connect, b"program", lambda: NOW)
    return asyncio.run(scanner.ask(Known(1, entry or Entry(link.name))))


def test_the_program_is_sent_where_it_is_not_there_yet() -> None:
    link = MadeLink("h", "python python3\nfound 3.11.2\n", GOOD)
    assert ask(link).error is None
    assert len(link.put_files) == 1
    link = MadeLink("h", "python python3\nfound 3.11.2\nthere\n", GOOD)
    seen = ask(link)
    assert (seen.error, link.put_files) == (None, [])
    assert seen.answer == GOOD


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        ("", GarbledAnswer, "status 0"), ("Welcome!\n{}", GarbledAnswer, "noise"), ("[]", GarbledAnswer, "no object"),
        ("[" * 100_000, GarbledAnswer, "status"), ({**GOOD, "format": 2}, GarbledAnswer, "format is 2"),
        ({**GOOD, "packages": "all"}, GarbledAnswer, "packages"),
        ({**GOOD, "packages": [1]}, GarbledAnswer, "packages"),
        ({**GOOD, "packages": ["x" * 600]}, GarbledAnswer, "packages"),
        ({**GOOD, "now": "noon"}, GarbledAnswer, "time"),
        ({**GOOD, "now": True}, GarbledAnswer, "time"), ({**GOOD, "now": NOW + 86_400}, WrongClock, "+86400 s"),
        ({**GOOD, "now": NOW - 86_400}, WrongClock, "-86400 s"),
        ({"error": "held", "message": "it is on hold"}, HostError, "it is on hold"),
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_named(answer: object, error: type[HostError], why: str) -> None:
    seen = ask(MadeLink("h", "python python3\nthere\n", answer))
    assert type(seen.error) is error
    assert why in str(seen.error)
    assert "host h" in str(seen.error)


@pytest.mark.parametrize(
    ("look", "why"),
    [("", "there is none"), ("found 3.6.8\n", "it has Python 3.6.8"), ("there\n", "there is none")],
)
def test_a_host_without_a_python_for_it_says_what_it_has(look: str, why: str) -> None:
    seen = ask(MadeLink("h", look, GOOD))
    assert isinstance(seen.error, OldPython)
    assert why in str(seen.error)


def test_what_is_not_ours_is_not_asked() -> None:
    assert ask(MadeLink("h", "product VMware ESXi 8.0.2\n", GOOD)).product == "VMware ESXi 8.0.2"
    link = MadeLink("h", "", "", Unreachable(host="h", detail="never asked"))
    assert ask(link, Entry("h", product="ESXi")).product == "ESXi"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_store(f"sqlite:///{tmp_path / 'manager.db'}")


def test_one_hosts_trouble_stays_its_own(engine: Engine) -> None:
    errors: dict[str, HostError | None] = {
        "a": None, "b": HostTimedOut(host="b", seconds="120"), "c": HostDiskFull(host="c", detail="/var"), "d": None,
    }  # fmt: skip
    inventory.bring(engine, [Entry(name) for name in errors])

    @asynccontextmanager
    async def connect(entry: Entry) -> AsyncIterator[Link]:
        yield MadeLink(entry.name, "python python3\nthere\n", GOOD, errors[entry.name])

    async def every() -> list[Seen]:
        return [one async for one in ask_all(Scanner(connect, b"program", lambda: NOW), inventory.choose(engine), 2)]

    for seen in asyncio.run(every()):
        record(engine, seen, NOW)
    found = {one.entry.name: one for one in inventory.choose(engine)}
    assert {name: one.state for name, one in found.items()} == {
        "a": "reachable", "b": "failed", "c": "failed", "d": "reachable"}  # fmt: skip
    assert found["a"].package_set == found["d"].package_set is not None
    assert "120 s" in found["b"].reason
    assert found["b"].seen_at is None


def test_what_was_known_before_stays_when_a_host_cannot_be_asked(engine: Engine) -> None:
    inventory.add(engine, Entry("a"))
    (known,) = inventory.choose(engine)
    record(engine, Seen(known, GOOD), NOW)
    record(engine, Seen(known, error=Unreachable(host="a", detail="no route")), NOW + 60)
    (known,) = inventory.choose(engine)
    assert (known.state, known.seen_at, known.status) == ("failed", NOW, {"hold": None})
    assert known.package_set is not None
