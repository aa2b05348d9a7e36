"""What becomes of an operation whose engine died, in each state that it can have died in."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from made import BOOT, MadeProc, host_at, make_bdb

from interlock.host.context import Host
from interlock.host.hold import Hold, put_on_hold, read_hold
from interlock.rpmdb.backend import Database
from interlock.upgrade import state as states
from interlock.upgrade.journal import Journal
from interlock.upgrade.operation import Operation, Request, create_operation
from interlock.upgrade.settle import interrupted, settle_dead

UP_TO = {
    "prepared": [],
    "applying": [states.Applying(worker=7)],
    "applied": [states.Applying(worker=7), states.Applied(failed_scripts=())],
    "verified": [
        states.Applying(worker=7),
        states.Applied(failed_scripts=()),
        states.Verified(files=1, packages=1),
    ],
}


@dataclass(frozen=True)
class Scene:
    """A host on which an engine (a process that is made up) works, and dies."""

    host: Host
    made: MadeProc
    database: Database
    operation: Operation
    shadow: str

    def journal(self, *entries: states.State | tuple[str, str, dict[str, object]]) -> None:
        journal = Journal(self.operation.journal, self.host.clock, self.host.proc)
        for entry in entries:
            if isinstance(entry, states.State):
                journal.state(entry)
            else:
                kind, name, data = entry
                {"intent": journal.intent, "outcome": journal.outcome}[kind](name, **data)
        journal.close()

    def isolate(self, kind: str = "shadow") -> tuple[str, str, dict[str, object]]:
        return ("intent", "isolate", {"kind": kind, "shadow": self.shadow, "database": self.database.path})

    def prepared(self, kind: str = "shadow") -> states.State:
        return states.Prepared(isolation=kind, database=self.database.path, shadow=self.shadow)

    def commit(self) -> tuple[str, str, dict[str, object]]:
        inode = os.stat(self.shadow).st_ino
        return ("intent", "commit", {"shadow": self.shadow, "inode": inode, "database": self.database.path})

    def exchange(self) -> None:
        os.rename(self.shadow, f"{self.shadow}.moved")
        os.rename(self.database.path, self.shadow)
        os.rename(f"{self.shadow}.moved", self.database.path)

    def die(self) -> list[str]:
        """End the engine; settle."""
        os.unlink(self.made.root / str(os.getpid()) / "stat")
        return settle_dead(self.host)

    def ended(self) -> list[str]:
        return [record.name for record in self.operation.records() if record.kind == "state"]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = MadeProc(tmp_path / "proc")
    made.process(os.getpid(), command="interlock engine", started=100)
    database = make_bdb(tmp_path / "lib/rpm")
    host = host_at(tmp_path, made.reader, {"rpm": f"{database.path}\nbdb\n{database.lock}\n"})
    operation = create_operation(host, Request("/depot", []), {}, {"files": {"a": "b"}, "directory": "/c"})
    shadow = Path(tmp_path, f"lib/.rpm.interlock-{operation.id}")
    shadow.mkdir()
    (shadow / "Packages").write_text("from the shadow")
    return Scene(host, made, database, operation, str(shadow))


def test_a_living_engine_is_left_alone(scene: Scene) -> None:
    scene.journal(scene.isolate(), scene.prepared(), states.Applying(worker=7))
    assert settle_dead(scene.host) == []
    assert interrupted(scene.host) is None
    assert scene.ended()[-1] == "applying"


def test_a_reused_pid_is_a_dead_engine(scene: Scene) -> None:
    scene.made.process(os.getpid(), started=101)
    assert interrupted(scene.host) == scene.operation
    assert len(settle_dead(scene.host)) == 1


def test_an_engine_of_an_earlier_boot_is_dead(scene: Scene) -> None:
    scene.made.put("sys/kernel/random/boot_id", BOOT[::-1])
    assert interrupted(scene.host) == scene.operation


def test_dead_before_it_had_begun(scene: Scene) -> None:
    (said,) = scene.die()
    assert said == f"operation {scene.operation.id} is rolled back: its engine died before anything was changed"
    assert scene.ended() == ["planned", "staged", "rolling-back", "rolled-back"]
    assert read_hold(scene.host.paths) is None
    assert interrupted(scene.host) is None


@pytest.mark.parametrize("prepared", [False, True], ids=["staged", "prepared"])
def test_dead_before_the_first_file(scene: Scene, prepared: bool) -> None:
    scene.journal(scene.isolate(), *([scene.prepared()] if prepared else []))
    scene.die()
    assert scene.ended()[-1] == "rolled-back"
    assert not os.path.exists(scene.shadow)
    assert Path(scene.database.path, "Packages").read_text() == "Packages from before\n"
    assert read_hold(scene.host.paths) is None


def test_dead_while_it_undid_what_had_changed_nothing(scene: Scene) -> None:
    scene.journal(scene.isolate(), scene.prepared(), states.RollingBack(reason="a conflict"))
    scene.die()
    assert scene.ended()[-2:] == ["rolling-back", "rolled-back"]
    assert not os.path.exists(scene.shadow)
    assert read_hold(scene.host.paths) is None


@pytest.mark.parametrize("name", ["applying", "applied", "verified"])
def test_dead_between(scene: Scene, name: str) -> None:
    scene.journal(scene.isolate(), scene.prepared(), *UP_TO[name])
    (said,) = scene.die()
    assert said.startswith(f"operation {scene.operation.id} is held: its engine died in the state {name}")
    assert scene.ended()[-1] == "held"
    hold = read_hold(scene.host.paths)
    assert hold is not None
    assert (hold.operation, hold.kept, hold.at) == (scene.operation.id, scene.shadow, scene.host.clock.now())
    assert os.path.isdir(scene.shadow), "what was written is kept for a look"
    assert Path(scene.database.path, "Packages").read_text() == "Packages from before\n"


def test_dead_while_rolling_back_from_changed_files(scene: Scene) -> None:
    scene.journal(scene.isolate(), scene.prepared(), *UP_TO["applying"], states.RollingBack(reason="x"))
    scene.die()
    assert scene.ended()[-1] == "held"
    assert read_hold(scene.host.paths) is not None


def test_a_hold_that_is_there_is_not_replaced(scene: Scene) -> None:
    first = Hold("op-0", "the first reason", 1.0)
    put_on_hold(scene.host.paths, first)
    scene.journal(scene.isolate(), scene.prepared(), *UP_TO["applied"])
    scene.die()
    assert read_hold(scene.host.paths) == first
    assert scene.ended()[-1] == "held"


def test_dead_between_intent_and_exchange(scene: Scene) -> None:
    scene.journal(scene.isolate(), scene.prepared(), *UP_TO["verified"], scene.commit())
    scene.die()
    assert scene.ended()[-1] == "held"


def test_exchanged_and_not_journalled(scene: Scene) -> None:
    scene.journal(scene.isolate(), scene.prepared(), *UP_TO["verified"], scene.commit())
    scene.exchange()
    (said,) = scene.die()
    assert said == f"operation {scene.operation.id} is done: its engine died after the commit"
    assert scene.ended()[-2:] == ["committed", "done"]
    assert scene.operation.records()[-2].data == {"previous": scene.shadow}
    assert read_hold(scene.host.paths) is None


def test_exchanged_and_journalled_but_not_yet_in_the_state(scene: Scene) -> None:
    outcome: tuple[str, str, dict[str, object]] = ("outcome", "commit", {"previous": scene.shadow})
    entries = [scene.isolate(), scene.prepared(), *UP_TO["verified"], scene.commit(), outcome]
    scene.journal(*entries)
    scene.exchange()
    scene.die()
    assert scene.ended()[-2:] == ["committed", "done"]
    assert read_hold(scene.host.paths) is None


def test_dead_after_the_commit(scene: Scene) -> None:
    scene.journal(scene.isolate(), scene.prepared(), *UP_TO["verified"], states.Committed(previous=scene.shadow))
    scene.die()
    assert scene.ended()[-2:] == ["committed", "done"]
    assert os.path.isdir(scene.shadow)


@pytest.mark.parametrize("last", [states.Done(), states.RolledBack(reason="x"), states.OnHold(reason="x", kept="")])
def test_what_has_ended_is_left_alone(scene: Scene, last: states.State) -> None:
    scene.journal(last)
    before = scene.ended()
    assert scene.die() == []
    assert interrupted(scene.host) is None
    assert scene.ended() == before


def test_behind_the_gate_the_content_from_before_is_put_back(scene: Scene) -> None:
    Path(scene.database.path, "Packages").write_text("half a transaction")
    inode = os.stat(scene.database.path).st_ino
    scene.journal(scene.isolate("gate"), scene.prepared("gate"), *UP_TO["applying"])
    scene.die()
    assert Path(scene.database.path, "Packages").read_text() == "from the shadow"
    assert os.stat(scene.database.path).st_ino == inode
    assert scene.ended()[-1] == "held"


def test_regions_of_the_killed_environment_go_with_what_it_wrote(scene: Scene) -> None:
    Path(scene.database.path, "__db.001").write_text("a lock that nobody can release")
    scene.journal(scene.isolate("gate"), scene.prepared("gate"), *UP_TO["applying"])
    scene.die()
    assert not Path(scene.database.path, "__db.001").exists()


def test_a_copy_that_is_gone_is_said_and_does_not_stand_in_the_way(scene: Scene) -> None:
    scene.journal(scene.isolate("gate"), scene.prepared("gate"), *UP_TO["applying"])
    shutil.rmtree(scene.shadow)
    (said,) = scene.die()
    assert f"is gone ({scene.shadow})" in said
    assert scene.ended()[-1] == "held"
    assert interrupted(scene.host) is None


def test_behind_the_gate_before_the_first_file_the_database_is_left_alone(scene: Scene) -> None:
    scene.journal(scene.isolate("gate"), scene.prepared("gate"))
    scene.die()
    assert Path(scene.database.path, "Packages").read_text() == "Packages from before\n"
    assert scene.ended()[-1] == "rolled-back"


def test_each_operation_is_settled_for_itself(scene: Scene) -> None:
    scene.host.clock.sleep(60)
    later = create_operation(scene.host, Request("/depot", []), {}, {})
    scene.journal(scene.isolate(), scene.prepared(), *UP_TO["applied"])
    first, second = scene.die()
    assert first.startswith(f"operation {scene.operation.id} is held")
    assert second.startswith(f"operation {later.id} is rolled back")
    assert settle_dead(scene.host) == []
