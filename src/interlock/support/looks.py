"""What a support bundle finds out by looking: state, wait graph, doctor, package database, verdict on a reboot, facts.

Each look runs in a child with a time limit: on a host in trouble any of them may hang or crash.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Callable

from interlock.host.context import Host
from interlock.support.parts import Part
from interlock.system.child import call_in_child

LIMIT = 90.0
COMMAND_LIMIT = 60.0


def looks(host: Host) -> Iterator[Part]:
    """Yield the parts, the ones that say most first."""
    found: tuple[tuple[str, str, Callable[[Host], Any]], ...] = (
        ("state.json", "what runs, what is unfinished, the hold, every operation", _state),
        ("reboot.json", "the verdict on a reboot, and its reasons", _reboot),
        ("waits.json", "who waits for the package database, and who holds it", _waits),
        ("waits.txt", "the same for people", _waits_text),
        ("doctor.json", "what is wrong with the package database, with proof and cure", _doctor),
        ("half.json", "what a transaction of plain rpm left half done", _half),
        ("packages.txt", "every package, the last installed first", _packages),
        ("verification.txt", "what rpm says of its own database (a copy of it)", _verification),
        ("facts.json", "the host's facts, as advisory rules see them", _facts),
    )
    for name, about, look in found:
        yield Part(name, about, _apart(name, look, host))


def _apart(name: str, look: Callable[[Host], Any], host: Host) -> Callable[[], Any]:
    return lambda: call_in_child(f"looking for {name}", lambda: look(host), LIMIT)


def _state(host: Host) -> Any:
    from interlock.host.hold import read_hold  # noqa: PLC0415 - each look loads what it needs, in its own process
    from interlock.host.lease import current_owner  # noqa: PLC0415
    from interlock.upgrade.operation import list_operations, summary  # noqa: PLC0415

    owner, hold = current_owner(host.paths), read_hold(host.paths)
    return {
        "owner": vars(owner) if owner else None, "hold": vars(hold) if hold else None,
        "operations": [summary(one) for one in list_operations(host.paths)],
    }  # fmt: skip


def _reboot(host: Host) -> Any:
    from interlock.boot.reboot import verdict  # noqa: PLC0415

    return verdict(host).to_json()


def _seen(host: Host, examined: bool = False) -> Any:
    from interlock.waits.look import Place, examine, look  # noqa: PLC0415

    scratch = f"{host.paths.scratch}-support-{os.getpid()}"
    place = Place(host.proc, host.paths.root, host.runner, host.clock, scratch)
    facts = look(place)
    return examine(place, facts) if examined else facts


def _waits(host: Host) -> Any:
    from interlock.waits.draw import to_json  # noqa: PLC0415
    from interlock.waits.graph import build_graph  # noqa: PLC0415

    facts = _seen(host)
    return to_json(facts, build_graph(facts))


def _waits_text(host: Host) -> Any:
    from interlock.waits.draw import draw  # noqa: PLC0415
    from interlock.waits.graph import build_graph  # noqa: PLC0415

    facts = _seen(host)
    return "\n".join(draw(facts, build_graph(facts)))


def _doctor(host: Host) -> Any:
    from interlock.waits.diagnose import diagnose  # noqa: PLC0415
    from interlock.waits.graph import build_graph  # noqa: PLC0415
    from interlock.waits.plan_cure import plan_cure  # noqa: PLC0415

    facts = _seen(host, examined=True)
    rows = [(one, plan_cure(one, facts)) for one in diagnose(facts, build_graph(facts))]
    return [
        {**one._asdict(), "data": dict(one.data), "cure": [step.text for step in cure.steps], "decide": cure.decide}
        for one, cure in rows
    ]


def _half(host: Host) -> Any:
    from interlock.upgrade.half import find_half  # noqa: PLC0415

    found = find_half(host)
    return found.to_json() if found and found.found else None


def _packages(host: Host) -> Any:
    return _on_copy(host, ["rpm", "--dbpath", "{}", "-qa", "--last"])


def _verification(host: Host) -> Any:
    return _on_copy(host, ["rpmdb", "--dbpath", "{}", "--verifydb"])


def _on_copy(host: Host, words: list[str]) -> str:
    """Run a program of rpm on a private copy: it cannot wait for anybody, or leave a lock."""
    from interlock.rpmdb.backend import find_database  # noqa: PLC0415
    from interlock.rpmdb.reader import private_copy  # noqa: PLC0415

    os.makedirs(os.path.dirname(host.paths.scratch), mode=0o700, exist_ok=True)
    database = find_database(host.runner)
    with private_copy(database, host.paths, f"support-{os.getpid()}") as copy:
        argv = [word.replace("{}", copy) for word in words]
        done = host.runner.run(argv, timeout=COMMAND_LIMIT, check=False)
    said = f"{database.backend} in {database.path}; `{' '.join(words[:1] + words[3:])}` ended with {done.status}\n"
    return f"{said}{done.stdout}{done.stderr}"


def _facts(host: Host) -> Any:
    from interlock.upgrade.advise import gather_facts  # noqa: PLC0415
    from interlock.upgrade.prepare import read_installed  # noqa: PLC0415

    return gather_facts(host, *read_installed(host))
