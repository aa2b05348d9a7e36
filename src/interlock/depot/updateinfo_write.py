"""Writes ``updateinfo.xml`` as dnf, zypper and we read it. Pure, and the same for the same bulletins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.sax.saxutils import escape, quoteattr

from interlock.depot.bulletin import Bulletin
from interlock.package import Nevra

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
MAINTENANCE = '<reference href="" id="maintenance-mode" title="needs maintenance mode" type="interlock"/>'


def write_updateinfo(bulletins: Iterable[Bulletin], files: Mapping[Nevra, str]) -> str:
    """Return the document. ``files`` has the file name of each package that the depot has."""
    body = "".join(_update(bulletin, files) for bulletin in bulletins)
    return f"{HEAD}<updates>\n{body}</updates>\n"


def _update(one: Bulletin, files: Mapping[Nevra, str]) -> str:
    status = "retracted" if one.recalled else "final"
    texts = {
        "id": one.id, "title": one.title, "severity": one.severity, "rights": one.rights, "summary": one.title,
        "description": one.description, "message": one.recall_reason,
    }  # fmt: skip
    lines = [f"  <{name}>{_text(text)}</{name}>\n" for name, text in texts.items() if text]
    dates = [f"  <{name} date={_quoted(date)}/>\n" for name, date in (("issued", one.issued), ("updated", one.updated))
             if date]  # fmt: skip
    flags = "  <reboot_suggested>True</reboot_suggested>\n" if one.reboot else ""
    flags += "  <restart_suggested>True</restart_suggested>\n" if one.restart else ""
    head = f' <update from={_quoted(one.vendor)} status={_quoted(status)} type={_quoted(one.category)} version="1">\n'
    return f"{head}{''.join((*lines, *dates))}{flags}{_references(one)}{_packages(one, files)} </update>\n"


def _references(one: Bulletin) -> str:
    rows = [
        f"<reference href={_quoted(ref.href)} id={_quoted(ref.identity)} title={_quoted(ref.title)} "
        f"type={_quoted(ref.kind)}/>"
        for ref in one.references
        if ref.kind not in ("replacement", "interlock")
    ]
    if one.replacement:
        rows.append(f'<reference href="" id={_quoted(one.replacement)} title="" type="replacement"/>')
    if one.maintenance:
        rows.append(MAINTENANCE)
    return "  <references>\n" + "".join(f"   {row}\n" for row in rows) + "  </references>\n"


def _packages(one: Bulletin, files: Mapping[Nevra, str]) -> str:
    flag = "<reboot_suggested>True</reboot_suggested>" if one.reboot else ""
    rows = []
    for nevra in one.packages:
        evr = nevra.evr
        rows.append(
            f"   <package name={_quoted(nevra.name)} epoch={_quoted(str(evr.epoch))} version={_quoted(evr.version)} "
            f"release={_quoted(evr.release)} arch={_quoted(nevra.arch)}>"
            f"<filename>{_text(files.get(nevra, ''))}</filename>{flag}</package>\n"
        )
    return f'  <pkglist><collection short="">\n   <name/>\n{"".join(rows)}  </collection></pkglist>\n'


def _text(text: str) -> str:
    return escape(_printable(text))


def _quoted(text: str) -> str:
    return quoteattr(_printable(text))


def _printable(text: str) -> str:
    """Return text without what XML cannot have."""
    return "".join(one for one in text if one in "\t\n" or (one >= " " and not "\ud800" <= one <= "\udfff"))
