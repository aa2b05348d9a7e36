"""Cases of the lab: the family of ``interlock.waits.find_bdb``."""

from __future__ import annotations

from interlock.lab.cases import bdb_chance, bdb_damage, bdb_waits
from interlock.lab.cases.case import LabCase

CASES: tuple[LabCase, ...] = (*bdb_chance.CASES, *bdb_waits.CASES, *bdb_damage.CASES)
