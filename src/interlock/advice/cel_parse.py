"""Reads CEL, the Common Expression Language, into a tree. Stdlib only: rules are judged on hosts.

Grammar and precedence are those of the language definition; left out are messages (``Type{field: ...}``) and unsigned
overflow. A tree is a tuple whose first item is its kind. What is read may come from elsewhere, so length and depth are
bounded.
"""

from __future__ import annotations

import re
from typing import Any, Union

LONGEST = 8192
DEEPEST = 60
Tree = tuple[Any, ...]
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_STRING = r"[rR]?(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
_TOKEN = re.compile(
    rf"(?P<space>(?:\s+|//[^\n]*)+)|(?P<bytes>[bB]{_STRING})|(?P<string>{_STRING})"
    r"|(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)|(?P<int>0[xX][0-9a-fA-F]+|\d+)[uU]?"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])",
    re.DOTALL,
)
_RESERVED = frozenset(
    ("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
     "namespace", "return", "var", "void", "while")
)  # fmt: skip
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
_CONSTANTS = {"true": True, "false": False, "null": None}
MACROS = {"all": (2,), "exists": (2,), "exists_one": (2,), "map": (2, 3), "filter": (2,)}


class CelSyntaxError(ValueError):
    """What is no expression, and where."""


def parse(text: str) -> Tree:
    """Return the tree of an expression. Raises CelSyntaxError."""
    if len(text) > LONGEST:
        raise CelSyntaxError(f"it is longer than {LONGEST} characters")
    reader = _Reader(_tokens(text))
    tree = reader.expression()
    reader.expect("end", "")
    return tree


def _tokens(text: str) -> list[tuple[str, str, int]]:
    found, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise CelSyntaxError(f"character {place + 1}: {text[place : place + 10]!r} is not understood")
        kind = str(match.lastgroup)
        if kind != "space":
            found.append((kind, match.group(kind), place + 1))
        place = match.end()
    return [*found, ("end", "", len(text) + 1)]


