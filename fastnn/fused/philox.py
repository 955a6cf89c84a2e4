"""The random bits of dropout, in compiled code: Philox4x64-10, as ``dropout.py`` describes it.

A counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) has
no state: each thread computes the bits of its own samples, and computes them again on the way back.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.fused.vectors import INT64, inner, span, view

WIDE = ir.IntType(128)
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
KEY_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
ROUNDS = 10

UNITS = 8  # that one block serves
BITS = np.uint32(0)  # the type of what decides on a unit


@intrinsic
def put_random_bits(_, block, layer, step, seed, place):
    """Write the four words that belong to a counter to an address."""

    def generate(context, builder, _signature, arguments):
        block, layer, step, seed, place = arguments
        counter, key = [block, INT64(0), layer, step], [seed, INT64(0)]
        for _ in range(ROUNDS):
            products = [
                builder.mul(builder.zext(word, WIDE), WIDE(multiplier))
                for word, multiplier in zip(counter[::2], MULTIPLIERS, strict=True)
            ]
            low = [builder.trunc(product, INT64) for product in products]
            high = [builder.trunc(builder.lshr(product, WIDE(64)), INT64) for product in products]
            counter = [
                builder.xor(builder.xor(high[1], counter[1]), key[0]),
                low[1],
                builder.xor(builder.xor(high[0], counter[3]), key[1]),
                low[0],
            ]
            key = [builder.add(word, INT64(n)) for word, n in zip(key, KEY_STEPS, strict=True)]
        words = builder.inttoptr(place, INT64.as_pointer())
        for i, word in enumerate(counter):
            builder.store(word, builder.gep(words, [INT64(i)]))
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 5), generate


@inner
def drop(run, layer, sample, step, values, scratch):
    """Multiply a hidden layer's values of one sample by 0 or 1 / (1 - dropout).

    ``sample`` is its place in the batch; ``scratch`` the address of room for a block's bits.
    """
    zero = values.dtype.type(0)
    scale = values.dtype.type(1.0 / (1.0 - run.dropout))
    blocks = (values.size + UNITS - 1) // UNITS
    for block in range(blocks):
        put_random_bits(sample * blocks + block + 1, layer, step, run.dropout_seed, scratch)
        bits = view(scratch, UNITS, BITS)
        first = block * UNITS
        n = min(UNITS, values.size - first)
        part = span(values, first, n)
        for i in range(n):
            part[i] = part[i] * scale if np.int64(bits[i]) >= run.dropout_limit else zero
