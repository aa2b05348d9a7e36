"""How long what an upgrade replaced is kept: by age, by number, by space; no more is dropped than the policy says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from made import MadeProc, host_at

from interlock.host.context import Host
from interlock.upgrade import state as states
from interlock.upgrade.journal import Journal
from interlock.upgrade.operation import Operation, Request, create_operation
from interlock.upgrade.undo_policy import DAY, BadPolicy, UndoPolicy, expire, read_policy, undoable, until


def put(host: Host, text: str) -> None:
    os.makedirs(os.path.dirname(host.paths.policy), exist_ok=True)
    Path(host.paths.policy).write_text(text)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = MadeProc(tmp_path / "proc")
    made.process(os.getpid(), command="interlock engine", started=100)
    return host_at(tmp_path, made.reader, {})


def done(host: Host) -> Operation:
    """Make an operation that can be taken back; the next one begins an hour later."""
    operation = create_operation(host, Request("/depot", []), {}, {})
    previous = f"{host.paths.root}/previous-{operation.id}"
    os.makedirs(previous)
    journal = Journal(operation.journal, host.clock, host.proc)
    journal.state(states.Committed(previous=previous))
    journal.state(states.Done())
    journal.close()
    store = Path(host.paths.undo, operation.id)
    store.mkdir(parents=True)
    for name in ("manifest.jsonl", "complete", "after.jsonl"):
        (store / name).write_text("")
    host.clock.sleep(3600)
    return operation


def test_the_usual_policy(host: Host) -> None:
    assert read_policy(host.paths) == UndoPolicy(14.0, 2, 512)
    put(host, '{"undo": {"days": 0.5, "operations": 5}}')
    assert read_policy(host.paths) == UndoPolicy(0.5, 5, 512)
    put(host, "{}")
    assert read_policy(host.paths) == UndoPolicy()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must be objects"),
        ('{"undo": 3}', "must be objects"),
        ("{", "policy.json"),
        ('{"undo": {"weeks": 3}}', "no `weeks`"),
        ('{"undo": {"days": "3"}}', "`days` is '3'"),
        ('{"undo": {"days": -1}}', "`days` is -1"),
        ('{"undo": {"operations": 1.5}}', "`operations` is 1.5"),
        ('{"undo": {"operations": true}}', "`operations` is True"),
    ],
)
def test_a_bad_policy_is_named(host: Host, text: str, said: str) -> None:
    put(host, text)
    with pytest.raises(BadPolicy, match=re.escape(said)):
        read_policy(host.paths)


def test_what_is_too_old_goes(host: Host) -> None:
    policy = UndoPolicy(days=1, operations=9, least_free_mib=0)
    first, second = done(host), done(host)
    assert until(first, policy) == first.records()[-1].at + DAY
    host.clock.sleep(DAY - 2 * 3600)
    assert [one.id for one in expire(host, policy)] == [first.id]
    assert [one.id for one in undoable(host)] == [second.id]
    assert not os.path.exists(f"{host.paths.root}/previous-{first.id}")
    assert os.path.exists(f"{host.paths.root}/previous-{second.id}")


def test_only_the_last_ones_are_kept(host: Host) -> None:
    made = [done(host) for _ in range(4)]
    policy = UndoPolicy(days=9, operations=3, least_free_mib=0)
    assert [one.id for one in expire(host, policy)] == [made[0].id]
    assert [one.id for one in expire(host, policy, coming=1)] == [made[1].id]
    assert expire(host, policy) == []


def test_without_space_the_oldest_go_first(host: Host) -> None:
    made = [done(host) for _ in range(3)]
    wanted = (os.statvfs(host.paths.state).f_bavail * os.statvfs(host.paths.state).f_frsize >> 20) * 2
    dropped = expire(host, UndoPolicy(days=9, operations=9, least_free_mib=wanted))
    assert [one.id for one in dropped] == [one.id for one in made]
    assert undoable(host) == []


def test_what_was_moved_aside_is_kept(host: Host) -> None:
    operation = done(host)
    aside = Path(host.paths.undo, operation.id, "aside/etc")
    aside.mkdir(parents=True)
    (aside / "own").write_text("somebody's")
    expire(host, UndoPolicy(days=0))
    assert (aside / "own").read_text() == "somebody's"
    assert sorted(os.listdir(Path(host.paths.undo, operation.id))) == ["aside"]
