"""The demo: the failure of 2010 happens to plain rpm on a real host, and not to Interlock in the same storm.

How plain rpm fails is chance: it hangs, or Berkeley DB refuses in the middle, or before anything was changed. The
demo tries fresh hosts until rpm has hung or has failed with files changed, and reports every try.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

from interlock.errors import Busy
from interlock.lab import evidence, plain, preflight, state, verbs
from interlock.lab.cache import try_locked
from interlock.lab.demo_report import Listener, Result, Upgrade
from interlock.lab.depots import release_depot
from interlock.lab.handle import HostHandle
from interlock.lab.hosts import Lab
from interlock.lab.releases import Release, find_release, predecessor
from interlock.lab.waiting import Waiting, waiting_processes
from interlock.system.clock import age
from interlock.system.run import pasteable

LOCK = "demo.lock"
PREFIXES = ("demo-plain-", "demo-interlock-")
TRIES = 3
PLAIN_LIMIT = 40.0
INTERLOCK_LIMIT = 240.0
QUERY_LIMIT = 5.0
# Another try begins only as long as the whole demo stays well under two minutes.
LATEST_TRY = 45.0


def run_demo(lab: Lab, listener: Listener) -> Result:
    """Run the whole demo, building images first where they are missing; the hosts stay up."""
    preflight.check_machine(lab.cache, lab.runner)
    lab.cache.home.mkdir(parents=True, exist_ok=True)
    with _only_demo(lab):
        remove_hosts(lab)
        verbs.build(lab, [])
        return Demo(lab, listener).run()


@contextmanager
def _only_demo(lab: Lab) -> Iterator[None]:
    """Two demos would remove each other's hosts: the second is told who is at work."""
    owner = lab.cache.home / f"{LOCK}.owner"
    with try_locked(lab.cache, LOCK) as held:
        if not held:
            raise Busy(owner=f"interlock lab demo ({owner.read_text()})", age=age(time.time() - owner.stat().st_mtime))
        owner.write_text(f"pid {os.getpid()}")
        yield


def remove_hosts(lab: Lab) -> list[str]:
    """Remove the hosts of this or an earlier demo."""
    if not verbs.resume(lab):
        return []
    names = [record.name for record in state.load_all(lab.cache) if record.name.startswith(PREFIXES)]
    return verbs.down(lab, names, everything=False) if names else []


