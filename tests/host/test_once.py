"""A wish with a name happens once, however often and by however many it is asked for; its events can be picked up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import Host

from interlock.lab import verbs

DEPOTS = {number: f"/srv/depots/current-updates-{number}" for number in (2, 3, 4, 5)}


@pytest.fixture(scope="module")
def host(new_host: Callable[..., Host]) -> Iterator[Host]:
    made = new_host("current")
    yield made
    verbs.down(made.lab, [made.name], False)


def wish(host: Host, name: str, number: int, *more: str) -> Any:
    done = host.update(DEPOTS[number], "--id", name, "--json", *more)
    return {"status": done.status, **json.loads(done.stdout)}


def ended(host: Host, name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Follow a wish by asking, as a manager does; return its events and the last answer."""
    events: list[dict[str, Any]] = []
    offset, deadline = 0, time.monotonic() + 60
    while True:
        answer = host.json("operation", name, "--since", str(offset))
        events += answer["events"]
        offset = answer["offset"]
        if answer["end"] is not None:
            return events, answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)


def operations(host: Host) -> list[str]:
    return [row["id"] for row in host.json("history")]


def test_asked_again_it_is_the_same_operation(host: Host) -> None:
    assert host.json("operation", "w-2") == {"format": 1, "operation": None}
    first = wish(host, "w-2", 2, "--detach")
    again = wish(host, "w-2", 2)
    assert again["operation"] == first["operation"]
    assert (again["status"], again["again"], again["end"]["state"]) == (0, True, "done")
    events, answer = ended(host, "w-2")
    assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
    assert (answer["operation"], answer["state"]) == (first["operation"], "done")
    assert host.json("operation", first["operation"])["offset"] == answer["offset"]
    assert wish(host, "w-2", 3)["operation"] == first["operation"]
    assert operations(host) == [first["operation"]]


def test_of_two_who_ask_at_once_one_makes_it(host: Host) -> None:
    before = operations(host)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: host.update(DEPOTS[3], "--id", "w-3", "--json"), range(3)))
    # Who comes while it runs, and has not seen it before, is told who is at work.
    assert {one.status for one in answers} <= {0, 6}
    assert any(one.status == 0 for one in answers)
    (new,) = set(operations(host)) - set(before)
    assert ended(host, "w-3")[1]["operation"] == new
    assert host.run("rpm", "-q", "lab-tool-01", timeout=20).stdout.startswith("lab-tool-01-3-")


def test_who_asked_may_be_killed_and_ask_again(host: Host) -> None:
    before = operations(host)
    for seconds in ("0.2", "0.5", "0.8", "1.1", "1.5"):
        host.shell(
            f"timeout -s KILL {seconds} interlock update --yes --depot {DEPOTS[4]} --id w-4 >/dev/null", check=False
        )
    assert wish(host, "w-4", 4)["end"]["state"] == "done"
    (new,) = set(operations(host)) - set(before)
    assert [one["type"] for one in ended(host, "w-4")[0]].count("operation.ended") == 1
    assert ended(host, "w-4")[1]["operation"] == new


@pytest.mark.parametrize("name", ["../x", "a b", "-x", "x" * 200])
def test_what_cannot_be_a_name_is_refused(host: Host, name: str) -> None:
    done = host.update(DEPOTS[5], f"--id={name}")
    assert (done.status, "--id cannot be" in done.stderr) == (2, True)


def test_an_operation_whose_maker_was_killed_before_it_began_is_begun_by_who_asks_again(host: Host) -> None:
    made = host.update(DEPOTS[5], "--id", "w-5", "--yes", INTERLOCK_TRACE="operation.created=run:kill -9 $PPID")
    assert made.status != 0
    assert host.json("operation", "w-5")["state"] == "staged"
    answer = wish(host, "w-5", 5)
    assert (answer["again"], answer["end"]["state"]) == (True, "done")
    assert host.run("rpm", "-q", "lab-tool-01", timeout=20).stdout.startswith("lab-tool-01-5-")
