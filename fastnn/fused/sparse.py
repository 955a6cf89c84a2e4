"""The first layer without the zeros of X, and rows of X written out for those who need them.

Most rows of most X are mostly zeros. A zero adds exactly nothing to a chain of FMAs, so it can be
left out, and the bits stay the same. Then a sample's values are a list of *entries*: a column of X
and a value. On the way forward ::

    Z[i, :] = b + sum over the entries (k, x) of sample i of x W[k, :]          k ascending

which takes rows of W as they lie in the parameters. For the gradient of row k of W one needs the
entries of *column* k, ::

    dW[k, :] = sum over the entries (i, x) of column k of x delta[i, :]         i ascending

so a chunk's entries are sorted by column. Each thread does that for columns of its own, the
``cuts``, which have about as many entries for each thread: it counts the entries of each column,
notes which columns have any (``touched``, in the order in which they turn up), gives each its
place, and puts the entries there. All of that is proportional to the number of entries, not of
columns: text has tens of thousands of columns, few of which a chunk touches.

Weights whose gradient is zero stay as they are in plain SGD. With momentum, Adam or a penalty they
move all the same.
"""

import numpy as np

from fastnn.fused.dense import vectors_for_strip
from fastnn.fused.plan import CHUNK, KINDS, PLAIN, RELU
from fastnn.fused.tiles import ADD, LINE, STEP, STRIP, WRITE, compress, gather, prefetch
from fastnn.fused.update import use
from fastnn.fused.vectors import NO, ONE, ZERO, address, hot, inner, span, view

U8, I8, U16, I16, I32, I64, F32, F64 = (np.dtype(name).type(0) for name in KINDS)
UINT16 = KINDS.index("uint16")

NEAR = 2**15  # bytes of delta that are gone through in any order: what stays in the first cache
AHEAD = 8  # samples between asking for a row of X and using it


# --- reading X -----------------------------------------------------------------------------------


@inner
def convert(kind, place, n, scale, out):
    """Write n numbers of one of the ``KINDS``, from an address on, as the network sees them."""
    if kind == 0:
        scaled(view(place, n, U8), scale, out)
    elif kind == 1:
        scaled(view(place, n, I8), scale, out)
    elif kind == 2:
        scaled(view(place, n, U16), scale, out)
    elif kind == 3:
        scaled(view(place, n, I16), scale, out)
    elif kind == 4:
        scaled(view(place, n, I32), scale, out)
    elif kind == 5:
        scaled(view(place, n, I64), scale, out)
    elif kind == 6:
        scaled(view(place, n, F32), scale, out)
    else:
        scaled(view(place, n, F64), scale, out)


@inner
def scaled(source, scale, out):
    """Out = fl(fl(source) * scale)."""
    real = out.dtype.type
    for i in range(source.size):
        out[i] = real(source[i]) * scale


@hot
def columns_of(a, first, n, scratch):
    """Return the address of the columns, as int32, of n entries of X from number ``first`` on."""
    run = a.run[0]
    place = run.X_columns + first * run.columns_bytes
    if run.columns_kind != UINT16:
        return place
    columns = view(place, n, U16)
    for k in range(n):
        scratch[k] = columns[k]
    return address(scratch, 0)


@hot
def values_of(a, first, n, scratch):
    """Return the address of n values of X from number ``first`` on, as the network sees them."""
    run = a.run[0]
    place = run.X + first * run.X_bytes
    if run.is_plain:
        return place
    convert(run.X_kind, place, n, scratch.dtype.type(run.scale), scratch)
    return address(scratch, 0)


@hot
def bounds_of(a, sample):
    """Return the number of a sample's first entry, and how many it has."""
    starts = view(a.run[0].starts + 8 * sample, 2, I64)
    return starts[0], starts[1] - starts[0]


@inner
def write_row(a, sample, out):
    """Write a row of X out as the network sees it."""
    run = a.run[0]
    n = run.n_features
    if not run.is_csr:
        convert(run.X_kind, run.X + sample * n * run.X_bytes, n, out.dtype.type(run.scale), out)
        return
    first, count = bounds_of(a, sample)
    for j in range(n):
        out[j] = 0
    scale, place = out.dtype.type(run.scale), run.X_columns + first * run.columns_bytes
    for k in range(count):
        if run.columns_kind == UINT16:
            j = np.int64(view(place + 2 * k, ONE, U16)[0])
        else:
            j = np.int64(view(place + 4 * k, ONE, I32)[0])
        convert(run.X_kind, run.X + (first + k) * run.X_bytes, ONE, scale, span(out, j, ONE))