class Demo:
    """One run of the demo."""

    def __init__(self, lab: Lab, listener: Listener) -> None:
        self.lab, self.listener = lab, listener
        self.begun = time.monotonic()

    def run(self) -> Result:
        """Plain rpm in the storm, Interlock in the storm, Interlock beside a reader."""
        self.listener.act("Plain rpm, on Berkeley DB, while an agent runs `rpm -qa` and is killed in it")
        tries = self.plain_tries()
        self.listener.act("The same upgrade by Interlock, in the same storm, from before its first moment")
        storm = self.interlock("demo-interlock-classic", "current", "storm")
        self.listener.act("The next one, on SQLite, beside an agent that reads all the time and is never killed")
        reader = self.interlock("demo-interlock-current", "next", "reader")
        return Result(tuple(tries), (storm, reader), round(time.monotonic() - self.begun, 1))

    def _up(self, name: str, release: str, agents: Sequence[str]) -> HostHandle:
        verbs.up(self.lab, name, release, None, agents)
        return HostHandle(self.lab, name)

    def plain_tries(self) -> list[Upgrade]:
        """Upgrade fresh hosts by plain rpm until one is left between two states."""
        found: list[Upgrade] = []
        while not found or (len(found) < TRIES and time.monotonic() - self.begun < LATEST_TRY):
            found.append(self.plain(self._up(f"demo-plain-{len(found) + 1}", "classic", [])))
            if found[-1].between:
                break
        return found

    def plain(self, host: HostHandle) -> Upgrade:
        """Upgrade one host by plain rpm; the storm breaks loose when rpm begins to change files."""
        release = find_release("current")
        command = plain.upgrade_command(release_depot(release))
        self.listener.command(host.name, command)
        run = plain.watch(host, command, PLAIN_LIMIT, lambda: self._storm(host))
        upgrade = Upgrade(
            host.name, "plain rpm", "classic", release.name, "storm", command, run.outcome, run.status, run.seconds,
            run.said, evidence.storm_answers(host), evidence.database_state(host),
            evidence.changed_files(host, "classic"), run.processes,
        )  # fmt: skip
        self.listener.ended(upgrade)
        return self._after_plain(host, upgrade)

    def _storm(self, host: HostHandle) -> None:
        host.switch_agent("storm", on=True)
        self.listener.note("rpm changes the first files, and the agent begins to query")

    def _after_plain(self, host: HostHandle, upgrade: Upgrade) -> Upgrade:
        """Do what people do then: stop the agents and query; press the reset button and query."""
        host.switch_agent("storm", on=False)
        query, processes = _query_and_look(host)
        seconds = host.reset()
        after = "" if seconds is None else host.describe_query(QUERY_LIMIT)
        known = replace(
            upgrade, query=query, query_processes=processes, reboot_by="reset", reboot_seconds=seconds,
            query_after_reboot=after,
        )  # fmt: skip
        self.listener.aftermath(known)
        return known

    def interlock(self, name: str, target: str, agent: str) -> Upgrade:
        """Upgrade a host by Interlock while an agent works from the first moment on."""
        release = find_release(target)
        before = predecessor(release)
        assert before is not None, f"nothing can be upgraded to {target}"
        host = self._up(name, before.name, [agent])
        argv = ["interlock", "update", "--depot", f"/srv/depots/{release_depot(release)}", "--yes"]
        self.listener.command(name, pasteable(argv))
        upgrade = _guarded(host, before, release, agent, argv)
        self.listener.ended(upgrade)
        query, seconds = host.describe_query(QUERY_LIMIT), host.reboot()
        after = "" if seconds is None else host.describe_query(QUERY_LIMIT)
        # The host stays up for a look; its agent would keep a processor busy for ever.
        host.switch_agent(agent, on=False)
        known = replace(upgrade, query=query, reboot_by="reboot", reboot_seconds=seconds, query_after_reboot=after)
        self.listener.aftermath(known)
        return known


def _query_and_look(host: HostHandle) -> tuple[str, tuple[Waiting, ...]]:
    """Run one query; where it takes long, see who waits for whom meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        query = pool.submit(host.describe_query, QUERY_LIMIT)
        wait([query], timeout=QUERY_LIMIT / 2)
        processes = () if query.done() else waiting_processes(host)
        return query.result(), processes


def _guarded(host: HostHandle, before: Release, after: Release, agent: str, argv: Sequence[str]) -> Upgrade:
    storm = evidence.storm_answers(host)
    begin = time.time()
    done = host.run(argv, INTERLOCK_LIMIT)
    end = time.time()
    if agent == "storm":
        answers, slowest = evidence.storm_answers(host).since(storm), 0.0
    else:
        answers = evidence.reader_answers(host, begin, end)
        slowest = evidence.reader_answers(host, 0.0, begin).slowest
    return Upgrade(
        host.name, "Interlock", before.name, after.name, agent, pasteable(argv), operation_state(host), done.status,
        round(end - begin, 1), done.stderr.strip(), answers, evidence.database_state(host),
        evidence.changed_files(host, before.name), output=tuple(done.stdout.splitlines()), slowest_before=slowest,
    )  # fmt: skip


def operation_state(host: HostHandle) -> str:
    """Return how the host's last operation ended, from its journal: ``committed``, or the state it is in."""
    try:
        rows = json.loads(host.run(["interlock", "history", "--json"], 20).stdout)
    except ValueError:
        return "unknown"
    last = rows[-1]["state"] if rows else "none"
    return "committed" if last == "done" else str(last)
