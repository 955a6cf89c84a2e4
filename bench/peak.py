"""How close do the kernels come to what a core can do: a loop of FMAs on registers?"""

from time import perf_counter
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fastnn.fused.dense import correlate_rows, multiply_rows
from fastnn.fused.plan import CHUNK
from fastnn.fused.tiles import Tile, host_tile, padded_stride
from fastnn.fused.vectors import FLOATS, Value, address, loop

CHAINS = 12  # more than an FMA's latency times those started in a cycle; fewer than registers
SHAPES = ((784, 128), (512, 512))
ROWS = 128
SECONDS = 0.2  # for each of the figures that are taken in turn
ROUNDS = 5


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


def kernels(tile: Tile, fan_in: int, fan_out: int) -> dict[str, Any]:
    """Return functions of a number of repeats: each kernel on one layer, and its FMAs."""
    rng = np.random.default_rng(0)
    stride, back = padded_stride(fan_out, tile), padded_stride(fan_in, tile)
    A, W, WT, out, slope, dW, b = (
        rng.random(size, dtype=np.dtype(tile.dtype).type)
        for size in (
            ROWS * fan_in, fan_in * fan_out, fan_out * back, ROWS * stride, ROWS * back,
            fan_in * fan_out, max(back, stride),
        )
    )  # fmt: skip
    size = tile.bytes
    rows = A.ctypes.data + size * fan_in * np.arange(ROWS)
    deltas = out.ctypes.data + size * stride * np.arange(ROWS)
    arrays = A, rows, deltas, W, WT, out, slope, dW, b

    @njit(nogil=True)
    def forward(repeats, arrays):
        _, rows, _, W, _, out, _, _, b = arrays
        for _ in range(repeats):
            multiply_rows(
                tile, address(rows, 0), 0, ROWS, fan_in, address(W, 0), fan_out, fan_out,
                address(b, 0), True, address(out, 0), stride,
            )  # fmt: skip

    @njit(nogil=True)
    def input_gradient(repeats, arrays):
        _, _, deltas, _, WT, _, slope, _, b = arrays
        for _ in range(repeats):
            multiply_rows(
                tile, address(deltas, 0), 0, ROWS, fan_out, address(WT, 0), back, fan_in,
                address(b, 0), False, address(slope, 0), back,
            )  # fmt: skip

    @njit(nogil=True)
    def weight_gradient(repeats, arrays):
        _, rows, _, _, _, out, _, dW, _ = arrays
        for _ in range(repeats):
            for k in range(0, fan_in, 2 * tile.height):
                correlate_rows(
                    tile, address(rows, 0), CHUNK, address(out, 0), stride,
                    k, min(k + 2 * tile.height, fan_in), fan_out,
                    address(dW, k * fan_out), fan_out, False,
                )  # fmt: skip

    found = {"forward": forward, "input gradient": input_gradient}
    found["weight gradient"] = weight_gradient
    return {name: lambda n, run=run: run(n, arrays) for name, run in found.items()}


def rate(run: Any, flop: float) -> float:
    """Return floating-point operations per second."""
    run(1)
    started = perf_counter()
    run(1)
    repeats = max(1, int(SECONDS / ROUNDS / max(perf_counter() - started, 1e-7)))
    started = perf_counter()
    run(repeats)
    return repeats * flop / (perf_counter() - started)


def measure(dtype: str = "float32") -> dict[str, Any]:
    """Return the peak of a core, and each kernel's share of it, medians of interleaved rounds."""
    tile = host_tile(dtype)
    loop_of_fmas = peak_loop(tile)
    peaks: list[float] = []
    shares: dict[str, list[float]] = {}
    made = {shape: kernels(tile, *shape) for shape in SHAPES}
    for _ in range(ROUNDS):
        for (fan_in, fan_out), group in made.items():
            for name, run in group.items():
                peak = rate(loop_of_fmas, 2.0 * CHAINS * tile.lanes)
                peaks.append(peak)
                found = rate(run, 2.0 * ROWS * fan_in * fan_out) / peak
                shares.setdefault(f"{name} {fan_in}x{fan_out}", []).append(found)
    return {
        "dtype": dtype,
        "tile": tile._asdict(),
        "rows": ROWS,
        "peak": float(np.median(peaks)),
        "shares": {name: float(np.median(found)) for name, found in shares.items()},
    }