@hot
def entries_of(tile, member, a, sample):
    """Return how many entries a sample has, and where its columns and values are."""
    run = a.run[0]
    place = member * run.entries_size
    columns = span(a.places, place, run.entries_size)
    values = span(a.workspace, run.entries + place, run.entries_size)
    if run.is_csr:
        first, n = bounds_of(a, sample)
        return n, columns_of(a, first, n, columns), values_of(a, first, n, values)
    row = values_of(a, sample * run.n_features, run.n_features, values)
    found, x = address(columns, 0), address(values, 0)
    return compress(tile, row, run.n_features, found, x), found, x


@hot
def real_zero(a):
    """Return a zero of the parameters' dtype."""
    return a.workspace.dtype.type(0)


# --- forward -------------------------------------------------------------------------------------


@inner
def forward_rows(tile, member, a, samples, place):
    """Z_1 = X W_1 + b_1, and the ReLU, for some rows of X, from ``place`` on."""
    layer, run = a.layers[0], a.run[0]
    rectify = run.activation == RELU and a.layers.size > 1
    W, b = address(a.parameters, layer.W), address(a.parameters, layer.b)
    for i in range(samples.size):
        request_ahead(a, samples, i)
        n, columns, values = entries_of(tile, member, a, samples[i])
        out = address(a.workspace, layer.A + (place + i) * layer.stride)
        for column in range(0, layer.fan_out, STRIP * tile.lanes):
            vectors, lanes = vectors_for_strip(tile, layer.fan_out - column)
            shift = column * tile.bytes
            gather(
                tile, vectors, lanes, columns, values, ZERO, n, W + shift, layer.fan_out, b + shift,
                rectify, out + shift, WRITE, real_zero(a),
            )  # fmt: skip


@hot
def request_ahead(a, samples, i):
    """Have the rows of X fetched that come after sample number i."""
    if i + AHEAD < samples.size:
        request_row(a, samples[i + AHEAD])
    if i + 2 * AHEAD < samples.size and a.run[0].is_csr:
        prefetch(a.run[0].starts + 8 * samples[i + 2 * AHEAD])


@hot
def request_row(a, sample):
    """Have a row of X fetched into the cache: the rows of a batch lie anywhere in memory.

    As many lines as a row has on average: a number that does not change is foreseen by the CPU.
    """
    run = a.run[0]
    if run.is_csr:
        first = view(run.starts + 8 * sample, ONE, I64)[0]
        columns, values = run.X_columns + first * run.columns_bytes, run.X + first * run.X_bytes
        for k in range(run.columns_lines):
            prefetch(columns + LINE * k)
        for k in range(run.X_lines):
            prefetch(values + LINE * k)


@inner
def request_next(a, start, n):
    """Have the first of n rows of the order fetched, which a thread reads in the next group."""
    for i in range(start, min(start + min(n, AHEAD), a.order.size)):
        request_row(a, a.order[i])


# --- sorting -------------------------------------------------------------------------------------


@hot
def marks_of(member, a):
    """Return where a thread's marks are: its cursors, columns touched, their ends; noted, seen.

    Entries are counted, and then put, by the cursors. Of each column touched, ``ends`` tells where
    its entries end. A batch of more than one chunk notes the columns that it has seen.
    """
    n, begin = a.run[0].n_features, member * a.run[0].marks_size
    return begin, begin + n, begin + 2 * n + 1, begin + 3 * n + 1, begin + 4 * n + 1


