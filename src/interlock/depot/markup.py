"""XML of strangers, record by record, in bounded memory.

rpm-md files are a root element with many records (``package``, ``update``). ``records`` yields each record as
an element tree as soon as it is whole and then forgets it. No document type is accepted, so there are no entities
to expand and nothing to fetch; a record larger than ``RECORD_LIMIT`` is refused before it fills the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

# An element of four bytes takes a hundred in memory; the largest honest records have two MiB.
RECORD_LIMIT = 8 * 1024 * 1024
DEPTH_LIMIT = 64


class MarkupError(ValueError):
    """The XML is not well-formed, or is not of a kind that a depot may have."""


class _Reader:
    """Feeds expat, whose callbacks go straight to a tree builder in C; takes whole records off the root."""

    def __init__(self) -> None:
        self.builder = TreeBuilder()
        self.root: Optional[Element] = None
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start_root
        self.parser.EndElementHandler = self.builder.end
        self.parser.CharacterDataHandler = self.builder.data
        self.parser.StartDoctypeDeclHandler = refuse_doctype
        self.unfinished = 0

    def _start_root(self, tag: str, attributes: dict[str, str]) -> None:
        self.root = self.builder.start(tag, attributes)
        self.parser.StartElementHandler = self.builder.start

    def feed(self, chunk: bytes, last: bool = False) -> Iterator[Element]:
        try:
            self.parser.Parse(chunk, last)
        except expat.ExpatError as error:
            raise MarkupError(f"not well-formed XML: {error}") from None
        except (LookupError, ValueError) as error:
            raise MarkupError(str(error)) from None
        whole = self._take(last)
        self.unfinished = 0 if whole else self.unfinished + len(chunk)
        if self.unfinished > RECORD_LIMIT:
            raise MarkupError(f"one record has more than {RECORD_LIMIT} bytes")
        if self.root is not None and len(self.root) and _too_deep(self.root[-1]):
            raise MarkupError(f"one record is more than {DEPTH_LIMIT} levels deep")
        return iter(whole)

    def _take(self, last: bool) -> Iterable[Element]:
        if self.root is None:
            return []
        # The last child may still be open.
        end = len(self.root) if last else len(self.root) - 1
        whole = list(self.root[: max(end, 0)])
        del self.root[: len(whole)]
        return whole


def _too_deep(element: Element) -> bool:
    """Say whether what is open at the end of an element is nested too deeply."""
    for _ in range(DEPTH_LIMIT):
        if not len(element):
            return False
        element = element[-1]
    return True


def refuse_doctype(*_: Any) -> None:
    """Raise MarkupError: for expat, which calls it with what it has found."""
    raise MarkupError("it has a document type declaration, which a depot's metadata never has")


def records(chunks: Iterable[bytes], root: Optional[str]) -> Iterator[Element]:
    """Yield the children of the root element, whose local name must be ``root`` (None: any). Raises MarkupError."""
    reader = _Reader()
    for chunk in chunks:
        # Small pieces: a piece is what one record can be larger than the limit.
        for start in range(0, len(chunk), 65536):
            yield from reader.feed(chunk[start : start + 65536])
            _check_root(reader.root, root)
    yield from reader.feed(b"", last=True)


def _check_root(element: Optional[Element], name: Optional[str]) -> None:
    if element is not None and name is not None and local(element.tag) != name:
        raise MarkupError(f"its root element is <{element.tag[:80]}>, not <{name}>")


def local(tag: str) -> str:
    """Return a tag without its prefix: ``rpm:entry`` is ``entry``."""
    return tag.rpartition(":")[2]


def children(element: Element) -> Mapping[str, Element]:
    """Return an element's children by local name; of several with one name, the first."""
    found: dict[str, Element] = {}
    for child in element:
        found.setdefault(local(child.tag), child)
    return found


def text(element: Optional[Element]) -> str:
    """Return the stripped text of an element, ``""`` of none."""
    return (element.text or "").strip() if element is not None else ""


def attribute(element: Optional[Element], name: str) -> str:
    """Return an attribute, ``""`` where there is no such element or attribute."""
    return element.get(name, "") if element is not None else ""
