"""Starts of processes: import, warm, compilation, cold; ``-m 'not starts'`` leaves them out."""

import pytest

from bench.cases import STARTS
from bench.timing import verify_and_time

# what is refused is one failure, and not also an error that it was not timed
pytestmark = pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")

ROWS = [
    pytest.param(case, engine, id=f"{case.name}-{engine}")
    for case in STARTS
    for engine in case.makers
]


@pytest.mark.starts
@pytest.mark.parametrize(("case", "engine"), ROWS)
def bench_start(benchmark, case, engine):
    verify_and_time(benchmark, case, engine)
