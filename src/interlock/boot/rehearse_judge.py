"""What a rehearsal proved: pure, from the console, the sentinel's report and how the program ended, to reasons."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Optional

from interlock.boot import panics
from interlock.boot.rehearse_console import Followed
from interlock.boot.rehearse_scripts import STARTING
from interlock.boot.verdict import Reason

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

# What a rehearsal has not got, in a unit's own words: its failure then proves nothing about the real boot.
_WITHHELD = re.compile(
    r"Operation not permitted|Read-only file system|Network is unreachable|Temporary failure in name resolution"
    r"|Name or service not known|Could not resolve|No such device|/dev/[^ :]+: No such file",
)
# Lines that systemd writes about a unit, beside the unit's own.
_MANAGER = ("Starting ", "Started ", "Stopping ", "Stopped ", "Failed to start ", "Scheduled restart")
_WAITING = re.compile(r"A (?:start|stop) job is running for (.+?)(?: \(| *$)")
_BEGUN = re.compile(r"^\s*(?:Starting|Mounting|Expecting device) (.+?)(?:\.\.\.|…)$")
_OVER = re.compile(r"\] (?:Finished|Started|Mounted|Failed to start|Failed to mount|Found device) (.+?)\.?$")


class Report(NamedTuple):
    """What the sentinel said: seconds of uptime, the units that failed or failed and wait, and their last words."""

    uptime: float
    units: tuple[str, ...]
    said: Mapping[str, tuple[str, ...]]


class Judged(NamedTuple):
    """The reasons against a reboot, and what was seen and does not count, as plain sentences."""

    reasons: tuple[Reason, ...]
    notes: tuple[str, ...] = ()


def parse_report(text: str, token: str) -> Optional[Report]:
    """Return the sentinel's report in ``text``; None where it is not there from beginning to end."""
    mark = f"@{token} "
    lines = [line[line.index(mark) + len(mark) :].strip() for line in panics.plain_lines(text) if mark in line]
    if "begin" not in lines or "end" not in lines:
        return None
    rows = [line.partition(" ") for line in lines]
    said: dict[str, tuple[str, ...]] = {}
    for unit, _, words in (rest.partition(" ") for kind, _, rest in rows if kind == "said"):
        said[unit] = (*said.get(unit, ()), words)
    units = dict.fromkeys(rest.split()[0] for kind, _, rest in rows if kind == "unit" and rest.split())
    return Report(next((_number(rest) for kind, _, rest in rows if kind == "uptime"), 0.0), tuple(units), said)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def judge_units(report: Report, failed_before: Collection[str]) -> Judged:
    """Deny for units that fail now and did not on the running host, unless for want of what a rehearsal has not got."""
    reasons, notes = [], []
    for unit in report.units:
        words = report.said.get(unit, ())
        excuse = next((line for line in words if _WITHHELD.search(line)), "")
        if unit in failed_before:
            notes.append(f"{unit} failed, as on the running host")
        elif excuse:
            notes.append(f"{unit} failed for want of what a rehearsal does not have: {excuse}")
        else:
            own = [line for line in words if not line.startswith((f"{unit}:", *_MANAGER))]
            last = " / ".join((own or words)[-3:]) or "it said nothing"
            advice = (
                f"See `systemctl status {unit}` and the package that has it; mend it or disable it, then try again."
            )
            reasons.append(Reason("rehearsal-unit-failed", unit, f"it would not start: {last}", advice))
    return Judged(tuple(reasons), tuple(notes))


def judge_failure(followed: Followed, kept: str) -> Reason:
    """Say why the sentinel was not heard: by a known text, by how it ended, or by what it hung on."""
    console, status = followed.console, followed.status
    seen = panics.recognise(console)
    if seen is not None and (seen.panic.last or status is not None):
        identity = "rehearsal-emergency" if seen.panic.name in ("emergency mode", "rescue mode") else "rehearsal-panic"
        detail = f"{seen.panic.meaning}; the console said: {seen.line}"
        return Reason(identity, seen.panic.name, detail, seen.panic.advice)
    if status is not None:
        detail = f"the first process ended with status {status} before the system was up: {_last_words(console)}"
        advice = f"Reinstall the packages that own /sbin/init and its libraries; the console is in {kept}."
        return Reason("rehearsal-no-init", "/sbin/init", detail, advice)
    detail = f"it did not say within {followed.seconds:.0f} s that it is up; it waited for: {waits_for(console)}"
    return Reason(
        "rehearsal-hung", "boot", detail, f"Mend or disable what it waits for; the console is in {kept}."
    )  # fmt: skip


def _last_words(console: str) -> str:
    lines = [line.strip() for line in panics.plain_lines(console) if STARTING not in line]
    return " / ".join(lines[-2:]) or "it said nothing"


def waits_for(console: str) -> str:
    """Return what a boot that goes on and on waits for, by the console's last word on it."""
    lines = panics.plain_lines(console)
    waiting = [found[1].strip() for found in map(_WAITING.search, lines) if found]
    if waiting:
        return waiting[-1]
    over = {found[1] for found in map(_OVER.search, lines) if found}
    begun = [found[1] for found in map(_BEGUN.match, lines) if found and found[1] not in over]
    return ", ".join(begun[-3:]) or "nothing that the console names"
