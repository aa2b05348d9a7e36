"""Draws docs/bench.svg: bars of the ratios, and latencies of queries before, during and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

# The same figures give the same file; text stays text.
matplotlib.rcParams.update({"svg.hashsalt": "interlock", "svg.fonttype": "none", "font.size": 9})
OURS, THEIRS, GREY = "#1f6fb4", "#d0743c", "#666666"
TICKS = (20, 30, 50, 75, 100, 150, 200, 300, 500, 1000)


def draw(path: Path, results: Mapping[str, Any]) -> None:
    """Draw what there is."""
    panels = [(_ratios, "ratios"), (_latency, "latency")]
    panels = [(panel, name) for panel, name in panels if name in results]
    if not panels:
        return
    figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 3.6), squeeze=False)
    for axis, (panel, name) in zip(axes[0], panels):
        axis.spines[["top", "right"]].set_visible(False)
        panel(axis, results[name])
    figure.tight_layout()
    # White behind it, so that it can be read on a dark page, too.
    figure.savefig(path, metadata={"Date": None, "Creator": "bench/upgrade.py"}, facecolor="white")
    plt.close(figure)


def _ratios(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    for place, one in enumerate(rows):
        axis.barh(place, one["ratio"], 0.5, color=OURS)
        axis.text(one["ratio"], place, f" {one['ratio']:.2f}", va="center")
    axis.axvline(1.0, color=THEIRS, linewidth=1.5)
    axis.text(1.0, -0.6, "plain rpm", color=THEIRS, ha="center")
    axis.set_yticks(range(len(rows)), [_label(one) for one in rows])
    axis.invert_yaxis()
    axis.set_xlim(0, max(one["ratio"] for one in rows) * 1.15)
    axis.set_xlabel("wall time, Interlock / plain rpm (medians)")


def _label(one: Mapping[str, Any]) -> str:
    title = one["title"].replace(", ", ",\n")
    return f"{title}\n(plain rpm: {one['plain_median']:.1f} s)"


def _latency(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    styles = {"before": ":", "during": "-", "after": "--"}
    for one, color, name in zip(rows, (OURS, THEIRS), ("Interlock", "plain rpm")):
        for phase, style in styles.items():
            times = one["seconds"][phase]
            shares = [(number + 1) / len(times) for number in range(len(times))]
            label = f"{name}, {phase}"
            axis.plot([1000 * each for each in times], shares, style, color=color, linewidth=1.4, label=label)
    axis.axhline(0.99, color=GREY, linewidth=0.7)
    axis.text(0.995, 0.98, "99 %", color=GREY, ha="right", va="top", transform=axis.get_yaxis_transform())
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(TICKS))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("time of one `rpm -qa`, ms")
    axis.set_ylabel("share of queries that took no longer")
    axis.legend(loc="lower right", frameon=False)
