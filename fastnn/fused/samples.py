"""One thread's share of the samples of a batch: forward, the loss, and back.

A sample's place in the group says where its rows stand in the workspace; ``addresses`` says where
the rows of each layer's input are: those of X anywhere in memory, all others in the workspace.
"""

from fastnn.fused.barrier import add_atomically
from fastnn.fused.dense import multiply_rows, pack_rows
from fastnn.fused.head import activate, loss_and_delta, multiply_by_slope, probabilities
from fastnn.fused.outputs import losses_and_slopes, put_out
from fastnn.fused.philox import drop
from fastnn.fused.plan import (
    ABREAST,
    BLOCK,
    CHUNK,
    NEXT,
    NOT_FINITE,
    RELU,
    SOFTMAX_OUTPUT,
    STATUS,
)
from fastnn.fused.sparse import forward_rows, request_next, write_row
from fastnn.fused.vectors import NO, ZERO, address, inner, span, view


@inner
def forward(tile, member, a, first, last, offset, updates):
    """Z_l = A_{l-1} W_l + b_l, A_l = activation(Z_l), for the places first .. last-1.

    Where the first layer skips zeros, its Z is there already. For dropout, the sample at place i
    is number ``offset + i`` of its batch, after so many ``updates``.
    """
    run, output = a.run[0], a.layers.size - 1
    kind = run.activation
    for l in range(a.layers.size):
        layer = a.layers[l]
        if l > 0 or not run.skips:
            multiply_rows(
                tile, address(a.addresses, layer.rows), first, last, layer.fan_in,
                address(a.workspace, layer.W_panels), layer.fan_out, kind == RELU and l < output,
                address(a.workspace, layer.A), layer.stride,
            )  # fmt: skip
        if l < output and kind != RELU:
            A = span(a.workspace, layer.A + first * layer.stride, (last - first) * layer.stride)
            activate(kind, A)
        if l < output and run.dropout > 0:
            drop_rows(member, a, l, layer.A, first, last, offset, updates)


@inner
def drop_rows(member, a, l, place, first, last, offset, updates):
    """Drop units of layer l in the rows first .. last-1 from a place in the workspace on."""
    run, layer = a.run[0], a.layers[l]
    scratch = address(a.workspace, run.head + member * run.head_size)  # the head's is free now
    for i in range(first, last):
        values = span(a.workspace, place + i * layer.stride, layer.fan_out)
        drop(run, l, offset + i, updates, values, scratch)


@inner
def backward(tile, member, a, first, last, offset, updates):
    """delta_{l-1} = (delta_l W_l^T) * activation'(Z_{l-1}), for the places first .. last-1.

    The factors of dropout come on top; see ``forward``.
    """
    run = a.run[0]
    keep = a.workspace.dtype.type(1.0 - run.dropout)
    for l in range(a.layers.size - 1, 0, -1):
        layer, below = a.layers[l], a.layers[l - 1]
        multiply_rows(
            tile, address(a.addresses, layer.delta_rows), first, last, layer.fan_out,
            address(a.workspace, layer.WT_panels), layer.fan_in, NO,
            address(a.workspace, below.delta), below.stride,
        )  # fmt: skip
        place, n = first * below.stride, (last - first) * below.stride
        A, delta = span(a.workspace, below.A + place, n), span(a.workspace, below.delta + place, n)
        multiply_by_slope(run.activation, delta, A, keep)
        if run.dropout > 0:
            drop_rows(member, a, l - 1, below.delta, first, last, offset, updates)


@inner
def pack_slopes(tile, a, l, first, last):
    """Copy delta_l of the places first .. last-1 to its chunks' panels."""
    layer = a.layers[l]
    while layer.has_panels and first < last:
        chunk = first // CHUNK * CHUNK
        n = min(chunk + CHUNK, last) - first
        pack_rows(
            tile, address(a.addresses, layer.delta_rows + first), first - chunk, n, layer.fan_out,
            address(a.workspace, layer.delta_panels + chunk * layer.stride), CHUNK,
        )  # fmt: skip
        first += n


@inner
def find_row(tile, a, i, sample):
    """Note, at place i, where a row of X is; write it out if the network cannot read it there."""
    run = a.run[0]
    if run.is_plain and not run.is_csr:
        a.addresses[a.layers[0].rows + i] = run.X + sample * run.n_features * run.X_bytes
    elif not run.skips:
        place = (a.addresses[a.layers[0].rows + i] - address(a.workspace, 0)) // tile.bytes
        write_row(a, sample, span(a.workspace, place, run.n_features))


