"""Writes ``updateinfo.xml``: the bulletins of the lab's depots. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from interlock.package import Nevra


@dataclass(frozen=True)
class LabBulletin:
    """One bulletin of a depot of the lab."""

    id: str
    title: str
    kind: str  # "security", "bugfix", "enhancement"
    severity: str  # "Critical", "Important", "Moderate", "Low", "None"
    issued: str
    description: str
    packages: tuple[tuple[Nevra, str], ...]  # with the name of each package's file
    reboot: bool = False
    recall: str = ""  # why it was recalled, if it was
    replacement: str = ""


def write_updateinfo(bulletins: Iterable[LabBulletin]) -> str:
    """Return the whole document."""
    body = "\n".join(_update(bulletin) for bulletin in bulletins)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n{body}\n</updates>\n'


def _update(bulletin: LabBulletin) -> str:
    status = "retracted" if bulletin.recall else "stable"
    reboot = "    <reboot_suggested>True</reboot_suggested>\n" if bulletin.reboot else ""
    return (
        f'  <update from="lab@localhost" status="{status}" type={quoteattr(bulletin.kind)} version="1">\n'
        f"    <id>{escape(bulletin.id)}</id>\n"
        f"    <title>{escape(bulletin.title)}</title>\n"
        f"    <severity>{escape(bulletin.severity)}</severity>\n"
        f'    <issued date="{escape(bulletin.issued)}"/>\n'
        f'    <updated date="{escape(bulletin.issued)}"/>\n'
        f"    <rights>Made by the Interlock lab</rights>\n"
        f"    <summary>{escape(bulletin.title)}</summary>\n"
        f"    <description>{escape(bulletin.description)}</description>\n"
        f"{reboot}"
        f"{_recall(bulletin)}"
        f"    <pkglist>\n"
        f'      <collection short="lab">\n        <name>Interlock lab</name>\n'
        f"{_packages(bulletin.packages, bulletin.reboot)}"
        f"      </collection>\n"
        f"    </pkglist>\n"
        f"  </update>"
    )


def _recall(bulletin: LabBulletin) -> str:
    message = f"    <message>{escape(bulletin.recall)}</message>\n" if bulletin.recall else ""
    if not bulletin.replacement:
        return f"{message}    <references/>\n"
    reference = f'<reference href="" id={quoteattr(bulletin.replacement)} title="" type="replacement"/>'
    return f"{message}    <references>\n      {reference}\n    </references>\n"


def _packages(packages: Sequence[tuple[Nevra, str]], reboot: bool) -> str:
    return "".join(_package(nevra, filename, reboot) for nevra, filename in packages)


def _package(nevra: Nevra, filename: str, reboot: bool) -> str:
    suggested = "          <reboot_suggested>True</reboot_suggested>\n" if reboot else ""
    return (
        f"        <package name={quoteattr(nevra.name)} epoch={quoteattr(str(nevra.evr.epoch))}"
        f" version={quoteattr(nevra.evr.version)} release={quoteattr(nevra.evr.release)}"
        f" arch={quoteattr(nevra.arch)}>\n"
        f"          <filename>{escape(filename)}</filename>\n{suggested}"
        f"        </package>\n"
    )
