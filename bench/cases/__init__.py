"""The one table: case -> engine or library -> callable. Tests compare the results, benchmarks time.

`CASES` are the rows. What is in them is made when it is first needed.
"""

from bench.cases import kernels, roofs
from bench.cases.case import Case, WrongResult

CASES: list[Case] = [*roofs.cases(), *kernels.cases()]
ROWS = [(case, engine) for case in CASES for engine in case.makers]

__all__ = ["CASES", "ROWS", "Case", "WrongResult"]
