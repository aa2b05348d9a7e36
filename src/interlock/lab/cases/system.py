"""Cases of the lab: the family of ``interlock.waits.find_system``."""

from __future__ import annotations

from interlock.lab.cases.case import LabCase

CASES: tuple[LabCase, ...] = ()
