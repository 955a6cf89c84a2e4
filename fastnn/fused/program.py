"""The compiled run: every step of every batch, in one call per thread.

A batch goes through in groups of samples, and a group in two parts. First each thread takes its
share of the *samples* through the layers and back: activations, the loss, and the slope ``delta``
of the loss by each layer's Z. All meet. Then each thread takes its share of the *weights*: their
gradient over all samples of the group, and with the batch's last group the update. All meet again.
So no two threads ever write to one place, nothing has to be added up between threads, and how many
there are makes no difference to a single bit.

Sums over samples are chains of CHUNK terms, added in order. Where many chunks meet few parameters,
a thread instead takes whole chunks, forward, back and to their part of the gradient, all in its
first cache; after the meeting, each adds up its share of the parameters in the order of the chunks.
That is the same sum, so the bits are the same.

A gradient that is clipped is stored whole first. All meet, add up the squares of their parts, meet
again, and each moves its share of the parameters.

What every thread computes for itself, such as the loss of the batch after the first meeting, is the
same for all, and so they all decide alike whether to go on.
"""

from math import isfinite
from typing import Any

from numba import njit

from fastnn.fused.barrier import load_atomically, meet
from fastnn.fused.plan import (
    ABREAST,
    BATCHES,
    CHUNK,
    COUNTER,
    DIVERGED,
    ENTERED,
    PREDICT,
    STATUS,
    STEPS,
    STOP,
    STOP_SEEN,
    TRAIN,
    UPDATE,
)  # fmt: skip
from fastnn.fused.samples import predict, propagate
from fastnn.fused.share import share
from fastnn.fused.table import arrays_of
from fastnn.fused.tiles import Tile
from fastnn.fused.update import move, step_of
from fastnn.fused.vectors import ONE, address, inlined, inner, span
from fastnn.fused.weights import (
    gradient_of_chunk,
    move_by_partials,
    move_clipped,
    move_weights,
    refresh_panels,
    square_gradient,
    square_weights,
    sum_in_order,
)


def make_entry(tile: Tile, version: str, *, keep: bool) -> Any:
    """Return the entry for a tile, to be compiled, and ``keep`` it on disk.

    ``version`` and ``tile`` are closed over, which makes them part of the key it is kept under.
    """

    # without Numba's runtime nothing can be allocated, and no references are counted: that took
    # a fifth of the time of small networks, and the counters went from core to core
    @njit(nogil=True, cache=keep, error_model="numpy", _nrt=False)
    def fastnn_run(member, members, table, zero):
        """Do one thread's part of a run; ``table`` is the address of those of the arrays."""
        version  # noqa: B018
        a = arrays_of(table, zero)
        mode, counter = a.run[0].mode, address(a.control, COUNTER)
        if member == 0:
            a.control[ENTERED] = 1
        if mode == PREDICT:
            meeting = 0
            if not a.run[0].is_packed:
                for l in range(a.layers.size):
                    refresh_panels(tile, member, members, a, l)
                meeting += 1
                meet(counter, meeting, members)
            predict(tile, member, members, a)
            meet(counter, meeting + 1, members)
        elif mode == UPDATE:
            first, last = share(a.parameters.size, ABREAST, member, members)
            step = step_of(a.run[0], a.parameters, a.rates[0], a.run[0].step + 1)
            move(step, a, first, span(a.result, first, last - first))
            meet(counter, ONE, members)
        else:
            train(tile, member, members, a)

    return fastnn_run


@inner
def weight_of(a, start, n):
    """Return the sum of the sample weights of n samples of the order."""
    if not a.weights.size:
        return float(n)
    total = 0.0
    for i in range(start, start + n):
        total += a.weights[a.order[i]]
    return total


@inner
def loss_of(a, size, total):
    """Return the loss of the batch; only after all have met."""
    loss = sum_in_order(span(a.sample_losses, 0, size))
    if a.run[0].alpha > 0:
        loss += a.run[0].alpha * sum_in_order(a.squares) / (2.0 * total)
    return loss


@inlined
def take_chunks(tile, member, members, a, start, size, total, updates):
    """Take one thread's share of a batch's chunks forward, back and to their gradients."""
    place = member * CHUNK
    first, last = share((size + CHUNK - 1) // CHUNK, ONE, member, members)
    for chunk in range(first, last):
        begin = chunk * CHUNK
        n = min(CHUNK, size - begin)
        offset = begin - place
        propagate(tile, member, a, start + offset, offset, place, place + n, total, updates)
        gradient_of_chunk(tile, member, a, place, n, chunk * a.parameters.size)


@inlined
def train(tile, member, members, a):
    """Run all batches, or compute the gradient of the only one."""
    run, counter, meeting = a.run[0], address(a.control, COUNTER), 1
    for l in range(a.layers.size):
        refresh_panels(tile, member, members, a, l)
    meet(counter, meeting, members)
    steps = 0
    for batch in range(a.losses.size):
        start = batch * run.batch_size
        size = min(run.batch_size, run.n_samples - start)
        total = weight_of(a, start, size)
        loss, stopping = 0.0, False
        if total > 0:
            updates = run.step + steps
            steps += 1
            step = step_of(run, a.parameters, a.rates[batch], run.step + steps)
            if run.alpha > 0:
                square_weights(member, members, a)
            group_size = size if run.by_chunks else run.group
            for group in range(0, size, group_size):
                n = min(group_size, size - group)
                ends = group + n == size
                if run.by_chunks:
                    take_chunks(tile, member, members, a, start, size, total, updates)
                else:
                    first, last = share(n, ONE if run.skips else tile.height, member, members)
                    propagate(tile, member, a, start + group, group, first, last, total, updates)
                if member == 0:
                    a.control[STOP_SEEN] = load_atomically(address(a.control, STOP))
                meet(counter, meeting + 1, members)
                stopping = a.control[STOP_SEEN] != 0
                if ends:
                    loss = loss_of(a, size, total)
                    if run.mode == TRAIN and not isfinite(loss):
                        if member == 0:
                            a.losses[batch] = loss
                            a.control[STATUS] = DIVERGED
                        meet(counter, meeting + 2, members)  # all have read what they need
                        return
                clips = run.clip_norm > 0
                refreshes = run.mode == TRAIN and batch + 1 < a.losses.size
                if run.by_chunks:
                    chunks = (size + CHUNK - 1) // CHUNK
                    move_by_partials(tile, member, members, a, chunks, total, step, refreshes)
                else:
                    move_weights(
                        tile,
                        member,
                        members,
                        a,
                        start + group,
                        n,
                        group > 0,
                        ends,
                        total,
                        step,
                        refreshes and not clips,
                    )
                meeting += 2
                meet(counter, meeting, members)
                if clips and ends:
                    square_gradient(member, members, a)
                    meet(counter, meeting + 1, members)
                    move_clipped(tile, member, members, a, step, refreshes)
                    meeting += 2
                    meet(counter, meeting, members)
        if member == 0:
            a.losses[batch] = loss
            a.control[BATCHES] = batch + 1
            a.control[STEPS] = steps
        if stopping:
            return
    # nobody leaves early: the arrays are lent for as long as member 0 is inside, and batches
    # without weight have no meeting
    meet(counter, meeting + 1, members)
