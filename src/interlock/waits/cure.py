"""What a cure consists of. Values: what is shown before consent is what is carried out.

A Step says what it does and to what; ``interlock.waits.treat`` has the hands. Rules: the least that helps; nothing
against a transaction that makes progress; a copy of the database is made before the first step that writes to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Step(NamedTuple):
    """One act. ``act`` names a hand of ``treat``; ``text`` says it to people; ``writes`` if it changes the database."""

    act: str
    text: str
    data: Mapping[str, Any] = {}
    writes: bool = False


class Cure(NamedTuple):
    """What helps against one finding. Without steps it is ``decide`` that says what a person has to decide."""

    finding: str
    steps: tuple[Step, ...] = ()
    decide: str = ""
