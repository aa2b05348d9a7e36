"""Measures hosts by baselines. Depots are read as they are now, so a recall counts at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interlock.depot.repository import Depot
from interlock.errors import BadDepot, Refused
from interlock.manager.baselines import Baseline
from interlock.manager.compliance import Evaluator
from interlock.manager.inventory import NOT_OURS, Known

COMPLIANT, NON_COMPLIANT, NOT_MEASURED, UNKNOWN, RECALLED = (
    "compliant", "non-compliant", "not-measured", "unknown", "recalled-installed",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One host and one baseline. ``missing`` are bulletins that it lacks, ``recalled`` such that it should not have."""

    host: str
    baseline: str
    state: str
    missing: tuple[str, ...] = ()
    recalled: tuple[str, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {**vars(self), "missing": list(self.missing), "recalled": list(self.recalled)}


def measure(
    hosts: Sequence[Known],
    baselines: Sequence[Baseline],
    sets: tuple[Mapping[int, str], Mapping[int, Sequence[int]]],
    open_depot: Callable[[str], Depot],
) -> list[Measured]:
    """Return what each baseline says of each host; *unknown* where its depot cannot be read."""
    nevras, members = sets
    evaluators: dict[str, Evaluator] = {}
    found: list[Measured] = []
    for baseline in baselines:
        if baseline.depot not in evaluators:
            try:
                evaluators[baseline.depot] = Evaluator(open_depot(baseline.depot), nevras)
            except (BadDepot, Refused) as error:
                found += [Measured(one.entry.name, baseline.name, UNKNOWN, reason=str(error)) for one in hosts]
                continue
        found += measured_by(hosts, baseline, evaluators[baseline.depot], members)
    return found


def measured_by(
    hosts: Sequence[Known], baseline: Baseline, evaluator: Evaluator, members: Mapping[int, Sequence[int]]
) -> list[Measured]:
    """Return what one baseline says of hosts; hosts with one package set share the work."""
    wanted = evaluator.bits(baseline.select(evaluator.bulletins)) & ~evaluator.recalled
    known: dict[int, tuple[str, tuple[str, ...], tuple[str, ...], str]] = {}
    found: list[Measured] = []
    for host in hosts:
        excuse = _excuse(host, baseline)
        if excuse is not None:
            found.append(Measured(host.entry.name, baseline.name, excuse[0], reason=excuse[1]))
            continue
        number = host.package_set
        assert number is not None
        if number not in known:
            known[number] = _of_set(evaluator, number, members[number], wanted)
        found.append(Measured(host.entry.name, baseline.name, *known[number]))
    return found


def _excuse(host: Known, baseline: Baseline) -> tuple[str, str] | None:
    if host.state == NOT_OURS:
        return NOT_MEASURED, host.reason or f"{host.entry.product} is not an RPM system of ours: not affected"
    if host.package_set is None:
        return UNKNOWN, host.reason or "it was never asked: interlock hosts scan"
    product = str(host.to_json()["product"])
    if not baseline.measures(product):
        return NOT_MEASURED, f"it is {product or 'of an unknown product'}, the baseline is for {baseline.product}"
    return None


def _of_set(
    evaluator: Evaluator, number: int, members: Sequence[int], wanted: int
) -> tuple[str, tuple[str, ...], tuple[str, ...], str]:
    bits = evaluator.of_set(number, members)
    missing = tuple(evaluator.named((bits.applicable | bits.missing) & wanted))
    recalled = tuple(evaluator.named(bits.here & evaluator.recalled))
    lacking = evaluator.named(bits.missing & wanted)
    reason = f"the depot lacks packages of {', '.join(lacking[:3])}" if lacking else ""
    if recalled:
        reason = "; ".join(filter(None, (_advice(evaluator, recalled[0]), reason)))
    state = NON_COMPLIANT if missing else RECALLED if recalled else COMPLIANT
    return state, missing, recalled, reason


def _advice(evaluator: Evaluator, identity: str) -> str:
    one = evaluator.bulletins[evaluator.number[identity]]
    why = f": {one.recall_reason}" if one.recall_reason else ""
    instead = f"; {one.replacement} takes its place" if one.replacement else ""
    return f"{identity} was recalled{why}{instead}"
