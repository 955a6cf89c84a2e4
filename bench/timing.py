"""A row of the table is verified, then timed, and what was measured is noted."""

from functools import cache
from typing import Any

from threadpoolctl import threadpool_info

from bench.cases import Case
from fastnn.threads import blas_threads


@cache
def blas_in_use() -> str:
    """Return NumPy's BLAS with its version and the kernels that it chose."""
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    # SciPy may bring one of its own, which is not in what is timed here
    pools = [pool for pool in pools if "numpy" in pool["filepath"]] or pools
    names = (f"{p['internal_api']} {p['version']} {p.get('architecture', '')}" for p in pools)
    return ", ".join(sorted({name.strip() for name in names})) or "unknown"


def verify_and_time(benchmark: Any, case: Case, engine: str) -> None:
    """Time what an engine does; refuse, if its result is wrong."""
    with blas_threads(case.threads):
        run = case.makers[engine]()
        case.check(engine, run())  # compiles what is not there yet, too
        describe(benchmark, case, engine)
        if case.mark == "starts":
            rounds = 1 if "cold" in case.name or "compilation" in case.name else 5
            found = benchmark.pedantic(
                lambda run: run(), setup=lambda: ((case.makers[engine](),), {}), rounds=rounds
            )
            case.check(engine, found)
        else:
            benchmark(getattr(run, "timed", run))
    rates(benchmark)


def describe(benchmark: Any, case: Case, engine: str) -> None:
    benchmark.group = case.name
    benchmark.extra_info.update(
        kernel=case.kernel,
        engine=engine,
        layout=case.layout,
        shape=list(case.shape),
        n_samples=case.n_samples,
        threads=case.threads,
        blas=blas_in_use(),
        **{name: float(value) for name, value in case.about().items()},
    )


def rates(benchmark: Any) -> None:
    """Note what was done in a second, by the median."""
    if benchmark.stats is None:  # --benchmark-disable
        return
    info, seconds = benchmark.extra_info, benchmark.stats.stats.median
    info["gflops"] = info["flop"] / seconds / 1e9
    info["gigabytes_per_second"] = info["bytes"] / seconds / 1e9
    info["samples_per_second"] = info["n_samples"] / seconds
