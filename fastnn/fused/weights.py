"""One thread's share of the weights of a batch: their gradient over all samples, and the update.

A bias is the weight of an input that is always 1, and its gradient is computed as such.
"""

from math import inf, sqrt

import numpy as np

from fastnn.fused.dense import block_stride, correlate_rows, pack_block, pack_rows, vectors_for
from fastnn.fused.plan import CHUNK, GRADIENT, PREDICT, SQUARES
from fastnn.fused.share import share
from fastnn.fused.sparse import move_touched
from fastnn.fused.sums import SIDE_BY_SIDE, sum_of_square_vectors
from fastnn.fused.tiles import turn, turn_rest
from fastnn.fused.update import move, use
from fastnn.fused.vectors import NO, ONE, ZERO, address, inner, span


@inner
def move_weights(tile, member, members, a, start, n, adds, ends, total, step, refreshes):
    """Compute the gradient of one thread's weights from a group, n samples of the order.

    ``adds``: the batch had groups before this one. ``ends``: it is the last; the gradient is ready.
    ``refreshes``: another batch will read the panels.
    """
    run = a.run[0]
    whole = a.result.size == a.parameters.size  # or room for the rows at hand only, per thread
    own = member * run.block_size
    for l in range(a.layers.size):
        layer = a.layers[l]
        first, last = share(layer.fan_in, tile.height, member, members)
        if l == 0 and run.skips:
            move_touched(tile, member, a, start, n, adds, ends, total, step)
            last = first
        for k in range(first, last, tile.block):
            after = min(k + tile.block, last)
            W = layer.W + k * layer.fan_out
            dW = W if whole else own
            for chunk in range(0, n, CHUNK):
                gradient_of_rows(
                    tile, member, a, l, chunk, min(CHUNK, n - chunk), k, after,
                    address(a.result, dW), adds or chunk > 0,
                )  # fmt: skip
            if ends:
                size = (after - k) * layer.fan_out
                use(step, a, W, span(a.result, dW, size), run.alpha / total)
                if refreshes:
                    refresh_rows(tile, member, a, l, k, after)
        first, last = share(layer.fan_out, tile.width, member, members)
        if first < last:
            b = layer.b + first
            db = b if whole else own
            for chunk in range(0, n, CHUNK):
                gradient_of_biases(
                    tile, a, l, chunk, min(CHUNK, n - chunk), first, last, address(a.result, db),
                    adds or chunk > 0,
                )  # fmt: skip
            if ends:
                use(step, a, b, span(a.result, db, last - first), 0.0)
        if ends and refreshes:
            refresh_rest(tile, member, members, a, l)


@inner
def gradient_of_chunk(tile, member, a, place, n, partial):
    """Compute the whole gradient from one chunk of samples, into the partials from there on."""
    for l in range(a.layers.size):
        layer = a.layers[l]
        for k in range(0, layer.fan_in, tile.block):
            after = min(k + tile.block, layer.fan_in)
            dW = address(a.partials, partial + layer.W + k * layer.fan_out)
            gradient_of_rows(tile, member, a, l, place, n, k, after, dW, NO)
        db = address(a.partials, partial + layer.b)
        gradient_of_biases(tile, a, l, place, n, ZERO, layer.fan_out, db, NO)


@inner
def gradient_of_rows(tile, member, a, l, place, n, first, last, out, adds):
    """Compute the gradient of rows first .. last-1 of W_l, at most two tiles, from a chunk."""
    layer = a.layers[l]
    columns = address(a.workspace, a.run[0].columns + member * a.run[0].columns_size)
    rows = address(a.addresses, layer.rows + place)
    pack_block(tile, rows, first, last - first, n, columns)
    D, D_stride = slopes(tile, a, l, place)
    correlate_rows(
        tile, columns, block_stride(tile, last - first), n, D, D_stride, last - first,
        layer.fan_out, out, layer.fan_out, adds,
    )  # fmt: skip


