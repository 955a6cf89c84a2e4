"""The arrays of a run, as compiled code sees them: one address.

A tuple of two dozen arrays, of seven parts each, would be copied with every call of a function, and
compiling would take twice as long. Instead compiled code is given the address of a *table* of their
addresses and lengths, and reads from it what it asks for: ``a.parameters``, ``a.run[0].alpha``. The
table does not change during a run, which LLVM is told.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
)

from fastnn.fused.plan import ARRAY_DTYPES
from fastnn.fused.vectors import INT64, array_at

NAMES = list(ARRAY_DTYPES)


class ArraysType(types.Type):
    """All arrays of a run; ``real`` is the type of those that have the parameters' dtype."""

    def __init__(self, real: Any) -> None:
        self.real = real
        super().__init__(name=f"Arrays({real})")

    def array(self, name: str) -> Any:
        """Return the type of an array."""
        dtype = ARRAY_DTYPES[name]
        return types.Array(self.real if dtype is None else from_dtype(np.dtype(dtype)), 1, "C")


@register_model(ArraysType)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, INT64)


@infer_getattr
class _Attributes(AttributeTemplate):
    key = ArraysType

    def generic_resolve(self, arrays: Any, name: str) -> Any:
        """Return the type of an attribute."""
        return arrays.array(name) if name in ARRAY_DTYPES else None


@lower_getattr_generic(ArraysType)
def _attribute(context: Any, builder: Any, arrays: Any, table: Any, name: str) -> Any:
    array = arrays.array(name)
    entries = builder.inttoptr(table, INT64.as_pointer())
    first = 2 * NAMES.index(name)
    place, n = (
        builder.load(builder.gep(entries, [ir.Constant(INT64, first + i)])) for i in range(2)
    )
    for number in (place, n):
        number.set_metadata("invariant.load", builder.module.add_metadata([]))
    pointer = builder.inttoptr(place, context.get_data_type(array.dtype).as_pointer())
    return array_at(context, builder, array, pointer, n)


@intrinsic
def arrays_of(_, table, zero):
    """Return the arrays whose table is at an address; ``zero`` tells the parameters' precision."""

    def generate(_context, _builder, _signature, arguments):
        return arguments[0]

    return ArraysType(zero)(types.int64, zero), generate
