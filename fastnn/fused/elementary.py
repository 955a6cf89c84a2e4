"""exp, log, tanh and the logistic function, for single numbers, the same on every machine.

Plain arithmetic and explicit FMAs, no branches: LLVM turns loops over these into vectors of any
width without changing a bit. The error bounds below are in ULP of the exact result; tests hold
them over the whole range of float32, and over samples of that of float64.

=========  =======  =======================================================================
function   bound    notes
=========  =======  =======================================================================
exp        1.25     denormal results included
log        1        of denormal numbers too; -inf at 0, NaN below
tanh       3
logistic   2.5      denormal results included
=========  =======  =======================================================================

exp: x = n ln 2 + r with |r| <= ln 2 / 2, and e^x = 2^n (1 + q(r)) with
q(r) = r + r^2 P(r). ln 2 is split in two so that r is exact enough (Cody and Waite, 1980).
log: x = 2^n m with m in [sqrt(1/2), sqrt(2)), s = (m - 1) / (m + 1), log m = 2 atanh(s) =
2 s + s^3 R(s^2), arranged as in FreeBSD's msun (e_log.c). P and R were fitted with Remez'
algorithm; their errors are below 2^-28 and 2^-29 (float32), 2^-57 and 2^-58 (float64).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import types
from numba.extending import intrinsic

from fastnn.fused.vectors import MANTISSA_BITS, Value


class Constants(NamedTuple):
    """What the formulas need, in one precision."""

    round_shift: float  # adding it rounds to an integer, which the low bits then hold
    ln2_high: float  # few digits, so that its products with n are exact
    ln2_low: float
    lowest: float  # exp is 0 below, and
    highest: float  # infinite above
    tanh_is_one: float  # from half of it on
    smallest_normal: float
    normalize: float  # a power of two that lifts denormals into the normal range
    normalize_exponent: float
    exp_terms: tuple[float, ...]
    log_terms: tuple[float, ...]


LOG2_E = 1.4426950408889634
SQRT_HALF = 0.7071067811865476

FLOAT32 = Constants(
    round_shift=1.5 * 2**23,
    ln2_high=0.693359375,
    ln2_low=-2.1219444005469057e-4,
    lowest=-105.0,
    highest=89.0,
    tanh_is_one=20.0,
    smallest_normal=2.0**-126,
    normalize=2.0**25,
    normalize_exponent=25,
    exp_terms=(
        0.50000000962801488615,
        0.16666517711623470999,
        0.04166620227281807075,
        0.0083690248472432594235,
        0.0013950726686786866257,
    ),
    log_terms=(0.66666777053588677976, 0.3997744948007343226, 0.29874420411634711661),
)
FLOAT64 = Constants(
    round_shift=1.5 * 2**52,
    ln2_high=6.93147180369123816490e-01,
    ln2_low=1.90821492927058770002e-10,
    lowest=-746.0,
    highest=710.0,
    tanh_is_one=40.0,
    smallest_normal=2.0**-1022,
    normalize=2.0**54,
    normalize_exponent=54,
    exp_terms=(
        0.50000000000000129857,
        0.16666666666666699672,
        0.041666666666513103042,
        0.0083333333333068166918,
        0.0013888888947681992889,
        0.00019841269918226559975,
        0.0000248014891998098587,
        2.7557215544931351876e-6,
        2.7631561889600354031e-7,
        2.5118101471947105989e-8,
    ),
    log_terms=(
        0.66666666666667353836,
        0.39999999999407478497,
        0.28571428744143180213,
        0.22222198378313245502,
        0.18183575173301295148,
        0.15313755572933930588,
        0.14799067875530360752,
    ),
)
CONSTANTS = {4: FLOAT32, 8: FLOAT64}  # by size


def _polynomial(x: Value, terms: tuple[float, ...]) -> Value:
    """Return terms[0] + terms[1] x + terms[2] x^2 + ..., by Horner's rule."""
    value = x.like(terms[-1])
    for term in terms[-2::-1]:
        value = value.fma(x, term)
    return value