@inner
def gradient_of_biases(tile, a, l, place, n, first, last, out, adds):
    """Compute the gradient of biases first .. last-1 of layer l from a chunk."""
    D, D_stride = slopes(tile, a, l, place)
    D += first * (CHUNK if D_stride == 0 else 1) * tile.bytes
    one = address(a.workspace, a.run[0].one)
    correlate_rows(tile, one, ZERO, n, D, D_stride, ONE, last - first, out, ZERO, adds)


@inner
def slopes(tile, a, l, place):
    """Return the address of a chunk's delta and its stride, as ``correlate_rows`` takes it."""
    layer = a.layers[l]
    if layer.has_panels:
        return address(a.workspace, layer.delta_panels + place * layer.stride), 0
    return address(a.workspace, layer.delta + place * layer.stride), layer.stride


@inner
def move_by_partials(tile, member, members, a, chunks, total, step, refreshes):
    """Add up the chunks' gradients of one thread's parameters, in order, and use them."""
    strength = a.run[0].alpha / total
    for l in range(a.layers.size):
        layer = a.layers[l]
        first, last = share(layer.fan_in, tile.height, member, members)
        W, n = layer.W + first * layer.fan_out, (last - first) * layer.fan_out
        add_chunks(a, W, n, chunks)
        use(step, a, W, span(a.partials, W, n), strength)
        first, last = share(layer.fan_out, tile.width, member, members)
        b, n = layer.b + first, last - first
        add_chunks(a, b, n, chunks)
        use(step, a, b, span(a.partials, b, n), 0.0)
        if refreshes:
            refresh_panels(tile, member, members, a, l)


@inner
def add_chunks(a, first, n, chunks):
    """Add n numbers of the other chunks' gradients to those of the first chunk."""
    gradient = span(a.partials, first, n)
    for chunk in range(1, chunks):
        add(gradient, span(a.partials, chunk * a.parameters.size + first, n))


@inner
def add(target, source):
    """Target += source."""
    for i in range(target.size):
        target[i] += source[i]


@inner
def refresh_panels(tile, member, members, a, l):
    """Copy one thread's share of layer l to the panels of [W; b] and of [W^T; 0]."""
    if l == 0 and a.run[0].skips:
        return
    first, last = share(a.layers[l].fan_in, tile.height, member, members)
    for k in range(first, last, tile.block):
        refresh_rows(tile, member, a, l, k, min(k + tile.block, last))
    refresh_rest(tile, member, members, a, l)


@inner
def refresh_rows(tile, member, a, l, first, last):
    """Copy rows first .. last-1 of W_l, at most a block, to the panels of [W; b]."""
    layer = a.layers[l]
    pack_rows(
        tile, table_of(tile, member, a, l, first, last), first, last - first, layer.fan_out,
        address(a.workspace, layer.W_panels), layer.fan_in + 1,
    )  # fmt: skip


@inner
def refresh_rest(tile, member, members, a, l):
    """Copy one thread's share of b_l to the panels of [W; b], and of W_l to those of [W^T; 0]."""
    layer = a.layers[l]
    if l == 0 and a.run[0].skips:
        return
    first, last = share(layer.fan_out, tile.width, member, members)
    if first < last:
        table = a.run[0].table + member * tile.table
        a.addresses[table] = address(a.parameters, layer.b + first)
        pack_rows(
            tile, address(a.addresses, table), layer.fan_in, ONE, last - first,
            address(a.workspace, layer.W_panels + first * (layer.fan_in + 1)), layer.fan_in + 1,
        )  # fmt: skip
    first, last = share(layer.fan_in, tile.height, member, members)
    while l > 0 and a.run[0].mode != PREDICT and first < last:
        after = min(first - first % tile.lanes + tile.lanes, last)
        turn_rows(tile, a, l, table_of(tile, member, a, l, first, after), first, after - first)
        first = after


@inner
def table_of(tile, member, a, l, first, last):
    """Return the address of a table of the rows first .. last-1 of W_l, of this thread's own."""
    table = a.run[0].table + member * tile.table
    for i in range(last - first):
        W = a.layers[l].W + (first + i) * a.layers[l].fan_out
        a.addresses[table + i] = address(a.parameters, W)
    return address(a.addresses, table)