@inner
def find_samples(tile, a, start, first, last, total):
    """Note where the rows of X are, the labels, and each sample's part in the batch's mean."""
    for i in range(first, last):
        sample = a.order[start + i]
        find_row(tile, a, i, sample)
        a.labels[i] = a.y[sample] if a.run[0].output == SOFTMAX_OUTPUT else sample
        a.shares[i] = (a.weights[sample] if a.weights.size else 1.0) / total


@inner
def propagate(tile, member, a, start, offset, first, last, total, updates):
    """Take the samples ``order[start + first:start + last]`` forward and back.

    They stand at the places first .. last-1, and are ``offset + first`` and so on in their batch.
    What each adds to the loss is noted from there on; ``total`` is the batch's weight, and
    ``updates`` how many were made before it.
    """
    run, output = a.run[0], a.layers[a.layers.size - 1]
    scratch = span(a.workspace, run.head + member * run.head_size, run.head_size)
    parts = (last - first + BLOCK - 1) // BLOCK
    for part in range(parts):
        begin = first + (last - first) * part // parts
        end = first + (last - first) * (part + 1) // parts
        find_samples(tile, a, start, begin, end, total)
        if run.skips:
            samples = span(a.order, start + begin, end - begin)
            forward_rows(tile, member, a, samples, begin)
        forward(tile, member, a, begin, end, offset, updates)
        for i in range(begin, end, ABREAST):
            n = min(ABREAST, end - i)
            Z = span(a.workspace, output.A + i * output.stride, n * output.stride)
            y, shares = span(a.labels, i, n), span(a.shares, i, n)
            losses = span(a.sample_losses, offset + i, n)
            if run.output == SOFTMAX_OUTPUT:
                loss_and_delta(
                    Z, output.stride, n, output.fan_out, scratch, y, shares, losses,
                    run.smoothing, run.least_loss, run.most_loss,
                )  # fmt: skip
            else:
                losses_and_slopes(
                    run, Z, output.stride, n, output.fan_out, a.targets, y, shares, losses
                )
        backward(tile, member, a, begin, end, offset, updates)
        for l in range(a.layers.size):
            pack_slopes(tile, a, l, begin, end)
    if a.run[0].skips:
        request_next(a, start + a.run[0].group + first, last - first)


@inner
def predict(tile, member, members, a):
    """Write the probabilities of block after block, whoever comes takes the next.

    A thread that was asleep comes a tenth of a millisecond late; by then others have begun.
    """
    run, output = a.run[0], a.layers[a.layers.size - 1]
    scratch = span(a.workspace, run.head + member * run.head_size, run.head_size)
    place = member * BLOCK
    begin = 0
    while True:
        if members > 1:
            begin = BLOCK * add_atomically(address(a.control, NEXT), 1)
        if begin >= run.n_samples:
            return
        n = min(BLOCK, run.n_samples - begin)
        if run.is_packed and not finite_rows(a, begin, n):
            a.control[STATUS] = NOT_FINITE
        for i in range(n):
            a.samples[place + i] = begin + i
            find_row(tile, a, place + i, begin + i)
        if run.skips:
            samples = span(a.samples, place, n)
            forward_rows(tile, member, a, samples, place)
        forward(tile, member, a, place, place + n, ZERO, ZERO)  # no dropout in predictions
        for i in range(0, n, ABREAST):
            m = min(ABREAST, n - i)
            Z = span(a.workspace, output.A + (place + i) * output.stride, m * output.stride)
            out = span(a.result, (begin + i) * output.fan_out, m * output.fan_out)
            if run.output == SOFTMAX_OUTPUT:
                probabilities(Z, output.stride, m, output.fan_out, scratch, out)
            else:
                for s in range(m):
                    z = span(Z, s * output.stride, output.fan_out)
                    put_out(run.output, z, span(out, s * output.fan_out, output.fan_out))
            if run.is_packed and not all_finite(out):  # X was finite: the network overflows
                a.control[STATUS] = NOT_FINITE
        begin += BLOCK


@inner
def finite_rows(a, first, n):
    """Tell whether n rows of X, dense and plain, are finite."""
    run = a.run[0]
    place = run.X + first * run.n_features * run.X_bytes
    return all_finite(view(place, n * run.n_features, a.workspace.dtype.type(0)))


@inner
def all_finite(numbers):
    """Tell whether all numbers are finite."""
    # counted, not combined: for this LLVM writes vectors, and takes a third of the time
    others, zero = 0, numbers.dtype.type(0)
    for x in numbers:
        others += x - x != zero
    return others == 0
