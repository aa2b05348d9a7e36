"""Writes what was measured as docs/bench.md: one table for each part, and how its figures were taken."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import ROLES

Row = Mapping[str, Any]
TOOLS = {"interlock": "Interlock", "plain": "plain rpm"}
PHASES = {"before": "before (idle)", "during": "during", "after": "after"}


def write_report(out: Path, results: Row) -> str:
    """Write bench.md and return its text."""
    parts = [_head(results)]
    if "ratios" in results:
        parts.append(_ratios(results))
    if "latency" in results:
        parts += [_latency(results["latency"]), _memory(results["latency"])]
    if "storm" in results:
        parts.append(_storm(results["storm"]))
    text = "\n".join(parts)
    (out / "bench.md").write_text(text)
    return text


def _head(results: Row) -> str:
    facts = ", ".join(f"{name}: {value}" for name, value in results["machine"].items())
    load = " and ".join(f"{one:.2f}" for one in results["load"])
    return (
        "# Bench\n\nWritten by `make bench` from one run on one machine: ratios can be compared with those of another "
        "machine, seconds cannot.\n\n"
        f"- `.venv/bin/python {results['command']}`, {results['minutes']} minutes\n- {facts}\n"
        f"- load average at the begin and at the end: {load}\n\n![ratios, and latencies of queries](bench.svg)\n"
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else "-"


def _ratios(results: Row) -> str:
    rows = [
        (f"{one['title']} (`{one['depot']}`)", _spread(one["interlock"]), _spread(one["plain"]),
         _spread(one["rebuild"]), f"**{one['ratio']:.2f}**", _optional(one["ratio_with_rebuild"]),
         f"{max(one['foreign']):.2f}")
        for one in results["ratios"]
    ]  # fmt: skip
    again = sum(one["set_aside"] for one in results["ratios"])
    return (
        "## Wall time\n\n`interlock update --depot D --yes` and `rpm -Uvh D/*.rpm` in turn (who is first changes each "
        f"round), {results['rounds']} runs of each, every run on a fresh snapshot, without a storm. Timed on the host "
        "from start to end; seconds are the median (least to most). Interlock's time has everything in it: planning, "
        "checking signatures, the transaction, verifying every file, writing the system to the disk (`rpm` returns "
        "before that is done), and the commit. After `classic-current` the user of plain rpm must run "
        "`rpmdb --rebuilddb` before the new rpm can write, which Interlock has done; the ratio is given without and "
        f"with it.\n\nA run beside which others kept more than a third of a core busy was taken again ({again} "
        "times); the last column is the most that others had in a run that counts.\n\n"
        + table(
            ("packages", "Interlock, s", "plain rpm, s", "`--rebuilddb`, s", "ratio", "with rebuild", "others, cores"),
            rows,
        )
    )


def _optional(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}"


def _latency(rows: Sequence[Row]) -> str:
    shown = [
        (f"{TOOLS[one['tool']]}, {text}", *_phase(one["phases"][phase]))
        for one in rows for phase, text in PHASES.items()
    ]  # fmt: skip
    ours, theirs = rows
    beside = ours["phases"]["during"]["p99"] / theirs["phases"]["during"]["p99"]
    return (
        "## Queries during an upgrade\n\nA reader on `current` (SQLite) runs `rpm -qa` again and again through whole "
        f"upgrades `current` to `next`: {len(ours['upgrades'])} by Interlock (median "
        f"{statistics.median(ours['upgrades']):.1f} s) and {len(theirs['upgrades'])} by plain rpm (median "
        f"{statistics.median(theirs['upgrades']):.1f} s), in turn, each on a fresh host. *Before* is the same host, "
        "idle, for 12 s; *during* is every query under way at any instant of the upgrade; *after* is 12 s of the new "
        "system. Milliseconds.\n\n"
        + table(("", "queries", "failed", "p50", "p90", "p99", "slowest"), shown)
        + f"\n99th percentile during the upgrade, against idle: Interlock **{ours['p99_ratio']:.2f}**, plain rpm "
        f"{theirs['p99_ratio']:.2f}; Interlock against plain rpm, both during: {beside:.2f}.\n"
    )


def _phase(row: Row) -> Sequence[str]:
    return (
        str(row["queries"]),
        str(row["failed"]),
        *(f"{1000 * row[key]:.0f}" for key in ("p50", "p90", "p99", "max")),
    )


def _memory(rows: Sequence[Row]) -> str:
    peaks: dict[str, float] = {}
    for one in rows:
        peaks.update(one["peaks"])
    shown = [(role, f"{peaks[role]:.0f}") for role in ROLES if role in peaks]
    return (
        "## Memory\n\nPeak resident memory (VmHWM) in MiB during the same upgrades, read from outside five times a "
        "second. The engine plans nothing and runs no rpm: the worker, its fork, is what plain `rpm` is otherwise. "
        "The front end plans and follows, and may be gone.\n\n" + table(("process", "MiB"), shown)
    )


def _storm(rows: Sequence[Row]) -> str:
    shown = [
        (TOOLS[one["tool"]], f"**{one['committed']} of {one['tried']}**", _others(one), str(one["hosts"]),
         f"{one['seconds']:.0f}")
        for one in rows
    ]  # fmt: skip
    return (
        f"## Storm\n\nUpgrades in a row on `classic` (Berkeley DB) while the storm kills `rpm -qa` without a pause: "
        f"{rows[0]['asked']} were asked of each, twelve packages each, with scriptlets that call `rpm -q`. One counts "
        "as committed where it ended with 0 and the database, read from outside, has the twelve new packages and "
        "none twice. Plain rpm gets 20 s for a transaction that takes about two, and three minutes in all; a host on "
        "which a transaction did not come through is replaced by a fresh one.\n\n"
        + table(("", "committed", "not committed", "hosts used", "seconds in all"), shown)
    )


def _others(one: Row) -> str:
    rest = {name: number for name, number in one["outcomes"].items() if name != "committed"}
    return ", ".join(f"{name}: {number}" for name, number in rest.items()) or "none"
