"""Shows a plan, and the staging of its packages, to people and to programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from interlock.cli.output import count, say, size
from interlock.upgrade.plan import Plan
from interlock.upgrade.prepare import Picture
from interlock.upgrade.stage import StageProgress

SHOWN = 12
STEPS = {"fetch": "fetched", "check": "checked the signatures of"}


def say_defects(picture: Picture) -> None:
    """Print what of a depot could not be read."""
    for defect in picture.depot.defects:
        say(f"  defect: {defect}")


def plan_row(plan: Plan) -> dict[str, Any]:
    """Return a plan for programs."""
    return {
        "bulletins": list(plan.bulletins),
        "upgrades": [{"from": [str(old) for old in up.old], "to": str(up.new.nevra)} for up in plan.upgrades],
        "installs": [str(one.nevra) for one in plan.installs],
        "removals": [{"package": str(one.nevra), "reason": one.reason} for one in plan.removals],
        "reboot": plan.reboot, "reboot_reasons": list(plan.reboot_reasons),
        "download_size": plan.download_size, "installed_size_change": plan.installed_size_change,
    }  # fmt: skip


def say_plan(picture: Picture) -> None:
    """Print what would be done, before consent."""
    plan = picture.plan
    say_defects(picture)
    for note in plan.notes:
        say(f"  note: {note}")
    if plan.empty:
        return
    upgrades = [
        (f"{' '.join(str(old.evr) for old in up.old)} → {up.new.nevra.evr}", up.new.name) for up in plan.upgrades
    ]
    _say_some("upgrade", [f"{name}  {change}" for change, name in upgrades])
    _say_some("install", [str(one.nevra) for one in plan.installs])
    _say_some("remove", [f"{one.nevra}  ({one.reason})" for one in plan.removals])
    say(headline(plan))


def _say_some(word: str, rows: Sequence[str]) -> None:
    for row in rows[:SHOWN]:
        say(f"  {word}  {row}")
    if len(rows) > SHOWN:
        say(f"  {word}  … and {len(rows) - SHOWN} more (--json lists all)")


def headline(plan: Plan) -> str:
    """Return a plan as one line for people."""
    if plan.empty:
        return "nothing to upgrade"
    change = plan.installed_size_change
    reboot = f"reboot needed ({', '.join(plan.reboot_reasons)})" if plan.reboot else "no reboot needed"
    return (
        f"{count(len(plan.upgrades), 'upgrade')}, {len(plan.installs)} new, {count(len(plan.removals), 'removal')}; "
        f"{size(plan.download_size)} to fetch, {size(abs(change))} {'less' if change < 0 else 'more'} on disk; {reboot}"
    )


class StageLine:
    """Says how far fetching and checking is: a live line on a terminal, one line for each step elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.said = ""

    def __call__(self, progress: StageProgress) -> None:
        """Show one step."""
        text = f"  {STEPS.get(progress.step, progress.step)} {progress.number}/{progress.total} packages"
        last = progress.number >= progress.total
        if text == self.said or not (self.live or last):
            return
        self.said = text
        print(f"\r\x1b[K{text}" if self.live else text, end="\n" if last else "", flush=True)


def quiet(progress: StageProgress) -> None:
    """Show nothing."""
