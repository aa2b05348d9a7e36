"""Rich requirements: ``(a or b)``, ``(a and b)``, ``(a if b else c)``, ``(a unless b)``, ``(a with b)``.

``with`` and ``without`` are about one and the same package; here they are read as "both" and "the first", which
is right but for rare cases: rpm's own test of the transaction has the last word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Callable, Optional, Union

from interlock.package import Evr, Relation

OPERATORS = ("and", "or", "if", "unless", "with", "without")
_DEPTH = 32
_SENSES = ("<", "<=", "=", ">=", ">")
_TOKEN = re.compile(r"\s*([()]|[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)")
Test = Callable[[Relation], bool]


@dataclass(frozen=True)
class Rich:
    """One operator with its sides; ``otherwise`` is the side of ``else``."""

    operator: str
    left: Node
    right: Node
    otherwise: Optional[Node] = None


Node = Union[Rich, Relation]


def is_rich(relation: Relation) -> bool:
    """Say whether a requirement is a rich one."""
    return relation.name.startswith("(")


@lru_cache(maxsize=4096)
def parse_rich(text: str) -> Optional[Node]:
    """Read a rich requirement; None where it is not one that we know."""
    tokens = _tokens(text)
    try:
        node = _group(tokens, 0)
    except (IndexError, ValueError):
        return None
    return None if tokens else node


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found or found.end() == at:
            break
        at = found.end()
        if found.group(1):
            tokens.append(found.group(1))
    return tokens[::-1]


def _group(tokens: list[str], depth: int) -> Node:
    if tokens.pop() != "(" or depth > _DEPTH:
        raise ValueError
    node = _operand(tokens, depth)
    while tokens[-1] != ")":
        node = _operation(node, tokens, depth)
    tokens.pop()
    return node


def _operation(left: Node, tokens: list[str], depth: int) -> Node:
    operator = tokens.pop()
    if operator not in OPERATORS:
        raise ValueError
    right = _operand(tokens, depth)
    otherwise = None
    if operator in ("if", "unless") and tokens[-1] == "else":
        tokens.pop()
        otherwise = _operand(tokens, depth)
    return Rich(operator, left, right, otherwise)


def _operand(tokens: list[str], depth: int) -> Node:
    if tokens[-1] == "(":
        return _group(tokens, depth + 1)
    name = tokens.pop()
    if name == ")":
        raise ValueError
    if tokens[-1] in _SENSES:
        sense = tokens.pop()
        return Relation(name, sense, Evr.parse(tokens.pop()))
    return Relation(name)


def leaves(node: Optional[Node]) -> list[Relation]:
    """Return the plain requirements that a rich one is made of."""
    if node is None or isinstance(node, Relation):
        return [] if node is None else [node]
    return [*leaves(node.left), *leaves(node.right), *leaves(node.otherwise)]


def is_met(node: Node, met: Test) -> bool:
    """Say whether a requirement holds where ``met`` answers for the plain ones."""
    if isinstance(node, Relation):
        return met(node)
    left, right = is_met(node.left, met), is_met(node.right, met)
    other = is_met(node.otherwise, met) if node.otherwise is not None else None
    if node.operator in ("and", "with"):
        return left and right
    if node.operator == "or":
        return left or right
    if node.operator == "if":
        return left if right else other is not False
    if node.operator == "unless":
        return (other is True) if right else left
    return left


def wanted(node: Node, met: Test, available: Test) -> tuple[Relation, ...]:
    """Return ``available`` plain requirements that would make it hold; none where there is no way."""
    if isinstance(node, Relation):
        return (node,) if available(node) else ()
    if node.operator in ("and", "with"):
        return _all_sides([one for one in (node.left, node.right) if not is_met(one, met)], met, available)
    if node.operator == "or":
        return wanted(node.left, met, available) or wanted(node.right, met, available)
    side = node.left
    if node.operator in ("if", "unless") and is_met(node.right, met) != (node.operator == "if"):
        side = node.otherwise or node.left
    return wanted(side, met, available)


def _all_sides(sides: list[Node], met: Test, available: Test) -> tuple[Relation, ...]:
    found = [wanted(one, met, available) for one in sides]
    return tuple(relation for some in found for relation in some) if all(found) else ()
