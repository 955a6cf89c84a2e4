"""The first layer without the zeros of X, and rows of X written out for those who need them.

Most rows of most X are mostly zeros. A zero adds exactly nothing to a chain of FMAs, so it can be
left out, and the bits stay the same. Then a sample's values are a list of *entries*: a column of X
and a value. On the way forward ::

    Z[i, :] = b + sum over the entries (k, x) of sample i of x W[k, :]          k ascending

which takes rows of W as they lie in the parameters. For the gradient of row k of W one needs the
entries of *column* k, ::

    dW[k, :] = sum over the entries (i, x) of column k of x delta[i, :]         i ascending

so a batch's entries are sorted by column. Each thread does that for columns of its own, which the
``cuts`` give it: about as many entries for each. How many it has in every sample was noted on the
way forward, as ``splits``. It counts the entries of each column and chunk of samples, notes which
columns have any (``touched``, in the order in which they turn up), gives each its place, and puts
the entries there. All of that is proportional to the number of entries, not of columns: text has
tens of thousands of columns, few of which a batch touches.

Weights whose gradient is zero stay as they are in plain SGD. With momentum, Adam or a penalty they
move all the same.
"""

import numpy as np

from fastnn.fused.dense import vectors_for_strip
from fastnn.fused.plan import CHUNK, KINDS, PLAIN, TRAIN
from fastnn.fused.tiles import ADD, LINE, STEP, STRIP, WRITE, gather, prefetch
from fastnn.fused.update import use
from fastnn.fused.vectors import NO, ONE, address, inner, span, view

U8, I8, U16, I16, U32, I32, U64, I64 = (np.dtype(name).type(0) for name in KINDS[:8])
F32, F64 = np.float32(0), np.float64(0)
AHEAD = 8  # samples between asking for a row of X and using it
NEAR = 256  # bytes of a row of delta that are taken at a time: a chunk's fit into the first cache

UINT16, INT32 = KINDS.index("uint16"), KINDS.index("int32")


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
        scaled(view(place, n, U32), scale, out)
    elif kind == 5:
        scaled(view(place, n, I32), scale, out)
    elif kind == 6:
        scaled(view(place, n, U64), scale, out)
    elif kind == 7:
        scaled(view(place, n, I64), scale, out)
    elif kind == 8:
        scaled(view(place, n, F32), scale, out)
    else:
        scaled(view(place, n, F64), scale, out)


@inner
def scaled(source, scale, out):
    """Out = fl(fl(source) * scale)."""
    real = out.dtype.type
    for i in range(source.size):
        out[i] = real(source[i]) * scale


@inner
def columns_of(a, first, n, scratch):
    """Return the address of the columns, as int32, of n entries of X from number ``first`` on."""
    run = a.run[0]
    place = run.X_columns + first * run.columns_bytes
    if run.columns_kind == INT32:
        return place
    if run.columns_kind == UINT16:
        copy_integers(view(place, n, U16), scratch)
    else:
        copy_integers(view(place, n, I64), scratch)
    return address(scratch, 0)


@inner
def copy_integers(source, out):
    """Out = source."""
    for i in range(source.size):
        out[i] = source[i]


@inner
def values_of(a, first, n, scratch):
    """Return the address of n values of X from number ``first`` on, as the network sees them."""
    run = a.run[0]
    place = run.X + first * run.X_bytes
    if run.is_plain:
        return place
    convert(run.X_kind, place, n, scratch.dtype.type(run.scale), scratch)
    return address(scratch, 0)


@inner
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
    column_place = run.X_columns + first * run.columns_bytes
    if run.columns_kind == INT32:
        spread(view(column_place, count, I32), a, first, out)
    elif run.columns_kind == UINT16:
        spread(view(column_place, count, U16), a, first, out)
    else:
        spread(view(column_place, count, I64), a, first, out)


@inner
def spread(columns, a, first, out):
    """out[columns] = values, a few at a time."""
    run = a.run[0]
    scale = out.dtype.type(run.scale)
    for k in range(columns.size):
        j = columns[k]
        convert(run.X_kind, run.X + (first + k) * run.X_bytes, ONE, scale, span(out, j, ONE))


