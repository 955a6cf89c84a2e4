"""Kernels, roofs and verbs: every row of the table by every engine, verified and then timed."""

import pytest

from bench.cases import CASES
from bench.timing import verify_and_time

# what is refused is one failure, and not also an error that it was not timed
pytestmark = pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")

ROWS = [
    pytest.param(case, engine, id=f"{case.name}-{engine}", marks=getattr(pytest.mark, case.mark))
    for case in CASES
    for engine in case.makers
]


@pytest.mark.parametrize(("case", "engine"), ROWS)
def bench_case(benchmark, case, engine):
    verify_and_time(benchmark, case, engine)
