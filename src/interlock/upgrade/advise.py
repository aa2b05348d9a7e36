"""Advisory rules over this host and one update: facts gathered, rules judged, and what they stop."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

from interlock.advice.rules import Advice, RuleSet, judge, read_rules
from interlock.boot.guard import raise_guard
from interlock.errors import InterlockError, Refused, UsageError
from interlock.host.agents import running_agents
from interlock.host.catalogue import read_catalogue
from interlock.host.context import Host
from interlock.host.facts import read_facts
from interlock.host.hold import Hold, put_on_hold, read_hold
from interlock.package import Nevra, Package
from interlock.rpmdb.backend import Database
from interlock.upgrade import state as states
from interlock.upgrade.operation import list_operations
from interlock.upgrade.plan import Plan

VERSION_LIMIT = 30.0
KERNELS = ("kernel", "kernel-core", "kernel-default", "kernel-rt-core", "kernel-uek-core")
# What stands for the operation of a hold that a rule has asked for.
BY_RULE = "advisory"


class AdvisoryDenies(Refused):
    """Refused by the advisory rule {rule}: {title}{names}. {explanation}."""

    hint = "{solution} (Nothing was changed. `interlock advice show {rule}` has its source.)"


class AdvisoryUnknown(Refused):
    """Refused: the advisory rule {rule} ({title}) cannot be judged here, because {fact} is not known."""

    hint = "Nothing was changed. Find it out; if this host is not affected, say so: --ignore-advisory {rule}."


def gather_facts(host: Host, database: Database, installed: Sequence[Package]) -> dict[str, Any]:
    """Return the facts of this host."""
    agents = running_agents(host.proc, database.path, read_catalogue(host.paths))
    found = read_facts(host, installed, _database_facts(host, database), agents)
    found["bulletins_done"] = list(_bulletins_done(host))
    return found


def _database_facts(host: Host, database: Database) -> dict[str, str]:
    said = host.runner.run(["rpm", "--version"], timeout=VERSION_LIMIT, check=False).stdout.split()
    known = {"backend": database.backend, "path": database.path}
    return {**known, "version": said[-1]} if said else known


def _bulletins_done(host: Host) -> Iterator[dict[str, Any]]:
    for operation in list_operations(host.paths):
        try:
            if not isinstance(operation.state(), states.Done):
                continue
            plan, at = operation.read_json("plan.json"), int(operation.records()[-1].at)
        except (InterlockError, OSError, ValueError):
            continue
        for one in plan.get("bulletins", []):
            yield {"id": one, "at": at}


def describe(plan: Optional[Plan]) -> dict[str, Any]:
    """Return an update as rules see it; of none, one that does nothing."""
    packages = plan.packages if plan else ()
    names = [one.name for one in packages]
    return {
        "bulletins": list(plan.bulletins) if plan else [],
        "packages": {one.name: _version(one.nevra) for one in packages},
        "removed": [one.nevra.name for one in plan.removals] if plan else [],
        "reboot": bool(plan and plan.reboot),
        "kernel": any(name in KERNELS or name.startswith("linux-image-") for name in names),
        "download_size": plan.download_size if plan else 0,
    }  # fmt: skip


def _version(nevra: Nevra) -> dict[str, str]:
    return {"version": nevra.evr.version, "release": nevra.evr.release}


UPDATE_FACTS: Mapping[str, str] = {
    "bulletins": "list of the ids that it carries out",
    "packages": "map of the names that it brings to {version, release}",
    "removed": "list of the names that go without a successor",
    "reboot": "whether it needs a reboot",
    "kernel": "whether it brings a kernel",
    "download_size": "in bytes",
}


def advise(
    host: Host, database: Database, installed: Sequence[Package], plan: Optional[Plan], files: Sequence[str] = ()
) -> tuple[list[Advice], RuleSet]:
    """Return what every rule says of this host and an update. UsageError for a named file that is no rule file."""
    rules = rules_of(host, files)
    return judge(rules, gather_facts(host, database, installed), describe(plan)), rules


def rules_of(host: Host, files: Sequence[str] = ()) -> RuleSet:
    """Return the rules that count here. UsageError for a named file that cannot be read."""
    try:
        return read_rules(host.paths.advisories, *files)
    except (OSError, ValueError) as error:
        raise UsageError(detail=f"{', '.join(files)} cannot be used as advisory rules: {error}") from None


def refuse_denied(found: Iterable[Advice], ignored: Collection[str] = ()) -> None:
    """Raise AdvisoryDenies or AdvisoryUnknown for the gravest rule that stops an update."""
    for one in found:
        if not one.stops or one.rule.id in ignored:
            continue
        rule = one.rule
        if one.state == "unknown":
            raise AdvisoryUnknown(rule=rule.id, title=rule.title, fact=one.why)
        names = f" ({', '.join(one.names)})" if one.names else ""
        raise AdvisoryDenies(
            rule=rule.id, title=rule.title, names=names, explanation=rule.explanation, solution=rule.solution
        )


def hold_affected(host: Host, found: Iterable[Advice], ignored: Collection[str] = ()) -> list[str]:
    """Put the host on hold, guarded, where a rule wants that; return the rules' ids. Needs root."""
    wanting = [one for one in found if one.rule.verdict == "hold" and one.state == "affected"]
    wanting = [one for one in wanting if one.rule.id not in ignored]
    if wanting and read_hold(host.paths) is None:
        rule = wanting[0].rule
        reason = f"{rule.title} ({rule.id}). {rule.solution}"
        put_on_hold(host.paths, Hold(f"{BY_RULE}:{rule.id}", reason, host.clock.now()))
        raise_guard(host, f"{BY_RULE}:{rule.id}", f"the host is on hold: {rule.title}")
    return [one.rule.id for one in wanting]


def wants_quiet(found: Iterable[Advice], ignored: Collection[str] = ()) -> bool:
    """Say whether a rule wants agents to be stopped."""
    return any(
        one.rule.verdict == "quiesce" and one.state in ("affected", "unknown") and one.rule.id not in ignored
        for one in found
    )
