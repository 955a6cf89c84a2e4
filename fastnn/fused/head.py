"""The functions between the products: activations, their slopes, softmax and cross-entropy.

Activations are plain loops over contiguous numbers, which LLVM turns into vectors. The softmax is a
kernel of its own: 16 samples stand side by side in a vector, so that the sums over the classes are
chains in order, like all others, and a vector is full however few classes there are.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.fused.elementary import emit_exp, emit_log, logistic, tanh
from fastnn.fused.outputs import limited
from fastnn.fused.plan import ABREAST, LOGISTIC, RELU, TANH
from fastnn.fused.vectors import INT32, INT64, Value, address, inner, loop, span


@inner
def activate(kind, Z):
    """Apply the activation in place; the ReLU is part of the product."""
    if kind == TANH:
        for i in range(Z.size):
            Z[i] = tanh(Z[i])
    elif kind == LOGISTIC:
        for i in range(Z.size):
            Z[i] = logistic(Z[i])


@inner
def multiply_by_slope(kind, delta, A, keep):
    """Multiply by the activation's slope, which its output, A times ``keep``, tells."""
    zero, one = A.dtype.type(0), A.dtype.type(1)
    if kind == RELU:
        for i in range(A.size):
            delta[i] = delta[i] if A[i] > zero else zero
    elif kind == TANH:
        for i in range(A.size):
            value = A[i] * keep
            delta[i] *= one - value * value
    elif kind == LOGISTIC:
        for i in range(A.size):
            value = A[i] * keep
            delta[i] *= value * (one - value)


@intrinsic
def softmax(_, values, Z, stride, n, n_classes, scratch):
    """Compute the softmax of n <= 16 rows of logits, a lane of ``scratch`` for each.

    Z is the address of rows ``stride`` apart, and ``scratch`` of (n_classes + 2, 16) numbers. It
    receives the probabilities, then log(sum(exp(z - largest))), then the largest logits. Lanes
    beyond n repeat the last row. ``values`` gives the precision.
    """

    def generate(context, builder, _signature, arguments):
        _, Z, stride, n, n_classes, scratch = arguments
        number = context.get_value_type(values.dtype)
        vector = ir.VectorType(number, ABREAST)
        last = builder.sub(n, INT64(1))
        rows = []
        for s in range(ABREAST):
            row = builder.select(builder.icmp_signed("<", INT64(s), n), INT64(s), last)
            first = builder.inttoptr(Z, number.as_pointer())
            rows.append(builder.gep(first, [builder.mul(row, stride)]))

        def place(j):
            first = builder.inttoptr(scratch, vector.as_pointer())
            return builder.gep(first, [j])

        def load(j):
            return Value(builder, builder.load(place(j), align=number_bytes))

        def store(value, j):
            builder.store(value.value, place(j), align=number_bytes)

        def gather(j, carried):
            z = ir.Constant(vector, ir.Undefined)
            for s, row in enumerate(rows):
                z = builder.insert_element(z, builder.load(builder.gep(row, [j])), INT32(s))
            z, largest = Value(builder, z), Value(builder, carried["largest"])
            store(z, j)
            return {"largest": z.where(z.compare(">", largest), largest).value}

        def exponentiate(j, carried):
            e = emit_exp(load(j) - largest)
            store(e, j)
            return {"sum": (Value(builder, carried["sum"]) + e).value}

        def divide(j, _):
            store(load(j) / total, j)
            return {}

        number_bytes = values.dtype.bitwidth // 8
        zero = Value(builder, ir.Constant(vector, [0.0] * ABREAST))
        lowest = zero.like(float("-inf"))
        largest = zero.like(loop(builder, n_classes, {"largest": lowest.value}, gather)["largest"])
        total = zero.like(loop(builder, n_classes, {"sum": zero.value}, exponentiate)["sum"])
        loop(builder, n_classes, {}, divide)
        store(emit_log(total), n_classes)
        store(largest, builder.add(n_classes, INT64(1)))
        return context.get_dummy_value()

    integers = (types.int64,) * 5
    return types.void(values, *integers), generate


@inner
def loss_and_delta(Z, stride, n, n_classes, scratch, y, shares, losses, smoothing, least, most):
    """Turn n <= 16 rows of logits into the slopes of the loss by them, in place.

    ``y`` holds the labels and ``shares`` each sample's part in the batch's mean; ``losses``
    receives what each adds to the batch's loss, which is between ``least`` and ``most`` before.
    """
    real = Z.dtype.type
    each, one = real(smoothing / n_classes), real(1)
    right = real(one - real(smoothing)) + each if smoothing > 0 else one
    softmax(Z, address(Z, 0), stride, n, n_classes, address(scratch, 0))
    log_sums = span(scratch, n_classes * ABREAST, ABREAST)
    largest = span(scratch, (n_classes + 1) * ABREAST, ABREAST)
    for s in range(n):
        z = span(Z, s * stride, n_classes)
        # from the logits: the probability may have rounded to 0
        loss = limited(log_sums[s] - (z[y[s]] - largest[s]), real(least), real(most))
        if smoothing > 0:
            loss -= each * sum_above(z, z[y[s]])
        losses[s] = shares[s] * loss
        share = real(shares[s])
        for j in range(n_classes):
            z[j] = (span(scratch, j * ABREAST, ABREAST)[s] - each) * share
        z[y[s]] = (span(scratch, y[s] * ABREAST, ABREAST)[s] - right) * share


@inner
def sum_above(z, level):
    """Return the sum of z_j - level."""
    total = z.dtype.type(0)
    for j in range(z.size):
        total += z[j] - level
    return total


@inner
def probabilities(Z, stride, n, n_classes, scratch, out):
    """Write the probabilities of n <= 16 rows of logits to ``out``, (n, n_classes) but flat."""
    softmax(Z, address(Z, 0), stride, n, n_classes, address(scratch, 0))
    for s in range(n):
        row = span(out, s * n_classes, n_classes)
        for j in range(n_classes):
            row[j] = span(scratch, j * ABREAST, ABREAST)[s]