@inner
def sort_by_column(member, a, samples):
    """Sort the entries of a thread's columns, of a group of samples; return how many are touched.

    The entries are counted first. Those of the columns touched follow each other.
    """
    run = a.run[0]
    cursor_begin, touched_begin, ends_begin, _, _ = marks_of(member, a)
    cursors = span(a.marks, cursor_begin, run.n_features)
    touched = span(a.marks, touched_begin, run.n_features + 1)
    ends = span(a.marks, ends_begin, run.n_features)
    firsts = span(a.splits, 2 * run.group * member, run.group)
    counts = span(a.splits, (2 * member + 1) * run.group, run.group)
    own, after = a.cuts[member], a.cuts[member + 1]
    count = 0
    for i in range(samples.size):
        request_ahead(a, samples, i)
        first, n = bounds_of(a, samples[i])
        place = run.X_columns + first * run.columns_bytes
        if run.columns_kind == UINT16:
            skipped, size = own_part(view(place, n, U16), own, after, run.n_features)
            count = count_entries(view(place + 2 * skipped, size, U16), cursors, touched, count)
        else:
            skipped, size = own_part(view(place, n, I32), own, after, run.n_features)
            count = count_entries(view(place + 4 * skipped, size, I32), cursors, touched, count)
        firsts[i], counts[i] = first + skipped, size
    place = np.int32(0)
    for t in range(count):
        size = cursors[touched[t]]
        cursors[touched[t]] = place
        place += size
        ends[t] = place
    put_all(member, a, samples.size, firsts, counts, cursors)
    for t in range(count):
        cursors[touched[t]] = 0
    return count


@hot
def own_part(columns, first, last, n_features):
    """Return how many columns of a sample are below ``first``, and how many from there to last."""
    below = count_below(columns, first) if first > 0 else ZERO
    return below, (count_below(columns, last) if last < n_features else columns.size) - below


@hot
def count_below(columns, cut):
    """Return how many columns are below the cut."""
    limit, count = np.int32(cut), np.int32(0)
    for k in range(columns.size):
        count += np.int32(np.int32(columns[k]) < limit)
    return np.int64(count)


@hot
def count_entries(columns, cursors, touched, count):
    """Count a sample's entries by column, and note columns that have had none in the group."""
    for k in range(columns.size):
        column = columns[k]
        before = cursors[column]
        cursors[column] = before + 1
        touched[count] = column
        count += before == 0
    return count


@inner
def put_all(member, a, n, firsts, counts, cursors):
    """Put a thread's entries of n samples where the cursors point."""
    run = a.run[0]
    scratch = span(a.workspace, run.entries + member * run.entries_size, run.entries_size)
    pairs = address(a.workspace, run.lists + member * run.lists_size)
    for i in range(n):
        first, size = firsts[i], counts[i]
        x = view(values_of(a, first, size, scratch), size, real_zero(a))
        place = run.X_columns + first * run.columns_bytes
        if run.columns_kind == UINT16:
            put_entries(view(place, size, U16), x, i, cursors, pairs)
        else:
            put_entries(view(place, size, I32), x, i, cursors, pairs)


@hot
def put_entries(columns, x, i, cursors, pairs):
    """Put pairs of i and a value of sample i at the next places of their columns.

    In pairs, there are half as many lines of the cache that are written to in turn.
    """
    for k in range(columns.size):
        column = columns[k]
        place = cursors[column]
        pair = pairs + 2 * x.itemsize * np.int64(place)
        view(pair, ONE, I32)[0] = i
        view(pair + x.itemsize, ONE, x[k])[0] = x[k]
        cursors[column] = place + 1


# --- the weight gradient -------------------------------------------------------------------------


@inner
def move_touched(tile, member, a, start, n, adds, ends, total, step):
    """Compute the gradient of one thread's rows of W_1 from the n samples of a group, and use it.

    ``adds``: the batch had groups before this one. ``ends``: it is the last. In plain SGD rows
    without entries rest, and in a batch of one chunk the others move straight from the registers.
    Else the gradient is first added up in the result. Chunk by chunk, or all at once if X is thin.
    """
    run = a.run[0]
    penalty = run.alpha / total
    rests = step.optimizer == PLAIN and not penalty > 0 and not run.clip_norm > 0
    straight = a.result.size != a.parameters.size
    noted, size = a.noted[member] if adds else ZERO, n if run.is_thin else CHUNK
    for place in range(0, n, size):
        m = min(size, n - place)
        count = sort_by_column(member, a, span(a.order, start + place, m))
        if not straight:
            noted = note_touched(member, a, count, noted)
        gather_touched(tile, member, a, place, m, count, straight, step.rate)
    a.noted[member] = noted
    if ends and not straight and rests:
        use_noted(member, a, noted, step)
    elif ends and not straight:
        use_all(tile, member, a, step, penalty)


