"""Cases of families.py that reduce: rows, columns, groups, everything."""

from __future__ import annotations

from family_case import Case

CASES: tuple[Case, ...] = ()
