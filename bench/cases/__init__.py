"""The one table: case -> engine or library -> callable. Tests compare the results, benchmarks time.

``CASES`` are the rows, and ``STARTS`` those of whole processes. Their data are made when they are
first needed.
"""

from bench.cases import around, kernels, roofs, starts, verbs
from bench.cases.case import Case, WrongResultError

CASES: list[Case] = [*roofs.cases(), *kernels.cases(), *verbs.cases(), *around.cases()]
STARTS: list[Case] = starts.cases()

__all__ = ["CASES", "STARTS", "Case", "WrongResultError"]