@inner
def gather_touched(tile, member, a, place, n, count, steps, rate):
    """Add the gradients of the rows of W_1 that have entries to the result, or to W_1.

    The entries are of n samples, from a place on. ``steps``: subtract the gradients, times the
    rate, from W_1. A strip of the rows at a time, as wide as lets delta stay in the first cache.
    """
    run, layer = a.run[0], a.layers[0]
    out, then = address(a.parameters if steps else a.result, layer.W), STEP if steps else ADD
    zeros, spare = address(a.workspace, run.zeros), own_spare(member, a)
    _, touched_begin, ends_begin, _, _ = marks_of(member, a)
    touched, ends = span(a.marks, touched_begin, count), span(a.marks, ends_begin, count)
    pairs, pair = address(a.workspace, run.lists + member * run.lists_size), 2 * tile.bytes
    width = max(NEAR // (n * tile.bytes), tile.lanes) // tile.lanes * tile.lanes
    width = min(width, STRIP * tile.lanes)
    for column in range(0, layer.fan_out, width):
        vectors, lanes = vectors_for_strip(tile, min(width, layer.fan_out - column))
        D = address(a.workspace, layer.delta + place * layer.stride + column)
        begin = np.int32(0)
        for t in range(count):
            end = ends[t]
            target = out + (touched[t] * layer.fan_out + column) * tile.bytes
            after = end if n <= CHUNK else end_of_chunk(pairs, pair, begin, end)
            sums = target if after == end or not steps else spare
            what = then if sums == target else WRITE
            while begin < end:
                first = pairs + pair * begin
                gather(
                    tile, vectors, lanes, first, first + tile.bytes, pair, after - begin, D,
                    layer.stride, zeros, NO, sums, what, rate,
                )  # fmt: skip
                begin, what = after, ADD
                if begin < end:
                    after = end_of_chunk(pairs, pair, begin, end)
            if sums != target:  # the chunks are added up: now the step
                gather(
                    tile, vectors, lanes, pairs, pairs, pair, ZERO, D, layer.stride, spare, NO,
                    target, STEP, rate,
                )  # fmt: skip


@hot
def end_of_chunk(pairs, pair, begin, end):
    """Return where the entries end that belong to the same chunk as the one at ``begin``."""
    chunk = view(pairs + pair * begin, ONE, I32)[0] // CHUNK
    after = begin + np.int32(1)
    while after < end and view(pairs + pair * after, ONE, I32)[0] // CHUNK == chunk:
        after += np.int32(1)
    return after


@hot
def own_spare(member, a):
    """Return the address of a thread's own room for a block of rows."""
    return address(a.workspace, a.run[0].spare + member * a.run[0].block_size)


@inner
def note_touched(member, a, count, noted):
    """Note the columns that the batch has not touched before, with a gradient of zero so far."""
    layer = a.layers[0]
    _, touched_begin, _, noted_begin, seen_begin = marks_of(member, a)
    for t in range(count):
        column = a.marks[touched_begin + t]
        if not a.marks[seen_begin + column]:
            a.marks[seen_begin + column] = 1
            a.marks[noted_begin + noted] = column
            noted += 1
            clear(span(a.result, layer.W + column * layer.fan_out, layer.fan_out))
    return noted


@inner
def use_noted(member, a, noted, step):
    """Use the gradients of the rows of W_1 that the batch touched."""
    layer = a.layers[0]
    _, _, _, noted_begin, seen_begin = marks_of(member, a)
    for t in range(noted):
        column = a.marks[noted_begin + t]
        a.marks[seen_begin + column] = 0
        W = layer.W + column * layer.fan_out
        use(step, a, W, span(a.result, W, layer.fan_out), 0.0)


@inner
def use_all(tile, member, a, step, penalty):
    """Use the gradients of all of a thread's rows of W_1: zero where the batch did not touch.

    Those are not read from the result: of text they are by far the most.
    """
    layer, last = a.layers[0], a.cuts[member + 1]
    _, _, _, _, seen_begin = marks_of(member, a)
    seen = span(a.marks, seen_begin, a.run[0].n_features)
    end = a.cuts[member]
    while end < last:
        begin, touched = end, seen[end]
        while end < last and end - begin < tile.block and seen[end] == touched:
            seen[end] = 0
            end += 1
        W, n = layer.W + begin * layer.fan_out, (end - begin) * layer.fan_out
        if touched:
            use(step, a, W, span(a.result, W, n), penalty)
        else:
            gradient = view(own_spare(member, a), n, real_zero(a))
            clear(gradient)
            use(step, a, W, gradient, penalty)


@inner
def clear(numbers):
    """Set all numbers to 0."""
    for i in range(numbers.size):
        numbers[i] = 0
