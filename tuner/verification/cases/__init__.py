"""Verification cases, one module a kind. A decorated function in one of them is a case; nothing else lists it.

`TRIAL` are the cases of every trial, `WINNER` those that a winner has to survive
beyond them; verification.md's letters begin their names.
"""

from tuner.verification.cases import extremes, layouts, modes, other_sizes, values  # noqa: F401  they register their cases
from tuner.verification.cases.case import TRIAL, WINNER, Case, Makes
from tuner.verification.cases.draw import Draw

__all__ = ["TRIAL", "WINNER", "Case", "Draw", "Makes"]
