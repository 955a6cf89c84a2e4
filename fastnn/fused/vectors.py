"""What Numba lacks: vectors, fused multiply-adds, addresses.

``Value`` is a number or a vector while instructions are written, with ordinary arithmetic, so that
a formula looks like one. ``fma``, ``address``, ``span`` and ``view`` are functions for compiled
code.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

INT32, INT64 = ir.IntType(32), ir.IntType(64)
FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
BYTES = {"float32": 4, "float64": 8}
MANTISSA_BITS = {4: 23, 8: 52}


# For functions that only compiled code calls: without the wrappers that let Python and C call them
# and, as in NumPy, without a test for 0 in every division. Most of the time to compile goes into
# machine code for functions that are then inlined anyway; so the outermost ones, which hold all
# others, are inlined before. Together: 16 seconds instead of 38.
inner = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = njit(inline="always")
# For functions that are called for every sample or row and take all arrays: a call passes each
# array's seven parts on the stack, which took longer than what such functions do.
hot = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)

# Numba compiles a function anew for each literal it is called with; not for these.
ZERO, ONE, NO = np.int64(0), np.int64(1), np.bool_(False)


class Value:
    """A float, or a vector of floats, of the program that is being written."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value
        self.type = value.type
        self.lanes = getattr(self.type, "count", 0)  # 0 for a number
        self.number = self.type.element if self.lanes else self.type
        self.bytes = 4 if self.number == ir.FloatType() else 8
        integer = ir.IntType(8 * self.bytes)
        self.integer = ir.VectorType(integer, self.lanes) if self.lanes else integer

    def like(self, value: Any) -> "Value":
        """Return a value of the same type: of a Python number, the constant."""
        if isinstance(value, Value):
            return value
        if isinstance(value, int | float):
            value = ir.Constant(self.type, [float(value)] * self.lanes if self.lanes else value)
        return Value(self.builder, value)

    def _binary(self, instruction: str, other: Any) -> "Value":
        result = getattr(self.builder, instruction)(self.value, self.like(other).value)
        return Value(self.builder, result)

    def __add__(self, other: Any) -> "Value":
        return self._binary("fadd", other)

    def __sub__(self, other: Any) -> "Value":
        return self._binary("fsub", other)

    def __mul__(self, other: Any) -> "Value":
        return self._binary("fmul", other)

    def __truediv__(self, other: Any) -> "Value":
        return self._binary("fdiv", other)

    def __rsub__(self, other: Any) -> "Value":
        return self.like(other) - self

    def __neg__(self) -> "Value":
        return Value(self.builder, self.builder.fneg(self.value))

    def compare(self, relation: str, other: Any) -> Any:
        """Compare lane by lane; false where one of the two is not a number."""
        return self.builder.fcmp_ordered(relation, self.value, self.like(other).value)

    def where(self, condition: Any, other: Any) -> "Value":
        """Return this value where the condition holds, else the other."""
        other = self.like(other).value
        return Value(self.builder, self.builder.select(condition, self.value, other))

    def fma(self, factor: Any, term: Any) -> "Value":
        """Return self * factor + term, rounded once."""
        suffix = f"v{self.lanes}f{8 * self.bytes}" if self.lanes else f"f{8 * self.bytes}"
        kind = ir.FunctionType(self.type, [self.type] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fma.{suffix}")
        arguments = [self.value, self.like(factor).value, self.like(term).value]
        return Value(self.builder, self.builder.call(function, arguments))

    def abs(self) -> "Value":
        """Return the magnitude."""
        return (-self).where(self.compare("<", 0.0), self)

    def bits(self) -> Any:
        """Return the same bits as an integer, or as a vector of them."""
        return self.builder.bitcast(self.value, self.integer)

    def from_bits(self, bits: Any) -> "Value":
        """Return the value of this type that has such bits."""
        return Value(self.builder, self.builder.bitcast(bits, self.type))

    def whole(self, number: int) -> Any:
        """Return an integer constant with as many bits and lanes."""
        return ir.Constant(self.integer, [number] * self.lanes if self.lanes else number)


def loop(
    builder: Any,
    n: Any,
    carried: dict[Any, Any],
    body: Callable[..., Any],
    *,
    may_be_none: bool = False,
) -> dict[Any, Any]:
    """Write ``for i in range(n): carried = body(i, carried)``; return the last.

    n is at least 1, unless it ``may_be_none``.
    """
    before = builder.block
    inside, after = (builder.append_basic_block(name) for name in ("loop", "after"))
    if may_be_none:
        builder.cbranch(builder.icmp_signed(">", n, INT64(0)), inside, after)
    else:
        builder.branch(inside)
    builder.position_at_end(inside)
    i = builder.phi(INT64)
    i.add_incoming(INT64(0), before)
    running = {}
    for key, value in carried.items():
        running[key] = builder.phi(value.type)
        running[key].add_incoming(value, before)
    ends = body(i, running)
    following = builder.add(i, INT64(1))
    last = builder.block
    i.add_incoming(following, last)
    for key, value in ends.items():
        running[key].add_incoming(value, last)
    builder.cbranch(builder.icmp_signed("<", following, n), inside, after)
    builder.position_at_end(after)
    if not may_be_none:
        return ends
    results = {}
    for key, value in ends.items():
        results[key] = builder.phi(value.type)
        results[key].add_incoming(carried[key], before)
        results[key].add_incoming(value, last)
    return results


@intrinsic
def fma(_, x, y, z):
    """Return x * y + z, rounded once."""
    if x not in (types.float32, types.float64) or not (x == y == z):
        return None

    def generate(_context, builder, _signature, arguments):
        x, y, z = (Value(builder, argument) for argument in arguments)
        return x.fma(y, z).value

    return x(x, x, x), generate


@intrinsic
def address(_, array, index):
    """Return the address of a flat array's element, as an integer."""

    def generate(context, builder, signature, arguments):
        kind = signature.args[0]
        data = context.make_array(kind)(context, builder, arguments[0]).data
        return builder.ptrtoint(builder.gep(data, [arguments[1]]), INT64)

    return types.int64(array, types.int64), generate


@intrinsic
def span(_, array, first, n):
    """Return n numbers of a flat array from ``first`` on, as an array of their own.

    A slice that counts no references. Loops over spans become vectors, loops over ``first + i`` do
    not: Numba would have to see that the index is not negative.
    """
    result = types.Array(array.dtype, 1, "C")

    def generate(context, builder, signature, arguments):
        values, first, n = arguments
        data = context.make_array(signature.args[0])(context, builder, values).data
        return array_at(context, builder, result, builder.gep(data, [first]), n)

    return result(array, types.int64, types.int64), generate


@intrinsic
def view(_, place, n, like):
    """Return n numbers from an address on, of the type of the number ``like``, as an array."""
    result = types.Array(like, 1, "C")

    def generate(context, builder, _signature, arguments):
        place, n, _ = arguments
        pointer = builder.inttoptr(place, context.get_data_type(like).as_pointer())
        return array_at(context, builder, result, pointer, n)

    return result(types.int64, types.int64, like), generate


def array_at(context: Any, builder: Any, kind: Any, data: Any, n: Any) -> Any:
    """Write an array of ``kind``, of n numbers from a pointer on."""
    window = context.make_array(kind)(context, builder)
    number = context.get_data_type(kind.dtype)
    size = context.get_constant(types.intp, context.get_abi_sizeof(number))
    populate_array(window, data=data, shape=[n], strides=[size], itemsize=size, meminfo=None)
    return window._getvalue()
