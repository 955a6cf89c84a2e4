"""How close do the kernels come to what a core can do: a loop of FMAs on registers?"""

from time import perf_counter
from typing import Any

import numpy as np
from numba import njit

from bench.cases.roofs import CHAINS, peak_loop
from fastnn.fused.dense import block_stride, correlate_rows, multiply_rows, pack_block, pack_rows
from fastnn.fused.plan import CHUNK, aligned
from fastnn.fused.probe import row_addresses as addresses
from fastnn.fused.tiles import LINE, Tile, host_tile, padded_stride
from fastnn.fused.vectors import address

SHAPES = ((784, 128), (512, 512))
ROWS = 128
SECONDS = 0.2  # for each of the figures that are taken in turn
ROUNDS = 5


def kernels(tile: Tile, fan_in: int, fan_out: int) -> dict[str, Any]:
    """Return functions of a number of repeats: each kernel on one layer, as a run calls it."""
    rng = np.random.default_rng(0)
    stride, back = padded_stride(fan_out, tile), padded_stride(fan_in, tile)
    A, W, WT, out, D, slope, dW = (
        aligned(rng.random(size + LINE, dtype=np.dtype(tile.dtype).type))
        for size in (
            ROWS * back, (fan_in + 1) * stride, (fan_out + 1) * back, ROWS * stride, ROWS * stride,
            ROWS * back, fan_in * fan_out,
        )
    )  # fmt: skip
    columns = aligned(np.zeros(ROWS * (tile.block + tile.lanes) + LINE, tile.dtype))
    A, out = A[: ROWS * back], out[: ROWS * stride]
    rows, deltas = (addresses(matrix.reshape(ROWS, -1)) for matrix in (A, out))

    arrays = A, rows, deltas, W, WT, out, D, slope, dW, columns

    @njit(nogil=True)
    def forward(repeats, arrays):
        _, rows, _, W, _, out, _, _, _, _ = arrays
        for _ in range(repeats):
            multiply_rows(
                tile, address(rows, 0), 0, ROWS, fan_in, address(W, 0), fan_out, True,
                address(out, 0), stride,
            )  # fmt: skip

    @njit(nogil=True)
    def input_gradient(repeats, arrays):
        _, _, deltas, _, WT, _, _, slope, _, _ = arrays
        for _ in range(repeats):
            multiply_rows(
                tile, address(deltas, 0), 0, ROWS, fan_out, address(WT, 0), fan_in, False,
                address(slope, 0), back,
            )  # fmt: skip

    @njit(nogil=True)
    def weight_gradient(repeats, arrays):
        _, rows, deltas, _, _, _, D, _, dW, columns = arrays
        for _ in range(repeats):
            pack_rows(tile, address(deltas, 0), 0, ROWS, fan_out, address(D, 0), CHUNK)
            for k in range(0, fan_in, tile.block):
                height = min(tile.block, fan_in - k)
                pack_block(tile, address(rows, 0), k, height, ROWS, address(columns, 0))
                correlate_rows(
                    tile, address(columns, 0), block_stride(tile, height), ROWS, address(D, 0), 0,
                    height, fan_out, address(dW, k * fan_out), fan_out, False,
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
