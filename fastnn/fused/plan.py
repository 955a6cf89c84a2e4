"""What a run needs to know, in records that compiled code reads, and where everything lies.

Tuples of arrays would make compiled code new for each depth. Instead one flat workspace holds all
that is computed on the way, and a table, the plan, says where each layer's part begins.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.fused.tiles import LINE, Tile, padded_stride
from fastnn.network import Network

# Samples in one chain of FMAs of a weight gradient; the chains of a batch are added in order. A
# part of the engine's numerics: another number gives other bits. 128 rows of one cache line of X,
# and of a panel of delta, fill half of a first-level cache.
CHUNK = 128

# Samples that are sent forward and back before their weight gradients are taken; whole chunks.
GROUP = 4 * CHUNK

# Samples that one thread takes through all layers at a time.
BLOCK = 96

# Samples side by side in the head; vectors of any width up to this divide it.
ABREAST = 16

# Weights, or numbers of a gradient, whose squares are added up at a time.
SQUARES = 4096

# What a thread does in a run.
TRAIN, GRADIENT, PREDICT, UPDATE = range(4)

ACTIVATION = {"identity": 0, "relu": 1, "tanh": 2, "logistic": 3}
IDENTITY, RELU, TANH, LOGISTIC = range(4)

OUTPUT = {"softmax": 0, "logistic": 1, "identity": 2, "exp": 3}
SOFTMAX_OUTPUT, LOGISTIC_OUTPUT, IDENTITY_OUTPUT, EXP_OUTPUT = range(4)

PLAIN, MOMENTUM, NESTEROV, ADAM = range(4)

# Places in ``control``; the first two in cache lines of their own.
COUNTER = 0  # of arrivals at the barrier
STOP = 8  # set from outside: end after this batch
STOP_SEEN = 16  # what all threads go by
BATCHES = 17  # done
STEPS = 18  # updates made
STATUS = 19
ENTERED = 20  # whether member 0 is or was inside
NEXT = 24  # block of samples to predict
CONTROL_SIZE = 32

DONE, DIVERGED, NOT_FINITE = range(3)  # what the status is

LAYER = np.dtype(
    [
        ("fan_in", np.int64),
        ("fan_out", np.int64),
        ("W", np.int64),  # place in the parameters, and in all that has their layout
        ("b", np.int64),
        ("rows", np.int64),  # place in the addresses: where the rows of the layer's input are
        ("delta_rows", np.int64),  # place in the addresses: where the rows of ``delta`` are
        ("A", np.int64),  # place in the workspace, of rows ``stride`` apart: what it puts out
        ("delta", np.int64),  # the slope of the loss by its Z; the last layer's is where A was
        ("stride", np.int64),
        ("W_panels", np.int64),  # place in the workspace of [W; b], for the way forward
        ("WT_panels", np.int64),  # of [W^T; 0], for the way back
        ("delta_panels", np.int64),  # of delta, chunk by chunk, if ``has_panels``
        ("has_panels", np.int64),  # delta is wider than one panel, and its panels are read
    ]
)

RUN = np.dtype(
    [
        ("mode", np.int64),
        ("n_samples", np.int64),  # as far as ``order`` goes
        ("n_features", np.int64),
        ("batch_size", np.int64),
        ("group", np.int64),
        ("activation", np.int64),
        ("output", np.int64),
        ("optimizer", np.int64),
        ("step", np.int64),  # updates made so far
        ("by_chunks", np.int64),  # threads take whole chunks: see program.py
        ("is_packed", np.int64),  # the panels of the weights are there from an earlier run
        ("skips", np.int64),  # the first layer goes from non-zero value to non-zero value
        ("is_csr", np.int64),  # X has its values without zeros
        ("is_plain", np.int64),  # the values are what the network sees: of its dtype, not scaled
        ("X", np.int64),  # address of the values, dense or not, as the caller has them
        ("X_kind", np.int64),  # place in KINDS
        ("X_bytes", np.int64),  # of one value
        ("starts", np.int64),  # of CSR: address of where each row's values start,
        ("X_columns", np.int64),  # and of their columns,
        ("columns_kind", np.int64),  # with their place in KINDS
        ("columns_bytes", np.int64),
        ("columns_lines", np.int64),  # lines of the cache that a row's columns take on average,
        ("X_lines", np.int64),  # and its values
        ("is_thin", np.int64),  # few samples of a chunk have a value in the same column
        ("entries", np.int64),  # place in the workspace: each thread's own, for one row's values
        ("entries_size", np.int64),
        ("lists", np.int64),  # each thread's own, for pairs of a place and a value
        ("lists_size", np.int64),
        ("marks_size", np.int64),  # each thread's part of ``marks``
        ("spare", np.int64),  # each thread's own room for a block of rows, of ``block_size``
        ("zeros", np.int64),  # place in the workspace of a row of zeros
        ("one", np.int64),  # place in the workspace where a 1 stands
        ("columns", np.int64),  # place in the workspace: each thread's own columns of a chunk's
        ("columns_size", np.int64),  # inputs, those of the rows of W at hand
        ("table", np.int64),  # place in the addresses: each thread's own, of rows of W
        ("head", np.int64),  # place in the workspace: each thread's own part for the softmax
        ("head_size", np.int64),
        ("block_size", np.int64),  # each thread's part of ``result``, where that is no gradient
        ("momentum", np.float64),
        ("beta_1", np.float64),
        ("beta_2", np.float64),
        ("epsilon", np.float64),
        ("weight_decay", np.float64),
        ("alpha", np.float64),
        ("smoothing", np.float64),
        ("like_sklearn", np.int64),
        ("least_loss", np.float64),  # what the loss by a probability is limited to
        ("most_loss", np.float64),
        ("dropout", np.float64),
        ("dropout_limit", np.int64),  # units whose bits are less are dropped
        ("dropout_seed", np.int64),
        ("clip_norm", np.float64),  # 0 where nothing is clipped
        ("scale", np.float64),  # of X
        ("tiny", np.float64),  # the smallest normal number of the parameters' dtype
    ]
)

# Types of numbers that X may have in compiled code; its columns are uint16 or int32.
KINDS = ("uint8", "int8", "uint16", "int16", "int32", "int64", "float32", "float64")


class Arrays(NamedTuple):
    """All arrays of a run; compiled code takes them together."""

    run: NDArray[Any]  # RUN, (1,)
    layers: NDArray[Any]  # LAYER, (n_layers,)
    parameters: NDArray[np.floating]
    moment_1: NDArray[np.floating]  # velocity, or Adam's m
    moment_2: NDArray[np.floating]  # Adam's v
    y: NDArray[np.int64]  # labels; empty where the output is no softmax
    targets: NDArray[np.floating]  # rows of them, flat, where it is none
    order: NDArray[np.int64]
    weights: NDArray[np.float64]  # of the samples; empty where all are 1
    rates: NDArray[np.float64]  # one per batch
    losses: NDArray[np.float64]  # one per batch
    result: NDArray[np.floating]  # a gradient, the parts of one at hand, or probabilities; flat
    partials: NDArray[np.floating]  # the gradients of a batch's chunks, where threads take those
    workspace: NDArray[np.floating]
    addresses: NDArray[np.int64]
    samples: NDArray[np.int64]  # to predict at hand: which row of X
    labels: NDArray[np.int64]  # of the group at hand; or their rows of the targets
    shares: NDArray[np.float64]
    sample_losses: NDArray[np.float64]  # of the batch at hand
    squares: NDArray[np.float64]  # of the weights
    gradient_squares: NDArray[np.float64]
    splits: NDArray[np.int64]  # each thread's own: its part of the entries of each sample
    cuts: NDArray[np.int64]  # the columns of X, shared out between the threads
    places: NDArray[np.int32]  # beside the entries: their columns
    marks: NDArray[np.int32]  # see sparse.py
    noted: NDArray[np.int64]  # how many columns each thread has noted in the batch
    control: NDArray[np.int64]  # places above


# Their dtypes, in that order; None is that of the parameters.
ARRAY_DTYPES: dict[str, Any] = {
    "run": RUN,
    "layers": LAYER,
    **dict.fromkeys(("parameters", "moment_1", "moment_2")),
    "y": np.int64,
    "targets": None,
    "order": np.int64,
    **dict.fromkeys(("weights", "rates", "losses"), np.float64),
    **dict.fromkeys(("result", "partials", "workspace")),
    **dict.fromkeys(("addresses", "samples", "labels"), np.int64),
    **dict.fromkeys(("shares", "sample_losses", "squares", "gradient_squares"), np.float64),
    **dict.fromkeys(("splits", "cuts"), np.int64),
    **dict.fromkeys(("places", "marks"), np.int32),
    **dict.fromkeys(("noted", "control"), np.int64),
}


class Room(NamedTuple):
    """How much a run needs room for.

    Attributes
    ----------
    rows : int
        Samples in the workspace at a time.
    members : int
        Threads.
    batch_size : int
    chunks : int
        Gradients of chunks that are kept apart.
    whole : bool
        Whether a whole gradient is kept, and not just the part that is at hand.
    expands : bool
        Whether rows of X have to be written out as the network sees them.
    longest : int
        Values in a row of X, where the first layer skips zeros; else 0.
    """

    rows: int
    members: int
    batch_size: int
    chunks: int
    whole: bool
    expands: bool = False
    longest: int = 0


class Plan(NamedTuple):
    """Where everything lies, and room for it, for one network and batches of one size."""

    run: NDArray[Any]  # RUN, filled as far as the plan decides, and then by the run that has it
    purpose: list[Any]  # what that was filled for
    layers: NDArray[Any]  # LAYER
    result: NDArray[np.floating]
    partials: NDArray[np.floating]
    workspace: NDArray[np.floating]
    addresses: NDArray[np.int64]
    samples: NDArray[np.int64]
    labels: NDArray[np.int64]
    shares: NDArray[np.float64]
    sample_losses: NDArray[np.float64]
    squares: NDArray[np.float64]
    gradient_squares: NDArray[np.float64]
    splits: NDArray[np.int64]
    places: NDArray[np.int32]
    marks: NDArray[np.int32]
    noted: NDArray[np.int64]
    nothing: NDArray[np.floating]
    size: int  # of the large parts together, in numbers


def make_plan(network: Network, tile: Tile, room: Room) -> Plan:
    """Lay out the workspace."""
    rows, members = room.rows, room.members
    sizes = network.layer_sizes
    outputs = sizes[-1]
    layers = np.zeros(len(sizes) - 1, LAYER)
    taken = 0

    def take(n: int) -> int:
        nonlocal taken
        place = taken
        taken += padded(n, LINE // tile.bytes)
        return place

    one = take(1)
    head_size = padded_stride(ABREAST * (outputs + 2), tile)
    head = take(members * head_size)
    columns_size = CHUNK * padded(tile.block, tile.lanes)
    columns = take(members * columns_size)
    parameter = 0
    for l, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        layer, stride = layers[l], padded_stride(fan_out, tile)
        layer["fan_in"], layer["fan_out"] = fan_in, fan_out
        layer["W"], layer["b"] = parameter, parameter + fan_in * fan_out
        parameter += (fan_in + 1) * fan_out
        layer["stride"] = stride
        layer["A"] = layer["delta"] = take(rows * stride)
        if l < len(layers) - 1:
            layer["delta"] = take(rows * stride)
        skips = l == 0 and room.longest > 0
        if fan_out > tile.width and not skips:
            layer["has_panels"] = True
            layer["delta_panels"] = take(padded(rows, CHUNK) * stride)
        if not skips:
            layer["W_panels"] = take((fan_in + 1) * padded(fan_out, tile.lanes))
        if l > 0:
            layer["WT_panels"] = take((fan_out + 1) * padded(fan_in, tile.lanes))
    X_stride = padded_stride(sizes[0], tile)
    X_rows = take(rows * X_stride) if room.expands and not room.longest else 0
    entries_size = padded(room.longest + tile.lanes, LINE // 4) if room.longest else 0
    entries = take(members * entries_size)
    lists_size = 2 * rows * entries_size if room.batch_size else 0
    block_size = padded_stride(tile.block * max(sizes[1:]), tile)
    spare = take(members * block_size if lists_size else 0)
    lists = take(members * lists_size)
    zeros = take(padded_stride(max(sizes), tile))
    marks_size = padded(5 * sizes[0] + 1, LINE // 4) if lists_size else 0
    workspace = aligned(np.zeros(taken + LINE // tile.bytes, tile.dtype))
    workspace[one] = 1
    table = 2 * len(layers) * rows
    addresses = np.zeros(table + members * tile.table, np.int64)
    for l, layer in enumerate(layers):
        layer["rows"], layer["delta_rows"] = 2 * l * rows, (2 * l + 1) * rows
        tables = [("delta_rows", layer["delta"], layer["stride"])]
        if l == 0:
            tables.append(("rows", X_rows, X_stride))
        else:
            tables.append(("rows", layers[l - 1]["A"], layers[l - 1]["stride"]))
        for name, place, stride in tables:
            begin = workspace.ctypes.data + place * tile.bytes
            step = stride * tile.bytes
            addresses[layer[name] : layer[name] + rows] = begin + step * np.arange(rows)
    squares = sum(-(-int(layer["fan_in"] * layer["fan_out"]) // SQUARES) for layer in layers)
    run = np.zeros(1, RUN)
    for name, value in {
        "n_features": network.n_features,
        "group": rows,
        "activation": ACTIVATION[network.activation],
        "output": OUTPUT[network.output],
        "by_chunks": room.chunks > 0,
        "skips": room.longest > 0,
        "entries": entries,
        "entries_size": entries_size,
        "lists": lists,
        "lists_size": lists_size,
        "marks_size": marks_size,
        "spare": spare,
        "zeros": zeros,
        "one": one,
        "columns": columns,
        "columns_size": columns_size,
        "table": table,
        "head": head,
        "head_size": head_size,
        "block_size": block_size,
        "tiny": np.finfo(tile.dtype).tiny,
    }.items():
        run[name] = value
    whole_or_blocks = parameter if room.whole else members * block_size
    return Plan(
        run=run,
        purpose=[],
        layers=layers,
        result=scratch(whole_or_blocks, tile.dtype),
        partials=scratch(room.chunks * parameter, tile.dtype),
        workspace=workspace,
        addresses=addresses,
        samples=scratch(rows, np.int64),
        labels=scratch(rows, np.int64),
        shares=scratch(rows, np.float64),
        sample_losses=scratch(room.batch_size, np.float64),
        squares=scratch(squares, np.float64),
        gradient_squares=scratch(-(-parameter // SQUARES), np.float64),
        splits=scratch(2 * rows * members if lists_size else 0, np.int64),
        places=scratch(members * entries_size, np.int32),
        marks=np.zeros(members * marks_size, np.int32),
        noted=scratch(members, np.int64),
        nothing=np.zeros(0, tile.dtype),
        size=taken + whole_or_blocks + room.chunks * parameter + room.batch_size,
    )


def padded(n: int, unit: int) -> int:
    """Return n rounded up to whole units."""
    return -(-n // unit) * unit


def scratch(n: int, dtype: Any) -> NDArray[Any]:
    """Return room for n numbers, not cleared."""
    return np.empty(n, dtype)


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """Return the part of a flat array that begins with a cache line."""
    return array[-array.ctypes.data % LINE // array.itemsize :]


class Call:
    """The arrays of a run and what compiled code is given of them: addresses, and a zero."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        numbers = [n for array in arrays for n in (array.ctypes.data, array.size)]
        self._table = np.array(numbers)
        self.arguments = self._table.ctypes.data, arrays.parameters.dtype.type(0)


def readable(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array, flat, that compiled code can read in place; or a copy."""
    return plain(array).reshape(-1)


def plain(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that compiled code can read in place: contiguous, aligned; or a copy."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    return np.require(array, requirements=["C", "A"])
