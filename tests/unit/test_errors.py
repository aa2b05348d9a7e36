"""The tree of errors: every class has a message, a hint and an exit status of the design."""

from __future__ import annotations

import importlib
import pkgutil
import string

import pytest

import interlock
from interlock.errors import Busy, ExitStatus, InterlockError, Refused


def every_error() -> list[type[InterlockError]]:
    for module in pkgutil.walk_packages(interlock.__path__, "interlock."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, waiting = [], [InterlockError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return sorted(found, key=lambda kind: kind.__name__)


def fields_of(kind: type[InterlockError]) -> dict[str, str]:
    text = (kind.__doc__ or "") + kind.hint
    return {name: f"<{name}>" for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_message_hint_and_status(kind: type[InterlockError]) -> None:
    error = kind(**fields_of(kind))
    assert str(error)
    assert "{" not in str(error)
    assert "{" not in error.advice
    assert isinstance(error.exit_status, ExitStatus)
    assert error.exit_status != ExitStatus.DONE


def test_codes_are_unique() -> None:
    codes = [kind(**fields_of(kind)).code for kind in every_error()]
    assert sorted(set(codes)) == sorted(codes)


def test_one_error_in_all_its_forms() -> None:
    error = Busy(owner="rpm -U (pid 7)", age="3 min ago")
    assert str(error) == "Another owner is at work: rpm -U (pid 7), since 3 min ago."
    assert error.as_dict()["error"] == "busy"
    assert error.as_dict()["exit_status"] == 6


def test_braces_in_a_value_are_left_alone() -> None:
    assert "{x}" in str(Refused(reasons="a file named {x}"))
