"""One thread's share of the weights of a batch: their gradient over all samples, and the update.

A bias is the weight of an input that is always 1, and its gradient is computed as such.
"""

from numba import njit

from fastnn.fused.dense import correlate_rows
from fastnn.fused.plan import ADAM, CHUNK, GRADIENT, PLAIN, SQUARES
from fastnn.fused.share import share
from fastnn.fused.update import update
from fastnn.fused.vectors import address, fma, span


@njit
def move_weights(tile, member, members, a, n, adds, ends, total, step):
    """Compute the gradient of one thread's weights from the n samples of a group.

    ``adds``: the batch had groups before this one. ``ends``: it is the last; the gradient is ready.
    """
    run = a.run[0]
    whole = a.result.size == a.parameters.size  # or room for the rows at hand only, per thread
    own = member * run.block_size
    for l in range(a.layers.size):
        layer = a.layers[l]
        first, last = share(layer.fan_in, tile.height, member, members)
        for k in range(first, last, 2 * tile.height):
            after = min(k + 2 * tile.height, last)
            W = layer.W + k * layer.fan_out
            dW = W if whole else own
            for chunk in range(0, n, CHUNK):
                correlate_rows(
                    tile, address(a.addresses, layer.rows + chunk), min(CHUNK, n - chunk),
                    address(a.workspace, layer.delta + chunk * layer.stride), layer.stride,
                    k, after, layer.fan_out, address(a.result, dW), layer.fan_out,
                    adds or chunk > 0,
                )  # fmt: skip
            if ends:
                size = (after - k) * layer.fan_out
                use(step, a, W, span(a.result, dW, size), run.alpha / total)
                transpose(a, l, k, after)
        first, last = share(layer.fan_out, tile.lanes, member, members)
        if first < last:
            b = layer.b + first
            db = b if whole else own
            for chunk in range(0, n, CHUNK):
                correlate_rows(
                    tile, address(a.addresses, run.ones), min(CHUNK, n - chunk),
                    address(a.workspace, layer.delta + chunk * layer.stride + first),
                    layer.stride, 0, 1, last - first, address(a.result, db), 0,
                    adds or chunk > 0,
                )  # fmt: skip
            if ends:
                use(step, a, b, span(a.result, db, last - first), 0.0)


@njit
def gradient_of_chunk(tile, a, place, n, partial):
    """Compute the whole gradient from one chunk of samples, into the partials from there on."""
    for layer in a.layers:
        delta = address(a.workspace, layer.delta + place * layer.stride)
        correlate_rows(
            tile, address(a.addresses, layer.rows + place), n, delta, layer.stride,
            0, layer.fan_in, layer.fan_out,
            address(a.partials, partial + layer.W), layer.fan_out, False,
        )  # fmt: skip
        correlate_rows(
            tile, address(a.addresses, a.run[0].ones), n, delta, layer.stride,
            0, 1, layer.fan_out, address(a.partials, partial + layer.b), 0, False,
        )  # fmt: skip


@njit
def move_by_partials(tile, member, members, a, chunks, total, step):
    """Add up the chunks' gradients of one thread's parameters, in order, and use them."""
    strength = a.run[0].alpha / total
    for l in range(a.layers.size):
        layer = a.layers[l]
        first, last = share(layer.fan_in, tile.height, member, members)
        W, n = layer.W + first * layer.fan_out, (last - first) * layer.fan_out
        add_chunks(a, W, n, chunks)
        use(step, a, W, span(a.partials, W, n), strength)
        transpose(a, l, first, last)
        first, last = share(layer.fan_out, tile.lanes, member, members)
        b, n = layer.b + first, last - first
        add_chunks(a, b, n, chunks)
        use(step, a, b, span(a.partials, b, n), 0.0)


@njit
def add_chunks(a, first, n, chunks):
    """Add n numbers of the other chunks' gradients to those of the first chunk."""
    gradient = span(a.partials, first, n)
    for chunk in range(1, chunks):
        add(gradient, span(a.partials, chunk * a.parameters.size + first, n))


@njit
def add(target, source):
    """Target += source."""
    for i in range(target.size):
        target[i] += source[i]


@njit
def use(step, a, first, gradient, penalty):
    """Add ``penalty`` times the parameters to their gradient, and move them or keep it."""
    if penalty > 0:
        theta = span(a.parameters, first, gradient.size)
        add_multiple(gradient, a.parameters.dtype.type(penalty), theta)
    if a.run[0].mode == GRADIENT:
        copy(span(a.result, first, gradient.size), gradient)
    else:
        move(step, a, first, gradient)


@njit
def add_multiple(gradient, factor, theta):
    """Gradient += factor * theta."""
    for i in range(gradient.size):
        gradient[i] = fma(factor, theta[i], gradient[i])


@njit
def copy(target, source):
    """Copy numbers, also onto themselves."""
    for i in range(target.size):
        target[i] = source[i]


@njit
def move(step, a, first, gradient):
    """Update the parameters from ``first`` on, as many as the gradient has."""
    n = gradient.size
    one = 0 if step.optimizer == PLAIN else n
    two = n if step.optimizer == ADAM else 0
    moment_1, moment_2 = span(a.moment_1, first, one), span(a.moment_2, first, two)
    update(step, span(a.parameters, first, n), moment_1, moment_2, gradient)


@njit
def transpose(a, l, first, last):
    """Copy rows first .. last-1 of W_l to columns of its transpose; the first layer has none."""
    layer = a.layers[l]
    if l == 0 or first == last:
        return
    for j in range(layer.fan_out):
        column = span(a.workspace, layer.WT + j * layer.WT_stride + first, last - first)
        W = span(a.parameters, layer.W + first * layer.fan_out + j, a.parameters.size)
        for k in range(last - first):
            column[k] = W[k * layer.fan_out]


@njit
def square_weights(member, members, a):
    """Note the sums of squares of one thread's share of the weights, a run of them at a time."""
    unit = 0
    for layer in a.layers:
        n = layer.fan_in * layer.fan_out
        units = (n + SQUARES - 1) // SQUARES
        first, last = share(units, 1, member, members)
        for u in range(first, last):
            W = span(a.parameters, layer.W + u * SQUARES, min(n - u * SQUARES, SQUARES))
            a.squares[unit + u] = sum_of_squares(W)
        unit += units


@njit
def sum_of_squares(values):
    """Add up squares in eight interleaved chains: the same bits for any vector width."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for i in range(0, values.size - 7, 8):
        s0 += float(values[i]) ** 2
        s1 += float(values[i + 1]) ** 2
        s2 += float(values[i + 2]) ** 2
        s3 += float(values[i + 3]) ** 2
        s4 += float(values[i + 4]) ** 2
        s5 += float(values[i + 5]) ** 2
        s6 += float(values[i + 6]) ** 2
        s7 += float(values[i + 7]) ** 2
    for i in range(values.size // 8 * 8, values.size):
        s0 += float(values[i]) ** 2
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@njit
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