@inner
def entries_of(member, a, sample):
    """Return how many entries a sample has, at least one, and where its columns and values are.

    A row without any gets a zero.
    """
    run = a.run[0]
    place = member * run.entries_size
    columns = span(a.places, place, run.entries_size)
    values = span(a.workspace, run.entries + place, run.entries_size)
    if run.is_csr:
        first, n = bounds_of(a, sample)
        if n > 0:
            return n, columns_of(a, first, n, columns), values_of(a, first, n, values)
    else:
        row = values_of(a, sample * run.n_features, run.n_features, values)
        n = list_values(view(row, run.n_features, real_zero(a)), columns, values)
    if n == 0:
        n, columns[0], values[0] = 1, 0, 0
    return n, address(columns, 0), address(values, 0)


@inner
def real_zero(a):
    """Return a zero of the parameters' dtype."""
    return a.workspace.dtype.type(0)


@inner
def list_values(row, columns, values):
    """Copy the non-zero numbers of a row and their columns; return how many there are."""
    n = 0
    for j in range(row.size):
        x = row[j]
        columns[n] = j
        values[n] = x
        n += x != 0
    return n


# --- forward -------------------------------------------------------------------------------------


@inner
def forward_rows(tile, member, members, a, first, last, rectify):
    """Z_1 = X W_1 + b_1 for the places first .. last-1, from the entries of X."""
    layer, run = a.layers[0], a.run[0]
    W, b = address(a.parameters, layer.W), address(a.parameters, layer.b)
    for i in range(first, last):
        if i + AHEAD < last:
            request_row(a, a.samples[i + AHEAD])
        if i + 2 * AHEAD < last:
            prefetch(run.starts + 8 * a.samples[i + 2 * AHEAD])
        n, columns, values = entries_of(member, a, a.samples[i])
        if run.lists_size:
            note_splits(members, a, i, view(columns, n, I32))
        out = address(a.workspace, layer.A + i * layer.stride)
        for column in range(0, layer.fan_out, STRIP * tile.lanes):
            vectors, lanes = vectors_for_strip(tile, layer.fan_out - column)
            shift = column * tile.bytes
            gather(
                tile, vectors, lanes, columns, values, n, W + shift, layer.fan_out, b + shift,
                rectify, out + shift, WRITE, real_zero(a),
            )  # fmt: skip


@inner
def request_row(a, sample):
    """Have a row of X fetched into the cache: the rows of a batch lie anywhere in memory."""
    run = a.run[0]
    if not run.is_csr:
        return
    first, n = bounds_of(a, sample)
    columns, values = run.X_columns + first * run.columns_bytes, run.X + first * run.X_bytes
    for k in range(0, n * run.columns_bytes, LINE):
        prefetch(columns + k)
    for k in range(0, n * run.X_bytes, LINE):
        prefetch(values + k)


@inner
def note_splits(members, a, i, columns):
    """Note where, among the entries of the sample at place i, each thread's columns begin."""
    place = i * (members + 1)
    a.splits[place] = 0
    for m in range(1, members):
        a.splits[place + m] = count_below(columns, a.cuts[m])
    a.splits[place + members] = columns.size if a.run[0].is_csr else 0


@inner
def count_below(columns, cut):
    """Return how many columns are below the cut."""
    limit, count = np.int32(cut), np.int32(0)
    for k in range(columns.size):
        count += np.int32(columns[k] < limit)
    return count


# --- the weight gradient -------------------------------------------------------------------------


@inner
def move_touched(tile, member, members, a, n, adds, ends, total, step):
    """Compute the gradient of one thread's rows of W_1 from the n samples of a group, and use it.

    ``adds``: the batch had groups before this one. ``ends``: it is the last.
    """
    run, layer = a.run[0], a.layers[0]
    whole = a.result.size == a.parameters.size
    first, last = a.cuts[member], a.cuts[member + 1]
    if whole and not adds:
        size = (last - first) * layer.fan_out
        clear(span(a.result, layer.W + first * layer.fan_out, size))
    penalty = run.alpha / total
    rests = step.optimizer == PLAIN and not penalty > 0
    depth = (n + CHUNK - 1) // CHUNK
    if run.buckets:
        touched = put_in_buckets(member, members, a, n, depth)
    else:
        touched = sort_by_column(member, members, a, n, depth)
    gradient_of_touched(tile, member, a, depth, touched, whole, rests, step, penalty)
    forget_touched(member, a, depth, touched, whole or rests)
    if whole:
        if ends:
            use_rows(tile, a, first, last, step, penalty)
    elif not rests:
        move_untouched(tile, member, a, first, last, step, penalty)


