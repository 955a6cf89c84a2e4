"""What the machine can do at most: FMAs on registers, and numbers streamed from memory and back.

Kernels are to be held against these: one that has F operations and B bytes of traffic cannot take
less time than F / (FMA peak) or, once B does not stay in a cache, B / (memory bandwidth).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from bench.cases.case import Case, Truth
from bench.cases.rounding import U
from fastnn.bounds import g
from fastnn.fused.tiles import Tile, host_tile
from fastnn.fused.vectors import FLOATS, Value, loop

CHAINS = 12  # more than an FMA's latency times those started in a cycle; fewer than registers
TURNS = 2_000_000  # of the loop: some milliseconds, beside which to wake a thread is nothing
STREAMED = 2**27  # float32 numbers, 512 MB: larger than any cache
BEFORE, AFTER = 0.25, 0.75  # x -> 1 - x is exact for both


@cache
def peak_loop(tile: Tile) -> Any:
    """Return a function of n that does n times CHAINS vector FMAs on registers alone."""

    @intrinsic
    def fmas(_, n):
        def generate(_context, builder, _signature, arguments):
            vector = ir.VectorType(FLOATS[tile.dtype], tile.lanes)
            half = Value(builder, ir.Constant(vector, [0.5] * tile.lanes))
            start = {i: ir.Constant(vector, [float(i)] * tile.lanes) for i in range(CHAINS)}

            def body(_i, chains):
                return {i: Value(builder, x).fma(half, half).value for i, x in chains.items()}

            ends = loop(builder, arguments[0], start, body)
            total = half
            for value in ends.values():
                total = total + half.like(value)
            return builder.extract_element(total.value, ir.Constant(ir.IntType(32), 0))

        return getattr(types, tile.dtype)(types.int64), generate

    @njit(nogil=True)
    def run(n):
        return fmas(n)

    return run


@njit(nogil=True)
def turn_over(x):
    """x = 1 - x in place: reads and writes every number once, without fetching more."""
    one = x.dtype.type(1)
    for i in range(x.size):
        x[i] = one - x[i]


def side_by_side(threads: int, work: Callable[[int], Any]) -> Callable[[], list[Any]]:
    """Return a function that does ``work(member)`` in so many threads at a time."""
    if threads == 1:
        return lambda: [work(0)]
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(work, range(threads)))


def peak_case(threads: int) -> Case:
    tile = host_tile("float32")

    def make() -> Any:
        run = side_by_side(threads, lambda _: peak_loop(tile)(TURNS))
        return lambda: (run(),)

    # each chain ends at 1, and a half is added to their sum
    truth = Truth((np.full(threads, CHAINS + 0.5),), (g(CHAINS + 2, U) * (CHAINS + 0.5),))
    flop = 2.0 * CHAINS * tile.lanes * TURNS * threads
    return roof("FMA peak", threads, make, truth, {"flop": flop, "bytes": 0.0})


def bandwidth_case(threads: int) -> Case:
    def make() -> Any:
        x = np.full(STREAMED, BEFORE, np.float32)
        parts = np.array_split(x, threads)
        run = side_by_side(threads, lambda member: turn_over(parts[member]))

        def stream() -> Any:
            run()
            return x.min(initial=2), x.max(initial=-2)

        # the extremes tell of every number, but to look for them reads them all again
        stream.timed = run  # type: ignore[attr-defined]
        return stream

    facts = {"flop": float(STREAMED), "bytes": 8.0 * STREAMED}
    return roof("memory bandwidth", threads, make, Truth((AFTER, AFTER), (0.0, 0.0)), facts)


def roof(name: str, threads: int, make: Any, truth: Truth, facts: dict[str, float]) -> Case:
    plural = "" if threads == 1 else "s"
    return Case(
        f"roof: {name}, {threads} thread{plural}", name, {"machine": make}, lambda: truth,
        lambda: {**facts, "density": 1.0}, threads=threads, mark="kernels",
    )  # fmt: skip


def cases() -> list[Case]:
    """Return the roofs, of one thread and of two."""
    return [case(threads) for case in (peak_case, bandwidth_case) for threads in (1, 2)]
