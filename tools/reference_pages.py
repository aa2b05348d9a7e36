"""Writes ``docs/agents.md`` and ``docs/advisories.md`` from the data that the program itself uses."""

from __future__ import annotations

from pathlib import Path

from interlock.advice.rules import Rule, read_rules
from interlock.host.catalogue import page, read_catalogue
from interlock.host.facts import FACTS
from interlock.host.paths import Paths
from interlock.upgrade.advise import UPDATE_FACTS

AGENTS = """# Agents

Programs that use the package database on their own. This page is made from the catalogue that Interlock uses
(`tools/reference_pages.py`); where something is not known it says so. The list is never complete: who has a file of
the database open, has librpm mapped, or is rpm itself is found as well (`interlock agents`).

An upgrade in a shadow does not need them to stop. `interlock update --quiesce`, or an advisory rule, stops them for
the time of the transaction and starts exactly what ran again, also after a kill of the engine and after a reboot.
`interlock agents watch` tells who opens the database, how often and how long, even if it runs for a millisecond.

What is never stopped: ssh, D-Bus, systemd's own services, cron, libvirtd, and whoever started Interlock. A unit that
runs while it is masked goes on, because it could not be started again. A unit that D-Bus would start is forbidden
meanwhile by a link in `/run/systemd/system.control`. A process of no service is frozen, and only while it has no file
of the database open.

An administrator adds to the catalogue with files in `/etc/interlock/agents.d/*.json`:

```json
{"format": 1, "agents": [{"product": "Own inventory", "units": ["own-inventory", "own-inventory.timer"],
  "processes": ["own-inventory"], "after": ["snmpd"], "activated": false, "uses": "runs rpm -qa", "cadence": "5 min"}]}
```

"""
ADVISORIES = """# Advisory rules

Who is affected by a known defect of an update, and what to do. Rules are data: the shipped ones are listed below,
others come with `--advisories FILE` or in `/var/lib/interlock/advisories/*.json`; of two with one id the later
revision counts. This page is made from them (`tools/reference_pages.py`).

`interlock advice check [--depot D]` says what the rules say of this host; `advice list` and `advice show ID` print
them; `check` and `update` ask them. `interlock facts > FILE` on one host and `advice check --facts FILE` on another
judge the first.

| verdict | what it does where the host is affected |
|---|---|
| `hold` | no upgrade and no reboot until a person has acted (exit status 5) |
| `deny` | the update is refused (3); `update --ignore-advisory ID` overrules it by name |
| `quiesce` | agents are stopped for the time of the update |
| `warn`, `note` | said before consent |

A rule has `id`, `revision`, `title`, `source`, `verdict`, `explanation`, `solution`, the conditions `applies` (is it
about this update?) and `when` (is this host affected?), and `names` (what to print). Conditions are
[CEL](https://cel.dev) over `host` and `update`, without messages, timestamps and durations, and with
`version_compare(a, b)` by rpm's rules and `lower(text)`. A fact that is not known makes a rule *unknown*; a rule that
would stop an update then stops it, and names the fact. Patterns that could take for ever are refused, steps are
bounded.

## Facts

"""


def agents_page() -> str:
    """Return ``docs/agents.md``."""
    return AGENTS + page(list(read_catalogue(Paths("/nonexistent")).agents.values()))


def advisories_page() -> str:
    """Return ``docs/advisories.md``."""
    facts = [f"| `host.{name}` | {text} |" for name, text in FACTS.items()]
    facts += [f"| `update.{name}` | {text} |" for name, text in UPDATE_FACTS.items()]
    rules = [_rule(rule) for rule in read_rules("/nonexistent").rules.values()]
    return f"{ADVISORIES}| fact | what it is |\n|---|---|\n" + "\n".join(facts) + "\n\n## Rules\n\n" + "\n".join(rules)


def _rule(rule: Rule) -> str:
    lines = [
        f"### {rule.title}",
        "",
        f"`{rule.id}`, revision {rule.revision}: **{rule.verdict}**",
        "",
        rule.explanation,
        "",
    ]
    lines += [f"*Solution:* {rule.solution}", "", "```", f"applies: {rule.applies.text}", f"when:    {rule.when.text}"]
    return "\n".join([*lines, "```", "", f"Source: {'; '.join(rule.source)}", ""])


if __name__ == "__main__":
    docs = Path(__file__).resolve().parents[1] / "docs"
    (docs / "agents.md").write_text(agents_page())
    (docs / "advisories.md").write_text(advisories_page())
