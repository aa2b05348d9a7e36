"""rpm-md's bulletins: ``updateinfo.xml`` read into values, out of chunks."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from interlock.depot.bulletin import Bulletin, Reference
from interlock.depot.markup import MarkupError, attribute, children, local, records, text
from interlock.depot.metadata import SOURCE_ARCHES, checked_nevra
from interlock.package import Nevra

# What a publisher says of a bulletin that is not to be installed any more; SUSE's word is the first.
RECALLED = ("retracted", "recalled", "obsolete")
_WORD_LIMIT = 300
_TEXT_LIMIT = 64 * 1024
_NO = ("", "0", "false", "no")


@dataclass
class UpdateinfoReader:
    """Reads bulletins out of ``updateinfo.xml``; what is malformed goes to ``defects`` and is left out."""

    defects: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def read(self, chunks: Iterable[bytes]) -> Iterator[Bulletin]:
        """Yield the bulletins in the file's order. Raises MarkupError."""
        for record in records(chunks, "updates"):
            identity = text(children(record).get("id"))
            try:
                yield self._bulletin(record, identity)
            except MarkupError:
                raise
            except ValueError as error:
                self.defects.append(f"the bulletin {identity[:80] or '?'} is left out: {error}")

    def _bulletin(self, record: Element, identity: str) -> Bulletin:
        if not identity or not identity.isprintable() or len(identity) > 200 or identity.startswith("-"):
            raise ValueError(f"not an id: {identity[:200]!r}")
        if identity in self._seen:
            raise ValueError("there was one with this id before")
        self._seen.add(identity)
        parts = children(record)
        packages, named_references = _below(record, "package"), _below(record, "reference")
        references = tuple(map(_reference, named_references))
        named = {one.kind: one.identity for one in references}
        return Bulletin(
            id=identity,
            title=text(parts.get("title")) or text(parts.get("summary")),
            severity=text(parts.get("severity")),
            category=attribute(record, "type"),
            issued=_date(attribute(parts.get("issued"), "date")),
            updated=_date(attribute(parts.get("updated"), "date")),
            description=text(parts.get("description"))[:_TEXT_LIMIT],
            reboot=_says(record, packages, "reboot_suggested"),
            restart=_says(record, packages, "restart_suggested", "relogin_suggested"),
            references=references,
            packages=_nevras(packages),
            vendor=attribute(record, "from")[:_WORD_LIMIT],
            rights=text(parts.get("rights"))[:_WORD_LIMIT],
            maintenance=named.get("interlock") == "maintenance-mode",
            recalled=attribute(record, "status") in RECALLED,
            recall_reason=text(parts.get("message"))[:_TEXT_LIMIT],
            replacement=named.get("replacement", ""),
        )


def _below(record: Element, name: str) -> list[Element]:
    """Return the elements of a name at any depth; most documents have no prefixes, and the tree finds these itself."""
    return list(record.iter(name)) or [one for one in record.iter() if ":" in one.tag and local(one.tag) == name]


def _nevras(elements: Sequence[Element]) -> tuple[Nevra, ...]:
    # A bulletin may name a package once for each collection it is in.
    found: dict[Nevra, None] = {}
    for one in elements:
        if attribute(one, "arch") not in SOURCE_ARCHES:
            parts = [attribute(one, key) for key in ("name", "epoch", "version", "release", "arch")]
            found[checked_nevra(*parts)] = None
    return tuple(found)


def _says(record: Element, packages: Sequence[Element], *tags: str) -> bool:
    return any(
        (child.tag in tags or local(child.tag) in tags)
        and (child.text is None or child.text.strip().lower() not in _NO)
        for parent in (record, *packages)
        for child in parent
    )


def _reference(element: Element) -> Reference:
    return Reference(*(attribute(element, key) for key in ("href", "id", "title", "type")))


def _date(said: str) -> str:
    if said.isascii() and said.isdigit() and len(said) < 12:
        moment = datetime.datetime.fromtimestamp(int(said), datetime.timezone.utc)
        return moment.strftime("%Y-%m-%d %H:%M:%S")
    return said[:40]
