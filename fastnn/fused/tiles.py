"""Products of matrices, a tile of registers at a time.

Two products make up the work of a training step. Both keep a tile of the result, some rows by some
vectors, in registers, and add to it one outer product after another::

    multiply     out[i, :] = b + sum_k A[i, k] B[k, :]            k ascending: one chain of FMAs
    correlate    out[k, :] = sum_i A[i, k] D[i, :]                i ascending: one chain of FMAs

For each term of the sum a number of A is spread over a vector and multiplied with vectors of B or
D. The lanes of a vector are always different outputs, never parts of one sum, and so every output
is the same chain of roundings for any tile and any vector width.

Tiles that stand above each other use the same few columns of B or D over and over. These are copied
side by side first, into a *panel*: as wide as a tile, and contiguous. Rows of the matrix itself
would lie far apart, often by a power of two, and a few of them would push each other out of the
caches (512 x 512: half the speed). ``pack`` makes panels, and ``turn`` those of the transpose.

Matrices that are read row by row come as a table of the addresses of their rows: the samples of a
batch are read where they lie. At the edges, tiles are lower or have fewer vectors; the last panel
is padded to whole vectors, and lanes beyond the matrix are not written to results.

LLVM turns this into machine code, and splits vectors that the CPU does not have; ``host_tile`` asks
which it has. A tile stands in compiled code as a value without contents: its numbers are part of
its type. Addresses are integers, made by ``address``.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_constant
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
    typeof_impl,
)

from fastnn.fused.vectors import BYTES, FLOATS, INT32, INT64, Value, loop

LINE = 64  # bytes in a line of the cache
STRIP = 8  # vectors of a row that ``gather`` adds up at a time: enough chains of FMAs under way
WRITE, ADD, STEP = range(3)  # what becomes of a sum
MOST_VECTORS = 8  # more than the widest tile has


class Tile(NamedTuple):
    """How much of a result is kept in registers.

    Attributes
    ----------
    dtype : str
    lanes : int
        Numbers in a vector.
    height, vectors : int
        Rows and vectors of the full tile. A tile of one vector is twice as high, so that enough
        chains of FMAs are under way.
    """

    dtype: str
    lanes: int
    height: int
    vectors: int

    @property
    def bytes(self) -> int:
        """Size of a number."""
        return BYTES[self.dtype]

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return self.lanes * self.vectors

    @property
    def block(self) -> int:
        """Rows of weights whose gradient is taken at a time: two tiles, one of a narrow panel."""
        return 2 * self.height

    @property
    def table(self) -> int:
        """Places in a thread's table of rows of W; whole cache lines of addresses."""
        return -(-max(self.block, self.lanes) // 8) * 8


@cache
def host_tile(dtype: str) -> Tile:
    """Return the tile that fits this CPU's registers, by what LLVM says of its features."""
    features = binding.get_host_cpu_features()
    width, height, vectors = 16, 4, 2
    if features.get("avx512f"):  # 32 registers
        width, height, vectors = 64, 8, 2
    elif features.get("avx2"):  # 16 registers: 6 x 2 sums, 2 vectors and a spread number
        width, height, vectors = 32, 6, 2
    elif features.get("neon"):  # 32 registers
        width, height, vectors = 16, 8, 2
    return Tile(dtype, width // BYTES[dtype], height, vectors)


def host_has_fma() -> bool:
    """Tell whether the CPU multiplies and adds in one instruction; without, all is slow."""
    features = binding.get_host_cpu_features()
    return bool(features.get("fma") or features.get("neon"))


def host_compresses(tile: Tile) -> bool:
    """Tell whether the CPU packs chosen lanes of a vector side by side in one instruction."""
    features = binding.get_host_cpu_features()
    wide = tile.lanes * tile.bytes == LINE
    return wide and all(features.get(name) for name in ("avx512f", "avx512vl"))


class TileType(types.Type):
    """The type of one tile: functions that take it are compiled for it."""

    def __init__(self, tile: Tile) -> None:
        self.tile = tile
        super().__init__(name=str(tile))


typeof_impl.register(Tile)(lambda tile, _: TileType(tile))
register_model(TileType)(models.OpaqueModel)
lower_constant(TileType)(lambda context, *_: context.get_dummy_value())


@infer_getattr
class TileAttributes(AttributeTemplate):
    """A tile's numbers are integers in compiled code."""

    key = TileType

    def generic_resolve(self, tile, name):
        """Return the type of an attribute."""
        return types.int64 if hasattr(tile.tile, name) else None


@lower_getattr_generic(TileType)
def _tile_attribute(context, builder, tile, value, name):
    return context.get_constant(types.int64, getattr(tile.tile, name))


def lower_height(height: int) -> int:
    """Return the height of the next lower tile, for edges: the largest power of two below.

    ``dense.tile_height`` chooses among these.
    """
    return 1 << (height - 1).bit_length() >> 1


def padded_stride(columns: int, tile: Tile) -> int:
    """Return the length of a row of the workspace, in elements.

    Whole vectors and whole cache lines, an odd number of them: rows a power of two apart would
    share a few sets of the first cache.
    """
    unit = max(LINE // tile.bytes, tile.lanes)
    units = -(-columns // unit)
    return (units + 1 - units % 2) * unit


# --- products ---------------------------------------------------------------------------------


@intrinsic
def multiply(
    _, tile, height, vectors, rows, column, n, panel, start, start_stride, rectify, out, out_stride
):
    """Compute a tile of a product: out[i, :] = start[i, :] + sum_k A[i, column + k] panel[k, :].

    All but ``tile`` are integers: the tile's ``height`` and ``vectors``, the address of the
    ``rows``' addresses, the first ``column`` and the number ``n`` of terms, the address of the
    ``panel``, and of ``start`` and ``out`` with their strides in elements. ``rectify`` tells to
    make negative results 0. ``out`` is written in whole vectors.
    """
    arguments = (
        height, vectors, rows, column, n, panel, start, start_stride, rectify, out, out_stride
    )  # fmt: skip

    def generate(context, builder, _signature, values):
        emit = _Emitter(builder, tile.tile)
        height, vectors, rows, column, n, panel, start, start_stride = values[1:9]
        rectify, out, out_stride = values[9:]
        lowest = ir.Constant(emit.vector, [float("-inf")] * tile.tile.lanes)
        floor = Value(builder, builder.select(rectify, emit.zero, lowest))

        def one_tile(height: int, vectors: int) -> None:
            width = INT64(vectors * tile.tile.lanes)
            a = [builder.gep(emit.load_address(rows, m), [column]) for m in range(height)]
            chains = {
                (m, v): value
                for m in range(height)
                for v, value in enumerate(
                    emit.load_vectors(
                        emit.offset(start, builder.mul(INT64(m), start_stride)), vectors
                    )
                )
            }

            def add(k, chains):
                b = emit.load_vectors(emit.offset(panel, builder.mul(k, width)), vectors)
                spread = (emit.spread(builder.load(builder.gep(row, [k]))) for row in a)
                return emit.add_outer_product(spread, b, chains)

            chains = loop(builder, n, chains, add)
            for (m, v), chain in chains.items():
                target = emit.offset(out, builder.mul(INT64(m), out_stride))
                value = Value(builder, chain) + 0.0  # -0 becomes +0
                value = value.like(floor).where(value.compare("<", floor), value)  # NaN stays
                emit.store(value.value, target, v)

        emit.choose(height, vectors, one_tile)
        return context.get_dummy_value()

    return types.void(tile, *arguments), generate


@intrinsic
def correlate(_, tile, height, vectors, last, A, A_stride, n, D, D_stride, out, out_stride, adds):
    """Compute a tile of a weight gradient: out[k, :] = sum_i A[i, k] D[i, :], i < n.

    As ``multiply``; A, D and ``out`` are addresses, with their strides in elements. Of the last
    vector only the ``last`` lanes are written to ``out``; they are added to what is there if
    ``adds`` is not 0.
    """
    arguments = (height, vectors, last, A, A_stride, n, D, D_stride, out, out_stride, adds)

    def generate(context, builder, _signature, values):
        emit = _Emitter(builder, tile.tile)
        height, vectors, last, A, A_stride, n, D, D_stride, out, out_stride, adds = values[1:]
        mask = emit.mask(last)

        def one_tile(height: int, vectors: int) -> None:
            chains = {(m, v): emit.zero for m in range(height) for v in range(vectors)}

            def add(i, chains):
                d = emit.load_vectors(emit.offset(D, builder.mul(i, D_stride)), vectors)
                a = emit.offset(A, builder.mul(i, A_stride))
                spread = (
                    emit.spread(builder.load(builder.gep(a, [INT64(m)]))) for m in range(height)
                )
                return emit.add_outer_product(spread, d, chains)

            chains = loop(builder, n, chains, add)
            before = emit.when(
                builder.icmp_signed("!=", adds, INT64(0)),
                lambda: [
                    value
                    for m in range(height)
                    for value in emit.load_vectors(
                        emit.offset(out, builder.mul(INT64(m), out_stride)), vectors, mask
                    )
                ],
            )
            for ((m, v), value), old in zip(chains.items(), before, strict=True):
                target = emit.offset(out, builder.mul(INT64(m), out_stride))
                edge = mask if v == vectors - 1 else None
                emit.store(builder.fadd(value, old), target, v, edge)

        emit.choose(height, vectors, one_tile)
        return context.get_dummy_value()

    return types.void(tile, *arguments), generate


@intrinsic
def gather(
    _, tile, vectors, last, places, values, step, n, rows, stride, start, rectify, out, then, rate
):
    """Add up multiples of chosen rows: sum = start + sum_k values[k] rows[places[k], :], k < n.

    All but ``tile`` and ``rate`` are integers: the number of ``vectors`` of a row, at most
    ``STRIP``, of which the last has ``last`` lanes that count; addresses of the places (int32) and
    the values; ``step`` is 0 where each are side by side, or the size in bytes of a pair of both;
    the number n; the address of the rows with their ``stride`` in elements, of
    ``start`` and ``out``.
    ``then`` says what becomes of the sum: ``WRITE`` writes it to ``out``, with negative results as
    0 if ``rectify``; ``ADD`` adds it to ``out``; ``STEP`` subtracts ``rate`` times it from ``out``.
    """
    arguments = (
        vectors, last, places, values, step, n, rows, stride, start, rectify, out, then, rate
    )  # fmt: skip

    def generate(context, builder, _signature, arguments):
        emit = _Emitter(builder, tile.tile)
        vectors, last, places, values, step, n, rows, stride, start = arguments[1:10]
        rectify, out, then, rate = arguments[10:]
        mask = emit.mask(last)
        lowest = ir.Constant(emit.vector, [float("-inf")] * tile.tile.lanes)
        floor = Value(builder, builder.select(rectify, emit.zero, lowest))
        descent = -Value(builder, emit.spread(rate))
        paired = builder.icmp_signed("!=", step, INT64(0))
        place_step = builder.select(paired, step, INT64(4))
        value_step = builder.select(paired, step, INT64(tile.tile.bytes))

        def one_strip(vectors: int) -> None:
            first = emit.load_vectors(emit.pointer(start), vectors, mask)

            def add(k, chains):
                where = builder.add(places, builder.mul(k, place_step))
                place = builder.load(builder.inttoptr(where, INT32.as_pointer()))
                row = emit.offset(rows, builder.mul(builder.sext(place, INT64), stride))
                where = builder.add(values, builder.mul(k, value_step))
                number = emit.spread(builder.load(emit.pointer(where)))
                loaded = emit.load_vectors(row, vectors, mask)
                return emit.add_outer_product([number], loaded, chains)

            start_chains = {(0, v): value for v, value in enumerate(first)}
            chains = loop(builder, n, start_chains, add, may_be_none=True)
            sums = [Value(builder, chain) + 0.0 for chain in chains.values()]  # -0 becomes +0

            def finish(result: Callable[[Value, Any], Value], reads: bool) -> None:
                before = emit.load_vectors(emit.pointer(out), vectors, mask) if reads else sums
                for v, (value, old) in enumerate(zip(sums, before, strict=True)):
                    edge = mask if v == vectors - 1 else None
                    emit.store(result(value, old).value, emit.pointer(out), v, edge)

            emit.switch(
                then,
                {  # NaN stays NaN
                    WRITE: lambda: finish(
                        lambda z, _: z.like(floor).where(z.compare("<", floor), z), False
                    ),
                    ADD: lambda: finish(lambda total, old: total + old, True),
                    STEP: lambda: finish(lambda total, old: descent.fma(total, old), True),
                },
            )

        emit.switch(vectors, {v: partial(one_strip, v) for v in range(1, STRIP + 1)})
        return context.get_dummy_value()

    return types.void(tile, *arguments), generate


@intrinsic
def compress(_, tile, row, n, columns, values):
    """Copy the non-zero numbers of a row and their columns; return how many there are.

    All but ``tile`` are integers: the address of the row, of n numbers, of the ``columns`` (int32)
    and the ``values``, with room for n and one vector more. ``values`` may be the row itself.
    """
    arguments = (row, n, columns, values)

    def generate(context, builder, _signature, arguments):
        emit, lanes = _Emitter(builder, tile.tile), tile.tile.lanes
        row, n, columns, values = arguments[1:]
        step = INT64(lanes)
        whole = builder.sdiv(n, step)
        count = loop(
            builder,
            whole,
            {"count": INT64(0)},
            lambda i, carried: {
                "count": emit.compress(
                    row, builder.mul(i, step), None, columns, values, carried["count"]
                )
            },
            may_be_none=True,
        )["count"]
        done = builder.mul(whole, step)
        mask = emit.mask(builder.sub(n, done))
        return emit.compress(row, done, mask, columns, values, count)

    return types.int64(tile, *arguments), generate


@intrinsic
def prefetch(_, place):
    """Ask for the line of the cache at an address; another thread's, or none, does no harm."""

    def generate(context, builder, _signature, arguments):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        pointer = builder.inttoptr(arguments[0], byte)
        builder.call(function, [pointer, INT32(0), INT32(3), INT32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


# --- panels --------------------------------------------------------------------------------------


@intrinsic
def pack(_, tile, vectors, last, rows, column, n, out):
    """Copy some columns of n rows side by side: out[i, :] = A[i, column:column + width].

    The width is that of ``vectors`` vectors, enough for a panel or a block, of which the last has
    ``last`` lanes that count; the others become 0. ``rows`` is the address of the rows' addresses.
    """
    arguments = (vectors, last, rows, column, n, out)

    def generate(context, builder, _signature, values):
        emit = _Emitter(builder, tile.tile)
        vectors, last, rows, column, n, out = values[1:]
        mask = emit.mask(last)

        def copy(vectors: int) -> None:
            width = INT64(vectors * tile.tile.lanes)

            def one_row(i, _):
                source = builder.gep(emit.load_address(rows, i), [column])
                emit.prefetch(builder.gep(source, [INT64(2 * vectors * tile.tile.lanes - 1)]))
                target = emit.offset(out, builder.mul(i, width))
                for v, value in enumerate(emit.load_vectors(source, vectors, mask)):
                    emit.store(value, target, v)
                return {}

            loop(builder, n, {}, one_row)

        most = max(tile.tile.vectors, -(-tile.tile.block // tile.tile.lanes))
        emit.switch(vectors, {v: partial(copy, v) for v in range(1, most + 1)})
        return context.get_dummy_value()

    return types.void(tile, *arguments), generate


@intrinsic
def turn(_, tile, rows, squares, out, out_stride):
    """Transpose as many rows as a vector has lanes: out[j, i] = A[i, j].

    A has as many columns as ``squares`` vectors have lanes, at least one.
    """
    arguments = (rows, squares, out, out_stride)

    def generate(context, builder, _signature, values):
        emit, lanes = _Emitter(builder, tile.tile), tile.tile.lanes
        rows, squares, out, out_stride = values[1:]
        sources = [emit.load_address(rows, i) for i in range(lanes)]

        def one_square(number, _):
            first = builder.mul(number, INT64(lanes))
            square = [emit.load_vectors(builder.gep(a, [first]), 1)[0] for a in sources]
            target = emit.offset(out, builder.mul(first, out_stride))
            for j, column in enumerate(emit.transposed(square)):
                emit.store(column, builder.gep(target, [builder.mul(INT64(j), out_stride)]), 0)
            return {}

        loop(builder, squares, {}, one_square)
        return context.get_dummy_value()

    return types.void(tile, *arguments), generate


@intrinsic
def turn_rest(_, tile, rows, column, count, out, out_stride):
    """Transpose the ``count`` columns from ``column`` on, fewer than a vector has lanes.

    As ``turn``; the rows of the result that there are not are not written.
    """
    arguments = (rows, column, count, out, out_stride)

    def generate(context, builder, _signature, values):
        emit, lanes = _Emitter(builder, tile.tile), tile.tile.lanes
        rows, column, count, out, out_stride = values[1:]
        mask = emit.mask(count)
        square = [
            emit.load_vectors(builder.gep(emit.load_address(rows, i), [column]), 1, mask)[0]
            for i in range(lanes)
        ]
        turned = emit.transposed(square)

        def store(count: int) -> None:
            for j in range(count):
                emit.store(turned[j], emit.offset(out, builder.mul(INT64(j), out_stride)), 0)

        emit.switch(count, {n: partial(store, n) for n in range(1, lanes)})
        return context.get_dummy_value()

    return types.void(tile, *arguments), generate


class _Emitter:
    """Writes LLVM's vector instructions for one tile."""

    def __init__(self, builder: Any, tile: Tile) -> None:
        self.builder, self.tile = builder, tile
        self.float = FLOATS[tile.dtype]
        self.align = tile.bytes
        self.vector = ir.VectorType(self.float, tile.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * tile.lanes)
        self.suffix = f"v{tile.lanes}f{8 * self.align}"

    def function(self, name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, arguments)
        return cgutils.get_or_insert_function(self.builder.module, kind, name)

    def pointer(self, number: Any) -> Any:
        return self.builder.inttoptr(number, self.float.as_pointer())

    def offset(self, number: Any, elements: Any) -> Any:
        return self.builder.gep(self.pointer(number), [elements])

    def vector_pointer(self, pointer: Any, v: int) -> Any:
        place = self.builder.gep(pointer, [INT64(v * self.tile.lanes)])
        return self.builder.bitcast(place, self.vector.as_pointer())

    def load_address(self, table: Any, index: Any) -> Any:
        """Load one address out of a table of them."""
        index = INT64(index) if isinstance(index, int) else index
        entries = self.builder.inttoptr(table, INT64.as_pointer())
        return self.pointer(self.builder.load(self.builder.gep(entries, [index])))

    def mask(self, count: Any) -> Any:
        """Return a mask of the first ``count`` lanes."""
        lanes = ir.VectorType(INT32, self.tile.lanes)
        numbers = ir.Constant(lanes, list(range(self.tile.lanes)))
        limit = self.spread(self.builder.trunc(count, INT32))
        return self.builder.icmp_unsigned("<", numbers, limit)

    def spread(self, number: Any) -> Any:
        """Return a vector with ``number`` in all lanes."""
        lanes = self.tile.lanes
        empty = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
        one = self.builder.insert_element(empty, number, INT32(0))
        everywhere = ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
        return self.builder.shuffle_vector(one, empty, everywhere)

    def load_vectors(self, pointer: Any, count: int, mask: Any = None) -> list[Any]:
        """Load ``count`` vectors; lanes of the last that are masked out become 0."""
        places = [self.vector_pointer(pointer, v) for v in range(count)]
        if mask is None:
            return [self.builder.load(place, align=self.align) for place in places]
        load = self.function(
            f"llvm.masked.load.{self.suffix}.p0",
            self.vector, self.vector.as_pointer(), INT32, mask.type, self.vector,
        )  # fmt: skip
        edge = self.builder.call(load, [places[-1], INT32(self.align), mask, self.zero])
        return [self.builder.load(place, align=self.align) for place in places[:-1]] + [edge]

    def store(self, value: Any, pointer: Any, v: int, mask: Any = None) -> None:
        place = self.vector_pointer(pointer, v)
        if mask is None:
            self.builder.store(value, place, align=self.align)
            return
        store = self.function(
            f"llvm.masked.store.{self.suffix}.p0",
            ir.VoidType(), self.vector, self.vector.as_pointer(), INT32, mask.type,
        )  # fmt: skip
        self.builder.call(store, [value, place, INT32(self.align), mask])

    def prefetch(self, pointer: Any) -> None:
        byte = ir.IntType(8).as_pointer()
        function = self.function("llvm.prefetch.p0", ir.VoidType(), byte, INT32, INT32, INT32)
        read, keep, data = INT32(0), INT32(3), INT32(1)
        self.builder.call(function, [self.builder.bitcast(pointer, byte), read, keep, data])

    def transposed(self, rows: list[Any]) -> list[Any]:
        """Return the columns of a square of vectors.

        Each round shuffles the upper half of the square into the lower like two packs of cards;
        after as many rounds as the number of lanes has bits, rows and columns are exchanged.
        """
        lanes = self.tile.lanes
        half = lanes // 2
        lower, upper = (
            ir.Constant(
                ir.VectorType(INT32, lanes),
                [i // 2 + begin + lanes * (i % 2) for i in range(lanes)],
            )
            for begin in (0, half)
        )
        for _ in range(half.bit_length()):
            rows = [
                self.builder.shuffle_vector(rows[i], rows[half + i], order)
                for i in range(half)
                for order in (lower, upper)
            ]
        return rows

    def compress(
        self, row: Any, first: Any, mask: Any, columns: Any, values: Any, count: Any
    ) -> Any:
        """Append the non-zero numbers of one vector, and their columns; return the new count."""
        builder, lanes = self.builder, self.tile.lanes
        (x,) = self.load_vectors(self.offset(row, first), 1, mask)
        chosen = builder.fcmp_unordered("!=", x, self.zero)
        numbers = ir.VectorType(INT32, lanes)
        lane = ir.Constant(numbers, list(range(lanes)))
        column = builder.add(self.spread(builder.trunc(first, INT32)), lane)
        if host_compresses(self.tile):
            target = builder.inttoptr(columns, INT32.as_pointer())
            target = builder.bitcast(builder.gep(target, [count]), numbers.as_pointer())
            for vector, place in (
                (column, target),
                (x, self.vector_pointer(self.offset(values, count), 0)),
            ):
                kind = vector.type
                element = str(kind.element).replace("float", "f32").replace("double", "f64")
                function = self.function(
                    f"llvm.x86.avx512.mask.compress.v{lanes}{element}",
                    kind, kind, kind, chosen.type,
                )  # fmt: skip
                empty = ir.Constant(kind, [0] * lanes)
                packed = builder.call(function, [vector, empty, chosen])
                builder.store(packed, place, align=4 if kind is numbers else self.align)
            bits = builder.bitcast(chosen, ir.IntType(lanes))
            return builder.add(count, builder.zext(builder.ctpop(bits), INT64))
        for i in range(lanes):  # written always, counted if it is there
            one = INT32(i)
            place = builder.gep(builder.inttoptr(columns, INT32.as_pointer()), [count])
            builder.store(builder.extract_element(column, one), place)
            builder.store(builder.extract_element(x, one), self.offset(values, count))
            more = builder.zext(builder.extract_element(chosen, one), INT64)
            count = builder.add(count, more)
        return count

    def add_outer_product(self, column: Any, row: Any, chains: dict[Any, Any]) -> dict[Any, Any]:
        """Add to each sum the product of one number of the column and one vector of the row."""
        return {
            (m, v): Value(self.builder, a).fma(row[v], chains[m, v]).value
            for m, a in enumerate(column)
            for v in range(len(row))
        }

    def when(self, condition: Any, compute: Callable[[], list[Any]]) -> list[Any]:
        """Return the vectors that ``compute`` gives where the condition holds, else zeros."""
        builder, before = self.builder, self.builder.block
        with builder.if_then(condition):
            values, inside = compute(), builder.block
        results = []
        for value in values:
            merged = builder.phi(self.vector)
            merged.add_incoming(self.zero, before)
            merged.add_incoming(value, inside)
            results.append(merged)
        return results

    def choose(self, height: Any, vectors: Any, one_tile: Callable[[int, int], None]) -> None:
        """Emit ``one_tile`` for every size that edges need, and a jump to the one wanted."""
        sizes = {}
        for v in range(1, self.tile.vectors + 1):
            rows = self.tile.height * (2 if v == 1 else 1)
            while rows:
                sizes[MOST_VECTORS * rows + v] = partial(one_tile, rows, v)
                rows = lower_height(rows)
        size = self.builder.add(self.builder.mul(height, INT64(MOST_VECTORS)), vectors)
        self.switch(size, sizes)

    def switch(self, number: Any, cases: dict[int, Callable[[], None]]) -> None:
        """Emit what is to be done for each number, and a jump to the one at hand."""
        builder = self.builder
        after, never = (builder.append_basic_block(name) for name in ("done", "never"))
        jump = builder.switch(number, never)
        for case, emit in cases.items():
            block = builder.append_basic_block(f"case_{case}")
            jump.add_case(INT64(case), block)
            builder.position_at_end(block)
            emit()
            builder.branch(after)
        builder.position_at_end(never)
        builder.branch(after)
        builder.position_at_end(after)
