"""Products of matrices, a tile of registers at a time.

Two products make up the work of a training step. Both keep a tile of the result, some rows by some
vectors, in registers, and add to it one outer product after another::

    multiply     out[i, :] = start + sum_k A[i, k] B[k, :]        k ascending: one chain of FMAs
    correlate    out[k, :] = sum_i A[i, k] D[i, :]                i ascending: one chain of FMAs

For each term of the sum a number of A is spread over a vector and multiplied with vectors of B or
D. The lanes of a vector are always different outputs, never parts of one sum, and so every output
is the same chain of roundings for any tile and any vector width. A is not one array but a list of
the addresses of its rows: the samples of a batch are read where they lie.

At the edges, tiles are lower (half as high, a quarter, ...) or have fewer vectors, and the last
vector is masked: lanes beyond the matrix are neither read nor written.

LLVM turns this into machine code, and splits vectors that the CPU does not have; ``host_tile`` asks
which it has. A tile stands in compiled code as a value without contents: its numbers are part of
its type. Addresses are integers, made by ``address``.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_constant
from numba.extending import (
    intrinsic,
    models,
    overload_attribute,
    register_model,
    typeof_impl,
)

from fastnn.fused.vectors import BYTES, FLOATS, INT32, INT64, Value, loop

LINE = 64  # bytes in a line of the cache


class Tile(NamedTuple):
    """How much of a result is kept in registers.

    Attributes
    ----------
    dtype : str
    lanes : int
        Numbers in a vector.
    height, vectors : int
        Rows and vectors of the full tile; both powers of two, or 3 vectors. A tile of one vector
        is twice as high, so that enough chains of FMAs are under way.
    """

    dtype: str
    lanes: int
    height: int
    vectors: int

    @property
    def bytes(self) -> int:
        """Size of a number."""
        return BYTES[self.dtype]


@cache
def host_tile(dtype: str) -> Tile:
    """Return the tile that fits this CPU's registers, by what LLVM says of its features."""
    features = binding.get_host_cpu_features()
    width, height, vectors = 16, 4, 2
    if features.get("avx512f"):  # 32 registers
        width, height, vectors = 64, 8, 2
    elif features.get("avx2"):  # 16 registers: 4 x 3 sums, 3 vectors and a spread number
        width, height, vectors = 32, 4, 3
    elif features.get("neon"):  # 32 registers
        width, height, vectors = 16, 8, 2
    return Tile(dtype, width // BYTES[dtype], height, vectors)


def host_has_fma() -> bool:
    """Tell whether the CPU multiplies and adds in one instruction; without, all is slow."""
    features = binding.get_host_cpu_features()
    return bool(features.get("fma") or features.get("neon"))


class TileType(types.Type):
    """The type of one tile: functions that take it are compiled for it."""

    def __init__(self, tile: Tile) -> None:
        self.tile = tile
        super().__init__(name=str(tile))


typeof_impl.register(Tile)(lambda tile, _: TileType(tile))
register_model(TileType)(models.OpaqueModel)
lower_constant(TileType)(lambda context, *_: context.get_dummy_value())


def _attribute(name: str) -> Callable[[Any], Any]:
    def constant(tile):
        value = getattr(tile.tile, name)
        return lambda tile: value

    return constant


for _name in ("lanes", "height", "vectors", "bytes"):
    overload_attribute(TileType, _name)(_attribute(_name))


def padded_stride(columns: int, tile: Tile) -> int:
    """Return the length of a row of the workspace, in elements.

    Whole vectors and whole cache lines, an odd number of them: rows a power of two apart would
    share a few sets of the first cache.
    """
    unit = max(LINE // tile.bytes, tile.lanes)
    units = -(-columns // unit)
    return (units + 1 - units % 2) * unit


# --- products ------------------------------------------------------------------------------------


@intrinsic
def multiply(_, tile, height, vectors, last, rows, n, B, stride, start, rectify, out, out_stride):
    """Compute a tile of a product: out[i, :] = start + sum_k A[i, k] B[k, :].

    All but ``tile`` are integers: the tile's ``height`` and ``vectors``, the number of lanes that
    count in the ``last`` vector, the address of the ``rows``' addresses, the length ``n`` of the
    sum, the addresses of the first row of B, of ``start``, and of ``out`` with their strides in
    elements. ``rectify`` tells to make negative results 0. ``out`` is written in whole vectors.
    """
    arguments = (height, vectors, last, rows, n, B, stride, start, rectify, out, out_stride)

    def generate(context, builder, _signature, values):
        emit = _Emitter(builder, tile.tile)
        height, vectors, last, rows, n, B, stride, start, rectify, out, out_stride = values[1:]
        mask = emit.mask(last)
        lowest = ir.Constant(emit.vector, [float("-inf")] * tile.tile.lanes)
        floor = Value(builder, builder.select(rectify, emit.zero, lowest))

        def one_tile(height: int, vectors: int) -> None:
            a = [emit.load_address(rows, m) for m in range(height)]
            first = emit.load_vectors(emit.pointer(start), vectors, mask)
            chains = {(m, v): first[v] for m in range(height) for v in range(vectors)}

            def add(k, chains):
                b = emit.load_vectors(emit.offset(B, builder.mul(k, stride)), vectors, mask)
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
def correlate(_, tile, height, vectors, last, rows, column, n, D, stride, out, out_stride, adds):
    """Compute a tile of a weight gradient: out[k, :] = sum_i A[i, column + k] D[i, :].

    As ``multiply``, with n rows of A and of D. Only the lanes that count are written to ``out``;
    they are added to what is there if ``adds`` is not 0.
    """
    arguments = (height, vectors, last, rows, column, n, D, stride, out, out_stride, adds)

    def generate(context, builder, _signature, values):
        emit = _Emitter(builder, tile.tile)
        height, vectors, last, rows, column, n, D, stride, out, out_stride, adds = values[1:]
        mask = emit.mask(last)

        def one_tile(height: int, vectors: int) -> None:
            chains = {(m, v): emit.zero for m in range(height) for v in range(vectors)}

            def add(i, chains):
                d = emit.load_vectors(emit.offset(D, builder.mul(i, stride)), vectors)
                a = builder.gep(emit.load_address(rows, i), [column])
                # the next columns of a row that lies anywhere in memory: 240 GFLOP/s, not 175
                emit.prefetch(builder.gep(a, [INT64(LINE // tile.tile.bytes)]))
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
        builder = self.builder
        after = builder.append_basic_block("done")
        never = builder.append_basic_block("never")
        size = builder.add(builder.mul(height, INT64(8)), vectors)
        jump = builder.switch(size, never)
        for v in range(1, self.tile.vectors + 1):
            rows = self.tile.height * (2 if v == 1 else 1)
            while rows:
                block = builder.append_basic_block(f"tile_{rows}_{v}")
                jump.add_case(INT64(8 * rows + v), block)
                builder.position_at_end(block)
                one_tile(rows, v)
                builder.branch(after)
                rows //= 2
        builder.position_at_end(never)
        builder.branch(after)
        builder.position_at_end(after)
