"""Packing the non-zero numbers of a vector side by side, for CPUs that have an instruction for it.

Written as LLVM's instructions; ``csr.py`` tells for which CPUs. AVX-512 with VBMI2 packs vectors of
any numbers: to compress a table of bytes takes a third of the time.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

SHORT, INT32, WORD = (ir.IntType(bits) for bits in (16, 32, 64))


def compress_rows(numbers, words, n, mask, columns, values):  # type: ignore[no-untyped-def]
    """As ``csr._compress_rows``, a vector at a time; ``words`` are not needed."""
    place, lanes = 0, lanes_for(numbers)
    for i in range(numbers.size // n):
        begin = i * n
        if place + n + lanes > columns.size:  # what comes after the end is another thread's
            for j in range(n):
                if numbers[begin + j] & mask:
                    columns[place], values[place] = j, numbers[begin + j]
                    place += 1
        else:
            for first in range(0, n, lanes):
                count = min(lanes, n - first)
                place = pack(numbers, begin + first, count, first, mask, columns, values, place)


def _lanes(numbers: Any) -> int:
    """Return how many numbers make a vector: as many as columns, of two bytes, fill one."""
    return min(32, 512 // int(numbers.dtype.bitwidth))


@intrinsic
def lanes_for(_, numbers):  # type: ignore[no-untyped-def]
    """Return how many numbers ``pack`` takes at a time."""
    lanes = _lanes(numbers)
    return types.int64(numbers), lambda *_: ir.Constant(WORD, lanes)


@intrinsic
def pack(_, numbers, first, n, column, mask, columns, values, place):  # type: ignore[no-untyped-def]
    """Append the non-zero ones of n numbers, and their columns; return the place after the last.

    ``numbers`` are unsigned, and taken from ``first`` on; ``column`` is that of the first; ``mask``
    has the bits that count. What is appended is written to ``columns`` (uint16) and ``values`` from
    ``place`` on, whole vectors of it.
    """
    lanes = _lanes(numbers)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        numbers, first, n, column, mask, columns, values, place = arguments
        number = context.get_value_type(signature.args[0].dtype)
        vector, shorts = ir.VectorType(number, lanes), ir.VectorType(SHORT, lanes)
        size = number.width // 8

        def pointer(array: Any, which: int, index: Any, kind: Any) -> Any:
            data = context.make_array(signature.args[which])(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())

        def spread(value: Any) -> Any:
            empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
            one = builder.insert_element(empty, value, INT32(0))
            everywhere = ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
            return builder.shuffle_vector(one, empty, everywhere)

        def call(name: str, result: Any, *given: Any) -> Any:
            kind = ir.FunctionType(result, [value.type for value in given])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            return builder.call(function, given)

        lane = ir.Constant(shorts, list(range(lanes)))
        there = builder.icmp_unsigned("<", lane, spread(builder.trunc(n, SHORT)))
        zero = ir.Constant(vector, [0] * lanes)
        x = call(
            f"llvm.masked.load.v{lanes}i{number.width}.p0", vector,
            pointer(numbers, 0, first, vector), INT32(size), there, zero,
        )  # fmt: skip
        chosen = builder.icmp_unsigned("!=", builder.and_(x, spread(mask)), zero)
        where = builder.add(lane, spread(builder.trunc(column, SHORT)))
        for found, which, array in ((where, 5, columns), (x, 6, values)):
            kind = found.type
            packed = call(
                f"llvm.x86.avx512.mask.compress.v{lanes}i{kind.element.width}", kind, found,
                ir.Constant(kind, [0] * lanes), chosen,
            )  # fmt: skip
            builder.store(packed, pointer(array, which, place, kind), align=kind.element.width // 8)
        count = builder.ctpop(builder.bitcast(chosen, ir.IntType(lanes)))
        return builder.add(place, builder.zext(count, WORD))

    integers = (types.int64, types.int64, types.int64)
    return types.int64(numbers, *integers, mask, columns, values, types.int64), generate
