"""Evaluates CEL over JSON values.

Errors are values of the language: ``&&`` and ``||`` need only one side, ``all`` and ``exists`` only as many items as
decide. Two kinds are told apart, because a rule must: a fact that is missing (``Unknown``) and a mistake in the rule
(``CelError``). Steps are bounded, and patterns that could take for ever are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

from interlock.advice.cel_parse import CelSyntaxError, Tree, parse
from interlock.package import Evr

MOST_STEPS = 200_000
LONGEST_SUBJECT = 256
LONGEST_PATTERN = 256
MOST_REPEATS = 3
LEAST, GREATEST = -(2**63), 2**63 - 1


class CelError(Exception):
    """A mistake of the expression: wrong types, an unknown name, division by zero, too many steps."""


class Unknown(CelError):
    """A fact that the expression needs is not known. ``fact`` is its path, such as ``host.glibc.version``."""

    def __init__(self, fact: str) -> None:
        self.fact = fact
        super().__init__(f"{fact} is not known")


class Expression:
    """One expression, parsed once. CelSyntaxError where it is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self.tree = parse(text)
        except RecursionError:
            raise CelSyntaxError("it is nested too deeply") from None

    def value(self, facts: Mapping[str, Any]) -> Any:
        """Return its value over these variables. Raises Unknown, CelError."""
        try:
            return _Evaluation().of(self.tree, facts)
        except RecursionError:
            raise CelError("it is nested too deeply") from None

    def truth(self, facts: Mapping[str, Any]) -> bool:
        """Return its value, which must be true or false."""
        value = self.value(facts)
        if not isinstance(value, bool):
            raise CelError(f"it is {kind_of(value)}, not true or false")
        return value


def kind_of(value: Any) -> str:
    """Return the language's name of a value's type."""
    names = {bool: "bool", int: "int", float: "double", str: "string", bytes: "bytes", list: "list", dict: "map"}
    return "null_type" if value is None else names.get(type(value), "map")


