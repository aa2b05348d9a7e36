"""A ``typing.NamedTuple`` that takes a third of the time to define: a quick look defines two dozen of them.

``typing`` compiles every annotation once more to look at it; nobody at run time does. Type checkers are shown the
real one, where it is imported::

    if TYPE_CHECKING:
        from typing import NamedTuple
    else:
        from interlock.system.record import NamedTuple
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any


class _Definition(type):
    """Makes a tuple class of a class body; what is no field (methods, properties) comes along."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        fields = tuple(body.get("__annotations__", ()))
        defaults = tuple(body[field] for field in fields if field in body)
        made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])  # type: ignore[misc]
        for key, value in body.items():
            if key not in fields and key not in ("__annotations__", "__module__", "__qualname__"):
                setattr(made, key, value)
        made.__annotations__ = dict(body.get("__annotations__", {}))
        return made


NamedTuple: Any = type.__new__(_Definition, "NamedTuple", (), {})
