"""The phases of a run one by one, on one thread: what ``program.py`` calls, called again and again.

A ``Run`` lays out its arrays as for training; then compiled code does one phase on them.
"""

from functools import cache
from math import inf
from typing import Any

import numpy as np
from numba import njit, types

import fastnn
from fastnn.compiling import compile_and_keep
from fastnn.fused.compiled import source_hash
from fastnn.fused.head import loss_and_delta
from fastnn.fused.plan import ABREAST, BLOCK, CHUNK, GRADIENT, TRAIN, Call, make_plan
from fastnn.fused.run import Run
from fastnn.fused.samples import backward, find_samples, forward, pack_slopes
from fastnn.fused.sparse import forward_rows
from fastnn.fused.table import arrays_of
from fastnn.fused.tiles import Tile, host_tile
from fastnn.fused.update import step_of
from fastnn.fused.vectors import NO, ONE, ZERO, span
from fastnn.fused.weights import move_weights, refresh_panels

READY, FORWARD, BACKWARD, HEAD, WEIGHTS = range(5)


def make_entry(tile: Tile, version: str, *, keep: bool) -> Any:
    """Return the phases for a tile, to be compiled; ``version`` is part of the cache's key."""

    @njit(nogil=True, cache=keep, error_model="numpy", _nrt=False)
    def phase(which, repeats, n, table, zero, logits):
        version  # noqa: B018
        a = arrays_of(table, zero)
        for _ in range(repeats):
            if which == READY:
                for layer in range(a.layers.size):
                    refresh_panels(tile, ZERO, ONE, a, layer)
                find_samples(tile, a, ZERO, ZERO, n, float(n))
            elif which in (FORWARD, BACKWARD):
                parts = (n + BLOCK - 1) // BLOCK  # as ``propagate`` cuts them
                for part in range(parts):
                    begin, end = n * part // parts, n * (part + 1) // parts
                    if which == BACKWARD:
                        backward(tile, ZERO, a, begin, end, ZERO, ZERO)
                        continue
                    if a.run[0].skips:
                        forward_rows(tile, ZERO, a, span(a.order, begin, end - begin), begin)
                    forward(tile, ZERO, a, begin, end, ZERO, ZERO)
            elif which == HEAD:
                output = a.layers[a.layers.size - 1]
                size = a.run[0].head_size
                scratch = span(a.workspace, a.run[0].head, size)
                for i in range(0, n, ABREAST):
                    m = min(ABREAST, n - i)
                    Z = span(a.workspace, output.A + i * output.stride, m * output.stride)
                    source = span(logits, i * output.stride, m * output.stride)
                    for k in range(m * output.stride):  # the head writes over its logits
                        Z[k] = source[k]
                    loss_and_delta(
                        Z, output.stride, m, output.fan_out, scratch, span(a.labels, i, m),
                        span(a.shares, i, m), span(a.sample_losses, i, m), 0.0, 0.0, inf,
                    )  # fmt: skip
            else:
                for layer in range(a.layers.size):
                    pack_slopes(tile, a, layer, ZERO, n)
                step = step_of(a.run[0], a.parameters, a.rates[0], a.run[0].step + 1)
                refreshes = a.run[0].mode == TRAIN
                move_weights(
                    tile, ZERO, ONE, a, ZERO, n, NO, ONE == ONE, float(n), step, refreshes,
                )  # fmt: skip

    return phase


@cache
def entry(tile: Tile) -> Any:
    """Return the compiled phases."""
    zero = getattr(types, tile.dtype)
    integers = (types.int64,) * 4
    signature = (*integers, zero, types.Array(zero, 1, "C"))
    return compile_and_keep(lambda keep: make_entry(tile, source_hash(), keep=keep), signature)[0]


class Phases:
    """The arrays of one batch of a network, and its phases.

    ``state`` gives the optimizer and its moments; without, the gradient is stored.
    """

    def __init__(
        self, network: Any, parameters: Any, X: Any, y: Any, *, layout: str, state: Any = None,
        rate: float = 0.0,
    ) -> None:  # fmt: skip
        self.n, dtype = len(y), parameters.dtype
        self.tile = host_tile(dtype.name)
        self.gradient = np.zeros_like(parameters.vector)
        run = Run(
            GRADIENT if state is None else TRAIN,
            network,
            parameters.vector,
            moments=() if state is None else state.moments,
            optimizer=None if state is None else state.optimizer,
            step=0 if state is None else state.step,
            X=fastnn.prepare(X, layout=layout),
            y=y,
            order=np.arange(self.n),
            batch_size=self.n,
            rates=np.array([rate]),
            result=self.gradient if state is None else None,
        )
        room = run.room(1)
        if room.chunks or self.n > room.rows:
            raise ValueError("a run would cut this batch otherwise")
        self.plan = make_plan(network, self.tile, room)
        self._kept = run, Call(run.arrays(self.plan, 1))
        self._arguments = self._kept[1].arguments
        self._nothing = np.zeros(CHUNK, dtype)
        self.do(READY)

    def do(self, which: int, repeats: int = 1, logits: Any = None) -> None:
        """Do a phase."""
        logits = self._nothing if logits is None else logits
        entry(self.tile)(which, repeats, self.n, *self._arguments, logits)

    def room_of(self, layer: int, name: str) -> Any:
        """Return a layer's A or delta: rows ``stride`` apart, with room for writing."""
        record = self.plan.layers[layer]
        place, stride = int(record[name]), int(record["stride"])
        rows = self.plan.workspace[place : place + self.n * stride].reshape(self.n, stride)
        return rows[:, : int(record["fan_out"])]
