"""What stands against a plan."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One reason why a set of packages does not hold together.

    ``kind`` is ``requirement``, ``file-requirement``, ``broken`` (a remaining package loses what it needs),
    ``conflict``, ``duplicate`` (installed twice already) or ``missing-package`` (named by a bulletin, not in the
    depot). ``package`` is the NEVRA it is about, ``text`` is for people, ``relation`` what is not met.
    """

    kind: str
    package: str
    text: str
    relation: str = ""