def _power_of_two(shifted: Value) -> Value:
    """Return 2^n, where ``shifted`` is n + round_shift: n then stands in its low bits."""
    builder = shifted.builder
    n = builder.shl(shifted.bits(), shifted.whole(MANTISSA_BITS[shifted.bytes]))
    return shifted.from_bits(builder.add(n, shifted.like(1.0).bits()))


def _reduce(x: Value) -> tuple[Value, Value, Value]:
    """Return n, n + round_shift, and q with e^x = 2^n (1 + q)."""
    c = CONSTANTS[x.bytes]
    shifted = x.fma(LOG2_E, c.round_shift)
    n = shifted - c.round_shift
    r = n.fma(-c.ln2_low, n.fma(-c.ln2_high, x))
    return n, shifted, (r * r).fma(_polynomial(r, c.exp_terms), r)


def emit_exp(x: Value) -> Value:
    """Return e^x."""
    c = CONSTANTS[x.bytes]
    x = x.like(c.lowest).where(x.compare("<", c.lowest), x)  # NaN stays
    x = x.like(c.highest).where(x.compare(">", c.highest), x)
    n, _, q = _reduce(x)
    # 2^n in two factors: it may be denormal or infinite itself
    half = n.fma(0.5, c.round_shift)
    rest = n - (half - c.round_shift) + c.round_shift
    return (q + 1.0) * _power_of_two(half) * _power_of_two(rest)


def emit_log(x: Value) -> Value:
    """Return the natural logarithm."""
    c, builder = CONSTANTS[x.bytes], x.builder
    tiny = x.compare("<", c.smallest_normal)
    y = (x * c.normalize).where(tiny, x)
    # y = 2^n m: the exponent's bits of y, counted from those of sqrt(1/2)
    width = y.whole(MANTISSA_BITS[y.bytes])
    steps = builder.ashr(builder.sub(y.bits(), y.like(SQRT_HALF).bits()), width)
    m = y.from_bits(builder.sub(y.bits(), builder.shl(steps, width)))
    n = Value(builder, builder.sitofp(steps, y.type))
    n = n - y.like(c.normalize_exponent).where(tiny, 0.0)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    R = z * _polynomial(z, c.log_terms)
    half_square = f * 0.5 * f
    value = n * c.ln2_high - ((half_square - (s * (half_square + R) + n * c.ln2_low)) - f)
    infinity, nan = x.like(float("inf")), x.like(float("nan"))
    value = (-infinity).where(x.compare("==", 0.0), value)
    value = infinity.where(x.compare("==", infinity), value)
    return value.where(x.compare(">=", 0.0), nan)


def emit_tanh(x: Value) -> Value:
    """Return (e^2x - 1) / (e^2x + 1)."""
    c = CONSTANTS[x.bytes]
    y = x.abs() * 2.0
    y = y.like(c.tanh_is_one).where(y.compare(">", c.tanh_is_one), y)
    _, shifted, q = _reduce(y)
    scale = _power_of_two(shifted)
    t = scale.fma(q, scale - 1.0)  # e^y - 1
    value = t / (t + 2.0)
    return (-value).where(x.compare("<", 0.0), value)


def emit_logistic(x: Value) -> Value:
    """Return 1 / (1 + e^-x), by an exp that never sees a positive number."""
    e = emit_exp(-x.abs())
    return e.like(1.0).where(x.compare(">=", 0.0), e) / (e + 1.0)


def _for_compiled_code(emit: Callable[[Value], Value]) -> Any:
    @intrinsic
    def function(_, x):
        if x not in (types.float32, types.float64):
            return None

        def generate(_context, builder, _signature, arguments):
            return emit(Value(builder, arguments[0])).value

        return x(x), generate

    return function


exp, log, tanh, logistic = map(_for_compiled_code, (emit_exp, emit_log, emit_tanh, emit_logistic))
