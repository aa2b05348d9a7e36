"""The packages of a large depot that can matter to one host, found without looking closely at the others.

A release has tens of thousands of packages, a host some hundreds. The text of ``primary.xml`` is checked by expat as a
whole, cut into packages by their tags, and searched for names, provisions and files; read as XML are only the packages
that are installed, that obsolete one of these, that something installed or read requires, and whatever looks odd. That
is all that a plan can come to (`interlock.depot.closure`), so the plan is the same as from the whole.

Where a text is not as createrepo_c and its kin write it (comments, another encoding, other prefixes), ``of`` says None,
and the depot is read in full.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Optional
from xml.parsers import expat
from xml.sax.saxutils import escape

from interlock.depot import rich
from interlock.depot.markup import MarkupError, refuse_doctype
from interlock.depot.metadata import DepotPackage, PrimaryReader
from interlock.package import Package, Relation

SIZE_LIMIT = 256 * 1024 * 1024
PIECE = 1024 * 1024
_HEAD = re.compile(
    rb'\s*(?:<\?xml version="1\.0" encoding="(?i:utf-8)"\?>)?\s*<metadata xmlns="http://linux\.duke\.edu/metadata/common"'
    rb' xmlns:rpm="http://linux\.duke\.edu/metadata/rpm"[^<>]*>'
)
_START = re.compile(
    rb'\s*<package type="rpm">\s*<name>([A-Za-z0-9_.+-]+)</name>\s*<arch>\w+</arch>\s*'
    rb'<version epoch="\d+" ver="[^"<>-]+" rel="[^"<>-]+"/>'
)
_PLAIN = re.compile(
    rb'<size package="\d+" installed="\d+"[^<>]*/>\s*<location href="(?!/)(?:(?!\.\./)[^"<>&\\])+"/>\s*<format>'
)
_ENTRY = re.compile(rb'<rpm:entry name="([^"]*)"')
_FILE = re.compile(rb"<file[^<>]*>([^<]*)</file>")
_STRANGE = (b"<!--", b"<![CDATA[", b"<rpm:entry name='", b"<name ")
_ENTITIES = {'"': "&quot;", "'": "&apos;"}
_PROVIDES, _OBSOLETES = ((b"<rpm:%s>" % tag, b"</rpm:%s>" % tag) for tag in (b"provides", b"obsoletes"))


class RelevantReader:
    """Finds packages in the text of one ``primary.xml``. ``total`` is how many it has."""

    def __init__(self, content: bytearray, spans: Sequence[tuple[int, int]]) -> None:
        self.content = content
        self.spans = spans
        self.total = len(spans)
        self.odd: set[int] = set()
        self._name_of: dict[int, bytes] = {}
        self._named: dict[bytes, list[int]] = defaultdict(list)
        self._provided: dict[bytes, list[int]] = defaultdict(list)
        self._obsoleting: dict[bytes, list[int]] = defaultdict(list)
        for number, (start, end) in enumerate(spans):
            self._index(number, start, end)

    @classmethod
    def of(cls, chunks: Iterable[bytes]) -> Optional[RelevantReader]:
        """Return a reader, or None where the text is too large or not of the usual form. Raises MarkupError."""
        content = bytearray()
        for chunk in chunks:
            content += chunk
            if len(content) > SIZE_LIMIT:
                return None
        head = _HEAD.match(content)
        if head is None or any(one in content for one in _STRANGE) or content.find(b"<?", head.end()) >= 0:
            return None
        _check(content)
        spans = _cut(content, head.end())
        return None if spans is None else cls(content, spans)

    def _index(self, number: int, start: int, end: int) -> None:
        content = self.content
        begin = _START.match(content, start, end)
        form = _PLAIN.search(content, start, end)
        if begin is None or form is None:
            self.odd.add(number)
        if begin is not None:
            self._named[begin[1]].append(number)
            self._name_of[number] = begin[1]
        for tag, close, index in ((*_PROVIDES, self._provided), (*_OBSOLETES, self._obsoleting)):
            at = content.find(tag, start, end)
            if at >= 0:
                for name in _ENTRY.findall(content, at, content.find(close, at, end)):
                    index[name].append(number)
        for path in _FILE.findall(content, form.end() if form else start, end):
            self._provided[path].append(number)

    def packages(self, installed: Iterable[Package], reader: PrimaryReader) -> Iterator[DepotPackage]:
        """Yield the packages that can matter, as ``reader`` reads them, in waves: each may require further ones."""
        seen: set[int] = set()
        asked: set[str] = set()
        wave = set(self.odd)
        for package in installed:
            wave.update(_at(self._named, package.name))
            wave.update(_at(self._obsoleting, package.name))
            wave.update(self._wanted(package.requires, asked))
        while wave - seen:
            # Namesakes together and in their order: of two with one identity the first is used.
            new = {other for one in wave for other in (one, *self._named.get(self._name_of.get(one, b""), ()))} - seen
            found = list(reader.read(self._text(sorted(new))))
            seen |= new
            wave = set()
            for one in found:
                wave.update(_at(self._obsoleting, one.name))
                wave.update(self._wanted(one.package.requires, asked))
            yield from found

    def _wanted(self, relations: Iterable[Relation], asked: set[str]) -> Iterator[int]:
        for relation in relations:
            for name in _names(relation):
                if name not in asked:
                    asked.add(name)
                    yield from _at(self._provided, name)

    def _text(self, numbers: Iterable[int]) -> Iterator[bytes]:
        yield b"<metadata>"
        for number in numbers:
            start, end = self.spans[number]
            yield bytes(self.content[start:end])
        yield b"</metadata>"


def _at(index: Mapping[bytes, Sequence[int]], name: str) -> Sequence[int]:
    """Look a name up as it stands in the text; writers differ in whether they escape what need not be escaped."""
    found = index.get(name.encode(), ())
    return found or index.get(escape(name, _ENTITIES).encode(), ()) or index.get(escape(name).encode(), ())


def _names(relation: Relation) -> list[str]:
    if not rich.is_rich(relation):
        return [relation.name]
    node = rich.parse_rich(relation.name)
    return [] if node is None else [one.name for one in rich.leaves(node)]


def _check(content: bytearray) -> None:
    """Have expat read all of it, building nothing."""
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse_doctype
    view = memoryview(content)
    try:
        for start in range(0, len(content), PIECE):
            parser.Parse(view[start : start + PIECE], False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise MarkupError(f"not well-formed XML: {error}") from None


def _cut(content: bytearray, start: int) -> Optional[list[tuple[int, int]]]:
    """Return where each package begins and ends; None where something else than packages is between them."""
    spans: list[tuple[int, int]] = []
    close = b"</package>"
    while True:
        end = content.find(close, start)
        if end < 0:
            return spans if content[start:].strip() == b"</metadata>" else None
        end += len(close)
        opened = content.find(b"<package ", start, end)
        if opened < 0 or content[start:opened].strip():
            return None
        spans.append((opened, end))
        start = end