@inner
def marks_of(member, a):
    """Return where in the marks a thread has its cursors, columns touched, and which are."""
    n_features, size = a.run[0].n_features, a.run[0].marks_size
    end = (member + 1) * size
    return member * size, end - 2 * n_features - 1, end - n_features


@inner
def put_in_buckets(member, members, a, n, depth):
    """Sort the entries of a thread's columns by column; return the number of columns touched.

    Each column and chunk has a place of its own for as many entries as a chunk has samples; its
    cursor is where the next one goes.
    """
    run = a.run[0]
    n_features, first_column, last_column = run.n_features, a.cuts[member], a.cuts[member + 1]
    cursor_begin, touched_begin, seen_begin = marks_of(member, a)
    cursors = span(a.marks, cursor_begin, depth * n_features)
    put_all(member, members, a, n, depth, cursors)
    touched = span(a.marks, touched_begin, n_features + 1)
    seen = span(a.marks, seen_begin, n_features)
    count = 0
    for column in range(first_column, last_column):
        found = 0
        for number in range(column * depth, (column + 1) * depth):
            found |= cursors[number] - number * CHUNK
        touched[count] = column
        seen[column] = found != 0
        count += found != 0
    return count


@inner
def sort_by_column(member, members, a, n, depth):
    """Sort the entries of a thread's columns by column; return the number of columns touched.

    For many columns, of which few are touched: the entries are counted first. Those of the columns
    touched follow each other; the cursors end where each column and chunk ends.
    """
    run = a.run[0]
    cursor_begin, touched_begin, seen_begin = marks_of(member, a)
    cursors = span(a.marks, cursor_begin, depth * run.n_features)
    touched = span(a.marks, touched_begin, run.n_features + 1)
    seen = span(a.marks, seen_begin, run.n_features)
    scratch = span(a.places, member * run.entries_size, run.entries_size)
    count = 0
    for i in range(n):
        first, size = own_entries(member, members, a, i)
        columns = view(columns_of(a, first, size, scratch), size, I32)
        count = count_entries(columns, depth, i // CHUNK, cursors, touched, seen, count)
    begin = 0
    for t in range(count):
        for number in range(touched[t] * depth, (touched[t] + 1) * depth):
            size = cursors[number]
            cursors[number] = begin
            begin += size
    put_all(member, members, a, n, depth, cursors)
    return count


@inner
def put_all(member, members, a, n, depth, cursors):
    """Put the entries of a thread's columns, of n samples, where the cursors point."""
    run = a.run[0]
    begin = member * run.entries_size
    scratch = span(a.places, begin, run.entries_size)
    scratch_values = span(a.workspace, run.entries + begin, run.entries_size)
    lists = member * run.lists_size
    places = span(a.places, run.list_places + lists, run.lists_size)
    values = span(a.workspace, run.lists + lists, run.lists_size)
    for i in range(n):
        if i + AHEAD < n:
            request_row(a, a.samples[i + AHEAD])
        first, size = own_entries(member, members, a, i)
        columns = view(columns_of(a, first, size, scratch), size, I32)
        x = view(values_of(a, first, size, scratch_values), size, real_zero(a))
        put_entries(columns, x, i, depth, i // CHUNK, cursors, places, values)


@inner
def own_entries(member, members, a, i):
    """Return the number of a thread's first entry of the sample at place i, and how many it has."""
    first, _ = bounds_of(a, a.samples[i])
    place = i * (members + 1) + member
    return first + a.splits[place], a.splits[place + 1] - a.splits[place]


@inner
def count_entries(columns, depth, chunk, counts, touched, seen, count):
    """Count a sample's entries by column, and note columns that have had none before."""
    for k in range(columns.size):
        column = columns[k]
        counts[column * depth + chunk] += 1
        touched[count] = column
        count += 1 - seen[column]
        seen[column] = 1
    return count


@inner
def put_entries(columns, x, i, depth, chunk, cursors, places, values):
    """Put a sample's entries at the next places of their columns."""
    for k in range(columns.size):
        number = columns[k] * depth + chunk
        place = cursors[number]
        places[place] = i
        values[place] = x[k]
        cursors[number] = place + 1


@inner
def gradient_of_touched(tile, member, a, depth, count, whole, rests, step, penalty):
    """Compute the gradients of the rows of W_1 that have entries; use them, or add them up.

    A strip of the rows at a time, as wide as lets a chunk's delta stay in the first cache.
    """
    run, layer = a.run[0], a.layers[0]
    cursor_begin, touched_begin, _ = marks_of(member, a)
    cursors = span(a.marks, cursor_begin, depth * run.n_features)
    touched = span(a.marks, touched_begin, count)
    lists = member * run.lists_size
    places = address(a.places, run.list_places + lists)
    values = address(a.workspace, run.lists + lists)
    zeros, own = address(a.workspace, run.zeros), member * run.block_size
    width = min(NEAR // tile.bytes, STRIP * tile.lanes)
    straight = rests and depth == 1 and not whole and run.mode == TRAIN
    for column in range(0, layer.fan_out, width):
        size = min(width, layer.fan_out - column)
        vectors, lanes = vectors_for_strip(tile, size)
        D = address(a.workspace, layer.delta + column)
        begin = 0
        for t in range(count):
            W = layer.W + touched[t] * layer.fan_out + column
            dW = W if whole else own
            out, then = address(a.result, dW), ADD if whole else WRITE
            if straight:
                out, then = address(a.parameters, W), STEP
            for number in range(touched[t] * depth, (touched[t] + 1) * depth):
                if run.buckets:
                    begin = number * CHUNK
                end = cursors[number]
                if end > begin:
                    gather(
                        tile, vectors, lanes, places + 4 * begin, values + tile.bytes * begin,
                        end - begin, D, layer.stride, zeros, NO, out, then, step.rate,
                    )  # fmt: skip
                    then = STEP if straight else ADD
                begin = end
            if not whole and not straight:
                use(step, a, W, span(a.result, dW, size), penalty)


@inner
def forget_touched(member, a, depth, count, forgets_seen):
    """Set the marks of the columns touched back."""
    run = a.run[0]
    cursor_begin, touched_begin, seen_begin = marks_of(member, a)
    cursors = span(a.marks, cursor_begin, depth * run.n_features)
    touched = span(a.marks, touched_begin, count)
    seen = span(a.marks, seen_begin, run.n_features)
    for t in range(count):
        for number in range(touched[t] * depth, (touched[t] + 1) * depth):
            cursors[number] = number * CHUNK if run.buckets else 0
        if forgets_seen:
            seen[touched[t]] = 0


@inner
def move_untouched(tile, member, a, first, last, step, penalty):
    """Move the rows first .. last-1 of W_1 that have no entries in the batch."""
    layer, own = a.layers[0], member * a.run[0].block_size
    _, _, seen_begin = marks_of(member, a)
    seen = span(a.marks, seen_begin, a.run[0].n_features)
    k = first
    while k < last:
        begin = k
        while k < last and k - begin < tile.block and not seen[k]:
            k += 1
        if k > begin:
            gradient = span(a.result, own, (k - begin) * layer.fan_out)
            clear(gradient)
            use(step, a, layer.W + begin * layer.fan_out, gradient, penalty)
        else:
            seen[k] = 0
            k += 1


@inner
def use_rows(tile, a, first, last, step, penalty):
    """Use the gradients of the rows first .. last-1 of W_1, which the result holds."""
    layer = a.layers[0]
    for k in range(first, last, tile.block):
        W, n = layer.W + k * layer.fan_out, (min(k + tile.block, last) - k) * layer.fan_out
        use(step, a, W, span(a.result, W, n), penalty)


@inner
def clear(numbers):
    """Set all numbers to 0."""
    for i in range(numbers.size):
        numbers[i] = 0