class _Evaluation:
    def __init__(self) -> None:
        self.steps = 0

    def of(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise CelError(f"it takes more than {MOST_STEPS} steps")
        return getattr(self, f"_{tree[0]}")(tree, scope)

    def _literal(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        if type(tree[1]) is int and not LEAST <= tree[1] <= GREATEST:
            raise CelError(f"{tree[1]} is too large")
        return tree[1]

    def _name(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        if tree[1] not in scope:
            raise CelError(f"there is no variable {tree[1]}")
        return scope[tree[1]]

    def _list(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        return [self.of(one, scope) for one in tree[1]]

    def _map(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        found: dict[Any, Any] = {}
        for key_tree, value_tree in tree[1]:
            key = self.of(key_tree, scope)
            if kind_of(key) not in ("string", "int", "bool") or key in found:
                raise CelError(f"{key!r} is no key, or is there twice")
            found[key] = self.of(value_tree, scope)
        return found

    def _if(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        chosen = self.of(tree[1], scope)
        if not isinstance(chosen, bool):
            raise CelError(f"? needs true or false before it, not {kind_of(chosen)}")
        return self.of(tree[2] if chosen else tree[3], scope)

    def _unary(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        value = self.of(tree[2], scope)
        if tree[1] == "!" and isinstance(value, bool):
            return not value
        if tree[1] == "-" and kind_of(value) in ("int", "double"):
            return _in_range(-value)
        raise CelError(f"{tree[1]} has no meaning for {kind_of(value)}")

    def _select(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        value = self.of(tree[1], scope)
        if not isinstance(value, dict):
            raise CelError(f"{kind_of(value)} has no field {tree[2]}")
        if tree[2] not in value:
            raise Unknown(path_of(tree))
        return value[tree[2]]

    def _has(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        value = self.of(tree[1], scope)
        if not isinstance(value, dict):
            raise CelError(f"{kind_of(value)} has no field {tree[2]}")
        return tree[2] in value

    def _index(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        value, key = self.of(tree[1], scope), self.of(tree[2], scope)
        if isinstance(value, list) and kind_of(key) == "int":
            if 0 <= key < len(value):
                return value[key]
            raise CelError(f"the list has {len(value)} items, not {key + 1}")
        if isinstance(value, dict):
            if kind_of(key) in ("string", "int", "bool") and key in value:
                return value[key]
            raise Unknown(f"{path_of(tree[1])}[{key!r}]")
        raise CelError(f"{kind_of(value)} has no items by {kind_of(key)}")

    def _binary(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        if tree[1] in ("&&", "||"):
            return self._logic([tree[2], tree[3]], lambda one: self.of(one, scope), tree[1] == "||")
        return _operate(tree[1], self.of(tree[2], scope), self.of(tree[3], scope))

    def _logic(self, parts: Sequence[Any], evaluate: Callable[[Any], Any], decides: bool) -> bool:
        """Return ``decides`` where one part is that; an error elsewhere counts only where none is."""
        error: Optional[CelError] = None
        for part in parts:
            try:
                value = evaluate(part)
                if not isinstance(value, bool):
                    raise CelError(f"{kind_of(value)} is not true or false")
            except CelError as problem:
                # A mistake says more than a missing fact.
                error = problem if error is None or isinstance(error, Unknown) else error
                continue
            if value == decides:
                return decides
        if error is not None:
            raise error
        return not decides

    def _call(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        function = FUNCTIONS.get(tree[1])
        if function is None:
            raise CelError(f"there is no function {tree[1]}")
        return function(*[self.of(one, scope) for one in tree[2]], name=tree[1])

    def _macro(self, tree: Tree, scope: Mapping[str, Any]) -> Any:
        _, name, target, variable, said = tree
        items = self.of(target, scope)
        if not isinstance(items, (list, dict)):
            raise CelError(f"{name} has no meaning for {kind_of(items)}")

        def within(item: Any, what: Tree) -> Any:
            return self.of(what, {**scope, variable: item})

        if name in ("all", "exists"):
            return self._logic(list(items), lambda item: within(item, said[0]), name == "exists")
        kept = [item for item in items if (len(said) == 1 and name == "map") or _true(within(item, said[0]))]
        if name == "exists_one":
            return len(kept) == 1
        return kept if name == "filter" else [within(item, said[-1]) for item in kept]


def path_of(tree: Tree) -> str:
    """Return how a person would write the fact that a tree asks for."""
    if tree[0] == "select":
        return f"{path_of(tree[1])}.{tree[2]}"
    return str(tree[1]) if tree[0] == "name" else "..."


def _true(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError(f"{kind_of(value)} is not true or false")
    return value


def _in_range(value: Any) -> Any:
    if type(value) is int and not LEAST <= value <= GREATEST:
        raise CelError("the number is too large")
    return value


def _operate(sign: str, left: Any, right: Any) -> Any:
    if sign in ("==", "!="):
        return _equal(left, right) == (sign == "==")
    if sign == "in":
        return _is_in(left, right)
    kinds = (kind_of(left), kind_of(right))
    if sign in ("<", "<=", ">", ">="):
        return _compare(sign, left, right, kinds)
    if kinds[0] == kinds[1]:
        if sign == "+" and kinds[0] in ("string", "list", "bytes"):
            return left + right
        if kinds[0] == "int" or (kinds[0] == "double" and sign != "%"):
            return _in_range(_calculate(sign, left, right))
    raise CelError(f"{sign} has no meaning between {kinds[0]} and {kinds[1]}")


def _equal(left: Any, right: Any) -> bool:
    kinds = {kind_of(left), kind_of(right)}
    if len(kinds) > 1:
        return kinds == {"int", "double"} and left == right
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    return bool(left == right)


def _is_in(item: Any, among: Any) -> bool:
    if isinstance(among, list):
        return any(_equal(item, one) for one in among)
    if isinstance(among, dict):
        return any(_equal(item, one) for one in among)
    raise CelError(f"in has no meaning for {kind_of(among)}")


def _compare(sign: str, left: Any, right: Any, kinds: tuple[str, str]) -> bool:
    ordered = ("int", "double", "string", "bytes", "bool")
    if not ((kinds[0] == kinds[1] and kinds[0] in ordered) or set(kinds) == {"int", "double"}):
        raise CelError(f"{sign} has no meaning between {kinds[0]} and {kinds[1]}")
    if sign in ("<", ">"):
        return bool(left < right if sign == "<" else left > right)
    return bool(left <= right if sign == "<=" else left >= right)


def _calculate(sign: str, left: Any, right: Any) -> Any:
    if sign in ("/", "%") and right == 0 and type(right) is int:
        raise CelError("division by zero")
    if sign == "/":
        if type(left) is int:
            return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return left / right if right else math.nan if left == 0 or math.isnan(left) else math.inf * left
    if sign == "%":
        return abs(left) % abs(right) * (-1 if left < 0 else 1)
    return left + right if sign == "+" else left - right if sign == "-" else left * right


def _texts(count: int, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, name: str) -> Any:
        if len(arguments) != count or not all(isinstance(one, str) for one in arguments):
            raise CelError(f"{name} takes {count} strings, not {', '.join(map(kind_of, arguments)) or 'nothing'}")
        return function(*arguments)

    return call


def _size(*arguments: Any, name: str) -> int:
    if len(arguments) != 1 or not isinstance(arguments[0], (str, bytes, list, dict)):
        raise CelError(f"{name} takes a string, bytes, list or map")
    return len(arguments[0])


def _convert(function: Callable[[Any], Any], kinds: Sequence[str]) -> Callable[..., Any]:
    def call(*arguments: Any, name: str) -> Any:
        if len(arguments) != 1 or kind_of(arguments[0]) not in kinds:
            raise CelError(f"{name} has no meaning for {', '.join(map(kind_of, arguments)) or 'nothing'}")
        try:
            return _in_range(function(arguments[0]))
        except (ValueError, OverflowError):
            raise CelError(f"{arguments[0]!r} cannot become {name}") from None

    return call


def _to_string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.decode() if isinstance(value, bytes) else str(value)


def _to_int(value: Any) -> int:
    if isinstance(value, str) and not re.fullmatch(r"[+-]?\d+", value, re.ASCII):
        raise ValueError(value)
    return int(value)


def _to_bool(value: Any) -> bool:
    words = {"true": True, "True": True, "TRUE": True, "t": True, "1": True,
             "false": False, "False": False, "FALSE": False, "f": False, "0": False}  # fmt: skip
    if isinstance(value, bool):
        return value
    if value not in words:
        raise ValueError(value)
    return words[value]


def matches(text: str, pattern: str) -> bool:
    """Say whether a pattern is found in a text. CelError where it is none, or could take for ever."""
    if len(pattern) > LONGEST_PATTERN or len(text) > LONGEST_SUBJECT:
        raise CelError(f"matches takes at most {LONGEST_SUBJECT} characters")
    if re.search(r"\(\?(?![:iP])|\\[1-9]|\(\?P=|\)[*+{]", pattern) or len(re.findall(r"[*+{]", pattern)) > MOST_REPEATS:
        raise CelError(f"the pattern {pattern!r} repeats a group or looks around, which could take for ever")
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError):
        raise CelError(f"{pattern!r} is no pattern") from None


def _version_compare(left: str, right: str) -> int:
    return Evr.parse(left).compare(Evr.parse(right))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "size": _size,
    "contains": _texts(2, lambda text, part: part in text),
    "startsWith": _texts(2, lambda text, part: text.startswith(part)),
    "endsWith": _texts(2, lambda text, part: text.endswith(part)),
    "matches": _texts(2, matches),
    "lower": _texts(1, str.lower),
    "version_compare": _texts(2, _version_compare),
    "int": _convert(_to_int, ("int", "double", "string")),
    "double": _convert(float, ("int", "double", "string")),
    "string": _convert(_to_string, ("int", "double", "string", "bool", "bytes")),
    "bool": _convert(_to_bool, ("bool", "string")),
    "type": _convert(kind_of, ("bool", "int", "double", "string", "bytes", "list", "map", "null_type")),
    "dyn": lambda value, name: value,
}


def walk(tree: Any) -> Iterator[Tree]:
    """Yield a tree and all trees in it."""
    if isinstance(tree, tuple):
        if tree and isinstance(tree[0], str):
            yield tree
        for one in tree:
            yield from walk(one)
