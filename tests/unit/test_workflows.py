"""The real workflows and the real database over hosts that are not there, with every kind of fault."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from interlock.manager import inventory, rollouts, workflows
from interlock.manager.inventory import Entry
from interlock.manager.rollouts import Spec
from interlock.manager.scan import Scanner
from interlock.manager.simulated import FAULTS, SimulatedFleet
from interlock.manager.store import open_store
from interlock.manager.waves import Amount, cut

SEED = 20261123


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_store(f"sqlite:///{tmp_path / 'manager.db'}")


@pytest.fixture
def fleet(tmp_path: Path, engine: Engine) -> Iterator[SimulatedFleet]:
    made = SimulatedFleet(SEED, share=0.5, seconds=0.2, file=str(tmp_path / "fleet.db"))
    scanner = Scanner(made.connect, b"program", lambda: 0.0)
    # Patience is counted in tries: what is lost by chance is found again however slow the machine is.
    tries = itertools.count()
    context = workflows.Context(engine, b"program", scanner, 0.05, 0.02, monotonic=lambda: float(next(tries)))
    workflows.launch(context, f"sqlite:///{tmp_path / 'engine.db'}", "test", 8)
    yield made
    workflows.end()


def rolled_out(engine: Engine, hosts: list[str], canary: int, wave: str, budget: str) -> rollouts.Standing:
    inventory.bring(engine, [Entry(name) for name in hosts])
    spec = Spec("r", "/depot", cut(hosts, canary, Amount.parse(wave)), health="true", budget=budget, patience=100)
    rollouts.create(engine, spec, time.time())
    workflows.begin("r").get_result(polling_interval_sec=0.1)
    return rollouts.standing(engine, "r")


def test_each_host_comes_to_what_is_wrong_with_it_and_is_upgraded_once(engine: Engine, fleet: SimulatedFleet) -> None:
    print(f"seed {SEED}")
    hosts = [f"h{number:02d}" for number in range(70)]
    assert {fleet.fault(name) for name in hosts} == {"", *FAULTS}
    standing = rolled_out(engine, hosts, 1, "100%", "100%")
    assert {str(one["host"]): one["outcome"] for one in standing.hosts} == {
        name: fleet.expected(name) for name in hosts
    }
    assert standing.state == "complete"
    begun = {name: fleet.upgrades(name) for name in hosts}
    assert set(begun.values()) == {0, 1}
    assert all(begun[name] == 1 for name in hosts if fleet.expected(name) == "done")
    assert fleet.most_at_work <= 8


def test_it_stops_at_the_right_host_and_says_the_arithmetic(engine: Engine, fleet: SimulatedFleet) -> None:
    names = [f"h{number:03d}" for number in range(200)]
    good = [name for name in names if not fleet.fault(name)][:27]
    gone = [name for name in names if fleet.fault(name) == "gone"][:3]
    hosts = [*good[:5], gone[0], *good[5:9], gone[1], gone[2], *good[9:]]
    standing = rolled_out(engine, hosts, 0, "1", "10%")
    assert standing.state == "stopped"
    assert standing.reason == (
        "3 (0 failed, 3 could not be reached) of a failure budget of 10% of the 30 hosts of this rollout = 3"
    )
    outcomes = {str(one["host"]): one["outcome"] for one in standing.hosts}
    assert [outcomes[name] for name in hosts[:12]] == ["done"] * 5 + ["unreachable"] + ["done"] * 4 + [
        "unreachable"
    ] * 2
    assert {outcomes[name] for name in hosts[12:]} == {"skipped"}
    assert sum(map(fleet.upgrades, hosts)) == 9


KILLED = """
    import sys, time, os, threading
    from pathlib import Path
    from interlock.manager import rollouts, workflows
    from interlock.manager.scan import Scanner
    from interlock.manager.simulated import SimulatedFleet
    from interlock.manager.store import open_store
    folder, limit = Path(sys.argv[1]), float(sys.argv[2])
    engine = open_store(f"sqlite:///{folder / 'manager.db'}")
    fleet = SimulatedFleet(%d, share=0.0, seconds=0.3, file=str(folder / "fleet.db"))
    scanner = Scanner(fleet.connect, b"program", lambda: 0.0)
    context = workflows.Context(engine, b"program", scanner, poll=0.05, again=0.05)
    workflows.launch(context, f"sqlite:///{folder / 'engine.db'}", "test", 4)
    if limit:
        threading.Timer(limit, lambda: os.kill(os.getpid(), 9)).start()
    workflows.begin("r").get_result(polling_interval_sec=0.1)
    os._exit(0)
"""


def test_killed_at_any_moment_it_goes_on_and_no_host_is_upgraded_twice(engine: Engine, tmp_path: Path) -> None:
    hosts = [f"h{number:02d}" for number in range(16)]
    inventory.bring(engine, [Entry(name) for name in hosts])
    rollouts.create(engine, Spec("r", "/depot", cut(hosts, 1, Amount.parse("50%"))), time.time())
    script = textwrap.dedent(KILLED % SEED)
    ended = [subprocess.run([sys.executable, "-c", script, str(tmp_path), limit], timeout=60, check=False).returncode
             for limit in ("0.3", "0.6", "0.9", "1.2", "0")]  # fmt: skip
    assert ended[-1] == 0
    assert -9 in ended
    fleet = SimulatedFleet(SEED, file=str(tmp_path / "fleet.db"))
    assert {name: fleet.upgrades(name) for name in hosts} == dict.fromkeys(hosts, 1)
    assert {one["outcome"] for one in rollouts.standing(engine, "r").hosts} == {"done"}
