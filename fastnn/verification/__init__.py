"""Proof, on this machine, that an engine computes what the reference does.

Every figure is an observed error divided by what rounding alone can explain; see ``bounds.py``. The
exact values come from float64 for float32, and from NumPy's extended precision for float64. Then
come the checks that allow no error: the same bits for any number of threads, and whether the first
layer skips the zeros of X or not.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

from fastnn.engine import Engine, get_engine
from fastnn.errors import InputError
from fastnn.verification.check import Check
from fastnn.verification.gradients import (
    SHAPES,
    SPARSE,
    check_clipped_losses,
    check_clipping,
    check_gradient,
    check_objective,
)
from fastnn.verification.kernels import FUNCTION_ULP, check_kernels, ulp_error
from fastnn.verification.training import (
    EXTRAS,
    OPTIMIZERS,
    check_bits,
    check_layouts,
    check_train,
    check_trajectory,
)

__all__ = ["DTYPES", "FUNCTION_ULP", "OPTIMIZERS", "Check", "Verification", "ulp_error", "verify"]

DTYPES = ("float32", "float64")
THREADS = (1, 2, 3, 5)


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found."""

    engine: str
    checks: tuple[Check, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return all(check.ok for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.ok)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as numbers and text, for JSON; what is no number becomes None."""
        return {
            "engine": self.engine,
            "ok": self.ok,
            "seconds": self.seconds,
            "checks": [
                {
                    **asdict(check),
                    "observed": check.observed if np.isfinite(check.observed) else None,
                    "ok": check.ok,
                }
                for check in self.checks
            ],
        }


def verify(
    engine: str | Engine = "fused",
    *,
    dtypes: Sequence[str] = DTYPES,
    threads: Sequence[int] = THREADS,
    seed: int = 0,
    on_check: Callable[[Check], None] | None = None,
) -> Verification:
    """Compare an engine with the reference, within proven error bounds.

    Parameters
    ----------
    engine : str or Engine, default="fused"
    dtypes : sequence of {"float32", "float64"}
    threads : sequence of int, default=(1, 2, 3, 5)
        Numbers of threads whose results must have the same bits, with zeros skipped and without;
        for engines given by name.
    seed : int, default=0
        Of the random problems.
    on_check : callable, optional
        Called with each ``Check`` as it is made.

    Returns
    -------
    verification : Verification
        ``.ok`` tells whether all is within bounds; ``.checks`` has each comparison.

    Raises
    ------
    InputError
        For an unknown engine or dtype.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.verify(dtypes=["float32"]).ok
    True
    """
    if not dtypes or not set(dtypes) <= set(DTYPES):
        raise InputError(f"dtypes is {dtypes!r}; expected some of {DTYPES}")
    started = perf_counter()
    runner = get_engine(engine)
    checks = []
    for check in _all_checks(runner, engine, dtypes, threads, seed):
        checks.append(check)
        if on_check is not None:
            on_check(check)
    return Verification(runner.name, tuple(checks), perf_counter() - started)


def _all_checks(
    engine: Engine, name: str | Engine, dtypes: Sequence[str], threads: Sequence[int], seed: int
) -> Iterator[Check]:
    for dtype in dtypes:
        if engine.name == "fused":
            yield from check_kernels(dtype, np.random.default_rng(seed))
        for sizes, n_samples in SHAPES:
            yield from check_gradient(engine, sizes, n_samples, dtype, seed)
        yield from check_objective(engine, dtype, seed)
        yield check_clipping(engine, dtype, seed)
        for output in ("softmax", "logistic"):
            yield check_clipped_losses(engine, output, dtype, seed)
        for output, objective in EXTRAS:
            yield check_train(engine, output, objective, dtype, seed)
        yield from check_gradient(engine, *SPARSE, dtype, seed, layout="sparse")
        for label, optimizer, rate in OPTIMIZERS:
            yield from check_trajectory(engine, label, optimizer, rate, dtype, seed)
        if name == "fused":
            for label, optimizer, rate in OPTIMIZERS:
                yield check_bits(label, optimizer, rate, dtype, threads, seed)
                yield check_layouts(label, optimizer, rate, dtype, threads, seed)
