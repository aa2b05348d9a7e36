"""Removes secrets from text. Pure: what is learned from one text is removed from all.

A secret is known by the name before it (``password = ...``), by its place (the user part of a URL, a header), by its
form (a private key, a vendor's token, a password's hash), or because only chance would write it so. What a name has
shown to be secret is removed wherever else it stands, too: a log may print it bare. When in doubt a word is removed:
who helps can ask for it.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any, Optional

from interlock.support import shapes

REMOVED = "[removed]"
SHORTEST = 6
_NAMED = (shapes.SETTING, shapes.HEADER, shapes.INLINE, shapes.SPOKEN, shapes.ELEMENT, shapes.SCHEME, shapes.IN_URL)


class Redactor:
    """Learns secrets from texts, then removes them from texts. ``count`` is how many places were changed."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.count = 0
        self._everywhere: Optional[re.Pattern[str]] = None

    def learn(self, text: str) -> None:
        """Remember what ``text`` shows to be secret."""
        for line in text.splitlines():
            if shapes.ROOTS.search(line):
                self.known.update(value for value in _values(line) if _is_telling(value))
        self._everywhere = None

    def clean(self, text: str) -> str:
        """Return ``text`` without secrets, those that were learned from others included."""
        text = self._removed(shapes.CUT_BLOCK, self._removed(shapes.BLOCK, text))
        text = shapes.ELEMENT.sub(self._keep_head, text)
        text = "".join(self._clean_line(line) for line in text.splitlines(keepends=True))
        text = self._removed(shapes.BODY, self._removed(shapes.FORMS, text))
        text = shapes.CHANCE.sub(self._by_chance, text)
        return self._removed(self._learned(), text) if self.known else text

    def _clean_line(self, line: str) -> str:
        if shapes.ROOTS.search(line):
            for pattern in (*_NAMED, shapes.ARGUMENT):
                line = pattern.sub(self._keep_head, line)
        return line

    def clean_json(self, value: Any) -> Any:
        """Return a JSON value without secrets: whatever stands under a secret's name, and in every text."""
        if isinstance(value, dict):
            return {key: self._under(str(key), inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.clean_json(inner) for inner in value]
        return self.clean(value) if isinstance(value, str) else value

    def _under(self, key: str, value: Any) -> Any:
        if value not in (None, "", [], {}, True, False) and is_secret_name(key):
            self.count += 1
            return REMOVED
        return self.clean_json(value)

    def _removed(self, pattern: re.Pattern[str], text: str) -> str:
        text, times = pattern.subn(REMOVED, text)
        self.count += times
        return text

    def _keep_head(self, match: re.Match[str]) -> str:
        head, value = _parts(match)
        if REMOVED in value or not value.strip("\"' \t"):
            return match.group()
        self.count += 1
        quote = value[0] if value[0] in "\"'" and value[-1] == value[0] else ""
        return f"{head}{quote}{REMOVED}{quote}"

    def _by_chance(self, match: re.Match[str]) -> str:
        word = match.group()
        if not _is_chance(word):
            return word
        self.count += 1
        return REMOVED

    def _learned(self) -> re.Pattern[str]:
        if self._everywhere is None:
            forms = {form for value in self.known for form in _forms(value)}
            words = sorted(forms, key=len, reverse=True)
            self._everywhere = re.compile("|".join(re.escape(word) for word in words))
        return self._everywhere


def is_secret_name(name: str) -> bool:
    """Say whether a value under this name is a secret."""
    return bool(shapes.NAME_ONLY.match(name))


def _parts(match: re.Match[str]) -> tuple[str, str]:
    groups = match.groupdict()
    head = groups["head"] if groups.get("head") is not None else groups.get("head2")
    value = groups["value"] if groups.get("value") is not None else groups.get("value2")
    return head or "", value or ""


def _values(text: str) -> Iterator[str]:
    """Yield what names and places show to be secret, and the parts of it that may stand alone."""
    for pattern in (*_NAMED, shapes.ARGUMENT):
        for match in pattern.finditer(text):
            value = _parts(match)[1].strip()
            for one in (value, value.strip("\"'"), *re.split(r"[\s,;=\"'\[\]]+", value)):
                yield one
                if pattern is shapes.IN_URL:
                    yield urllib.parse.unquote(one.partition(":")[2])


def _is_telling(value: str) -> bool:
    """Say whether a value is likely to be a secret wherever it stands: no plain word, no number, no path."""
    if len(value) < SHORTEST or value.lower() in shapes.PLAIN or REMOVED in value:
        return False
    if value.startswith(("/", "file:", "http:", "https:", "$", "%")) or re.fullmatch(r"[\d.:-]+", value):
        return False
    return not re.fullmatch(r"[a-z]{1,12}|[A-Z][a-z]{1,11}|[a-z]+\.[a-z]+", value)


def _forms(value: str) -> Iterator[str]:
    yield value
    yield urllib.parse.quote(value, safe="")
    yield json.dumps(value)[1:-1]
    yield base64.b64encode(value.encode("utf-8", "replace")).decode().rstrip("=")


def _is_chance(word: str) -> bool:
    longest = max(re.split(r"[^A-Za-z0-9]+", word), key=len)
    kinds = (any(map(test, longest)) for test in (str.isupper, str.islower, str.isdigit))
    # Base32 and the like have no small letters; a digest in hexadecimal is no secret.
    capital = (
        len(longest) >= 24 and longest.isupper() and not longest.isalpha() and not re.fullmatch("[0-9A-F]+", longest)
    )
    return len(longest) >= 20 and (all(kinds) or capital)
