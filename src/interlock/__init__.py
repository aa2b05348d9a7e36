"""Interlock upgrades RPM hosts without wedging the package database.

The layers, from the bottom: ``system`` (doors to the kernel, processes and time), ``host`` and ``rpmdb``,
``waits`` and ``boot``, ``upgrade``; ``depot`` and ``advice`` stand beside ``rpmdb``; ``cli`` is on top and
alone may import ``lab``. ``docs/design.md`` says why, ``tests/unit/test_layers.py`` enforces it.
"""

__version__ = "0.1.0"