class _Reader:
    """Reads by descent; one method for each level of the grammar."""

    def __init__(self, tokens: list[tuple[str, str, int]]) -> None:
        self.tokens, self.place, self.depth = tokens, 0, 0

    @property
    def here(self) -> tuple[str, str, int]:
        return self.tokens[self.place]

    def is_sign(self, *signs: str) -> bool:
        return self.here[0] in ("sign", "name") and self.here[1] in signs

    def take(self) -> tuple[str, str, int]:
        self.place += 1
        return self.tokens[self.place - 1]

    def expect(self, kind: str, text: str) -> str:
        found = self.here
        if found[0] != kind or (text and found[1] != text):
            wanted = text or ("the end" if kind == "end" else f"a {kind}")
            raise CelSyntaxError(f"character {found[2]}: {wanted} is missing before {found[1] or 'the end'!r}")
        return self.take()[1]

    def expression(self) -> Tree:
        self.depth += 1
        if self.depth > DEEPEST:
            raise CelSyntaxError(f"it is nested more than {DEEPEST} times")
        tree = self.binary(0)
        if self.is_sign("?"):
            self.take()
            chosen = self.binary(0)
            self.expect("sign", ":")
            tree = ("if", tree, chosen, self.expression())
        self.depth -= 1
        return tree

    def binary(self, level: int) -> Tree:
        if level == len(_LEVELS):
            return self.unary()
        tree = self.binary(level + 1)
        while self.is_sign(*_LEVELS[level]):
            sign = self.take()[1]
            tree = ("binary", sign, tree, self.binary(level + 1))
        return tree

    def unary(self) -> Tree:
        signs = []
        while self.is_sign("!", "-"):
            signs.append(self.take()[1])
        tree = self.member()
        for sign in reversed(signs):
            tree = ("literal", -tree[1]) if sign == "-" and _is_number(tree) else ("unary", sign, tree)
        return tree

    def member(self) -> Tree:
        tree = self.primary()
        while self.is_sign(".", "["):
            if self.take()[1] == "[":
                tree = ("index", tree, self.expression())
                self.expect("sign", "]")
                continue
            name = self.expect("name", "")
            tree = self.method(tree, name) if self.is_sign("(") else ("select", tree, name)
        return tree

    def method(self, target: Tree, name: str) -> Tree:
        place = self.here[2]
        arguments = self.arguments()
        if name not in MACROS:
            return ("call", name, (target, *arguments))
        if len(arguments) not in MACROS[name] or arguments[0][0] != "name":
            raise CelSyntaxError(f"character {place}: {name} takes a name and what is said of it")
        return ("macro", name, target, arguments[0][1], arguments[1:])

    def arguments(self, opens: str = "(", closes: str = ")") -> tuple[Tree, ...]:
        self.expect("sign", opens)
        found = []
        while not self.is_sign(closes):
            found.append(self.expression())
            if not self.is_sign(closes):
                self.expect("sign", ",")
        self.take()
        return tuple(found)

    def primary(self) -> Tree:
        kind, text, place = self.here
        if kind in ("int", "float", "string", "bytes"):
            self.take()
            return ("literal", _literal(kind, text, place))
        if kind == "name":
            return self.named()
        if self.is_sign("("):
            self.take()
            tree = self.expression()
            self.expect("sign", ")")
            return tree
        if self.is_sign("["):
            return ("list", self.arguments("[", "]"))
        if self.is_sign("{"):
            return ("map", self.pairs())
        raise CelSyntaxError(f"character {place}: a value is missing before {text or 'the end'!r}")

    def named(self) -> Tree:
        _, name, place = self.take()
        if name in _CONSTANTS:
            return ("literal", _CONSTANTS[name])
        if name in _RESERVED or name == "in":
            raise CelSyntaxError(f"character {place}: {name} is a reserved word")
        if not self.is_sign("("):
            return ("name", name)
        arguments = self.arguments()
        if name != "has":
            return ("call", name, arguments)
        if len(arguments) != 1 or arguments[0][0] != "select":
            raise CelSyntaxError(f"character {place}: has() takes one field, such as has(a.b)")
        return ("has", arguments[0][1], arguments[0][2])

    def pairs(self) -> tuple[tuple[Tree, Tree], ...]:
        self.expect("sign", "{")
        found = []
        while not self.is_sign("}"):
            key = self.expression()
            self.expect("sign", ":")
            found.append((key, self.expression()))
            if not self.is_sign("}"):
                self.expect("sign", ",")
        self.take()
        return tuple(found)


def _is_number(tree: Tree) -> bool:
    return tree[0] == "literal" and type(tree[1]) in (int, float)


def _literal(kind: str, text: str, place: int) -> Union[int, float, str, bytes]:
    if kind == "int":
        value = int(text, 0) if text[:2].lower() == "0x" else int(text)
        if value > 2**63:
            raise CelSyntaxError(f"character {place}: {text} is too large")
        return value
    if kind == "float":
        return float(text)
    if kind == "bytes":
        return _unquoted(text[1:], place).encode()
    return _unquoted(text, place)


def _unquoted(text: str, place: int) -> str:
    raw = text[0] in "rR"
    text = text[1:] if raw else text
    quotes = 3 if text[:3] in ('"""', "'''") else 1
    text = text[quotes:-quotes]
    return text if raw else re.sub(r"\\(x..|X..|u.{4}|U.{8}|[0-3]..|.)", lambda one: _escaped(one, place), text)


def _escaped(match: re.Match[str], place: int) -> str:
    word = match.group(1)
    try:
        if word[0] in "xXuU" and len(word) > 1:
            return chr(int(word[1:], 16))
        if word[0] in "0123" and len(word) == 3:
            return chr(int(word, 8))
    except (ValueError, OverflowError):
        raise CelSyntaxError(f"character {place}: \\{word} is no escape") from None
    if word in _ESCAPES:
        return _ESCAPES[word]
    if word in "\\\"'`?":
        return word
    raise CelSyntaxError(f"character {place}: \\{word} is no escape")
