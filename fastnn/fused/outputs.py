"""Outputs that are no softmax, number by number: what they put out, their loss and its slope.

The formulas are those of ``objective.py``, computed from the logits so that no probability that
rounded to 0 or 1 gets into a logarithm.
"""

from fastnn.fused.elementary import exp, log, logistic
from fastnn.fused.plan import EXP_OUTPUT, IDENTITY_OUTPUT, LOGISTIC_OUTPUT
from fastnn.fused.vectors import hot, inner, span


@inner
def put_out(kind, Z, out):
    """Write what the logits Z become to ``out``."""
    if kind == LOGISTIC_OUTPUT:
        for j in range(Z.size):
            out[j] = logistic(Z[j])
    elif kind == EXP_OUTPUT:
        for j in range(Z.size):
            out[j] = exp(Z[j])
    else:
        for j in range(Z.size):
            out[j] = Z[j]


@inner
def losses_and_slopes(run, Z, stride, n, n_outputs, targets, rows, shares, losses):
    """Turn n rows of logits into the slopes of the loss by them, in place.

    ``rows`` says which of the targets are theirs, and ``shares`` each sample's part in the batch's
    mean; ``losses`` receives what each adds to the batch's loss.
    """
    for s in range(n):
        z = span(Z, s * stride, n_outputs)
        t = span(targets, rows[s] * n_outputs, n_outputs)
        share = Z.dtype.type(shares[s])
        if run.output == LOGISTIC_OUTPUT:
            loss = binary_cross_entropy(run, z, t, share)
        elif run.output == IDENTITY_OUTPUT:
            loss = half_squared_error(run, z, t, share)
        else:
            loss = half_poisson_deviance(z, t, share)
        losses[s] = shares[s] * loss


@inner
def binary_cross_entropy(run, z, t, share):
    """Return the sum of -t log p - (1 - t) log(1 - p); z becomes (p - t) * share."""
    real = z.dtype.type
    zero, one, loss = real(0), real(1), real(0)
    least, most = real(run.least_loss), real(run.most_loss)
    rest, each = real(1.0 - run.smoothing), real(run.smoothing / 2.0)
    for j in range(z.size):
        x, target = z[j], t[j] * rest + each
        e = exp(-abs(x))
        tail = log_one_plus(e, one)
        of_one = limited((zero if x > zero else -x) + tail, least, most)
        of_zero = limited((x if x > zero else zero) + tail, least, most)
        loss += target * of_one + (one - target) * of_zero
        z[j] = ((e if x < zero else one) / (e + one) - target) * share
    return loss


@inner
def half_squared_error(run, z, t, share):
    """Return the sum of (z - t)^2 / 2; z becomes (z - t) * share."""
    real = z.dtype.type
    loss = real(0)
    for j in range(z.size):
        error = z[j] - t[j]
        loss += error * error
        z[j] = error * share
    return loss / real(2 * z.size if run.like_sklearn else 2)


@inner
def half_poisson_deviance(z, t, share):
    """Return the sum of t log(t / p) - t + p; z becomes (p - t) * share."""
    zero, loss = z.dtype.type(0), z.dtype.type(0)
    for j in range(z.size):
        p, target = exp(z[j]), t[j]
        loss += (target * log(target) if target > zero else zero) - target * z[j] - target + p
        z[j] = (p - target) * share
    return loss


@hot
def log_one_plus(x, one):
    """Return log(1 + x) for x in [0, 1]; what was lost in the sum comes back to first order."""
    total = one + x
    return log(total) - ((total - one) - x) / total


@hot
def limited(loss, least, most):
    """Return a loss within limits; NaN stays."""
    loss = least if loss < least else loss
    return most if loss > most else loss
