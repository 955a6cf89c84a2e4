"""Threads that meet without locks.

A thread that arrives adds 1 to a counter and waits until all have. The counter only grows, so a
meeting is over when the counter has reached the meeting's number times the number of threads, and
nobody has to set it back. Who waits looks again and again for a while, which is the fastest where
every thread has a core of its own, and then gives its core away between looks: where threads share
cores, the others need it to arrive (two runs on two cores took eight times as long without).
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.fused.vectors import INT32, INT64, inner

LOOKS = 2000  # about 10 microseconds; then the core is given away


@intrinsic
def add_atomically(_, place, value):
    """Add to the integer at an address, and return what it was before."""

    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], INT64.as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "acq_rel")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def load_atomically(_, place):
    """Return the integer at an address as the other threads left it last."""

    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], INT64.as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def give_way(_):
    """Let another thread have the core, if one waits for it (POSIX)."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(INT32, [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


@inner
def meet(counter, meeting, members):
    """Wait until all members have come to meeting number ``meeting``, counted from 1."""
    everyone = meeting * members
    if add_atomically(counter, 1) + 1 >= everyone:
        return
    looks = 0
    while load_atomically(counter) < everyone:
        looks += 1
        if looks > LOOKS:
            give_way()