@inner
def turn_rows(tile, a, l, rows, first, n):
    """Copy n rows of W_l, within one vector of its transpose, to the panels of [W^T; 0]."""
    layer = a.layers[l]
    column = first // tile.width * tile.width
    vectors, _ = vectors_for(tile, layer.fan_in - column)
    width = vectors * tile.lanes
    target = layer.WT_panels + column * (layer.fan_out + 1) + first - column
    if n == tile.lanes:
        squares = layer.fan_out // tile.lanes
        done = squares * tile.lanes
        if squares:
            turn(tile, rows, squares, address(a.workspace, target), width)
        if done < layer.fan_out:
            place = address(a.workspace, target + done * width)
            turn_rest(tile, rows, done, layer.fan_out - done, place, width)
        return
    for j in range(layer.fan_out):
        W = layer.W + first * layer.fan_out + j
        for i in range(n):
            a.workspace[target + j * width + i] = a.parameters[W + i * layer.fan_out]


@inner
def square_weights(member, members, a):
    """Note the sums of squares of one thread's share of the weights, a run of them at a time."""
    unit = 0
    for layer in a.layers:
        n = layer.fan_in * layer.fan_out
        units = (n + SQUARES - 1) // SQUARES
        first, last = share(units, ONE, member, members)
        for u in range(first, last):
            W = span(a.parameters, layer.W + u * SQUARES, min(n - u * SQUARES, SQUARES))
            a.squares[unit + u] = sum_of_squares(W)
        unit += units


@inner
def square_gradient(member, members, a):
    """Note the sums of squares of one thread's share of the gradient."""
    size = a.parameters.size
    first, last = share(a.gradient_squares.size, ONE, member, members)
    for u in range(first, last):
        part = span(a.result, u * SQUARES, min(size - u * SQUARES, SQUARES))
        a.gradient_squares[u] = sum_of_squares(part)


@inner
def move_clipped(tile, member, members, a, step, refreshes):
    """Scale one thread's share of the gradient, if its norm is too large, and use it."""
    norm, limit = sqrt(sum_in_order(a.gradient_squares)), a.run[0].clip_norm
    clips = limit < norm and norm < inf  # one that overflows is left alone, to be seen
    factor = a.result.dtype.type(limit / norm if clips else 1.0)
    for l in range(a.layers.size):
        layer = a.layers[l]
        first, last = share(layer.fan_in, tile.height, member, members)
        move_scaled(
            a, step, layer.W + first * layer.fan_out, (last - first) * layer.fan_out, factor
        )
        first, last = share(layer.fan_out, tile.width, member, members)
        move_scaled(a, step, layer.b + first, last - first, factor)
        if refreshes:
            refresh_panels(tile, member, members, a, l)


@inner
def move_scaled(a, step, first, n, factor):
    """Scale n numbers of the gradient, and move their parameters unless it is the result."""
    gradient = span(a.result, first, n)
    for i in range(n):
        gradient[i] *= factor
    if a.run[0].mode != GRADIENT:
        move(step, a, first, gradient)


@inner
def sum_of_squares(values):
    """Add up squares in double precision."""
    whole = values.size // SIDE_BY_SIDE
    total = sum_of_square_vectors(address(values, 0), whole, values.dtype.type(0))
    for i in range(whole * SIDE_BY_SIDE, values.size):
        x = np.float64(values[i])  # Python's float would leave it as it is
        total += x * x
    return total


@inner
def sum_in_order(values):
    """Add up numbers in eight interleaved chains."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for i in range(0, values.size - 7, 8):
        s0 += values[i]
        s1 += values[i + 1]
        s2 += values[i + 2]
        s3 += values[i + 3]
        s4 += values[i + 4]
        s5 += values[i + 5]
        s6 += values[i + 6]
        s7 += values[i + 7]
    for i in range(values.size // 8 * 8, values.size):
        s0 += values[i]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
