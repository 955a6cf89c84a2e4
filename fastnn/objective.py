"""What is minimised: everything that shapes the loss or its gradient stands in one record."""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from fastnn.errors import InputError
from fastnn.records import as_python_floats


@dataclass(frozen=True)
class Objective:
    """The mean of the samples' losses plus an L2 penalty on the weights.

    For sample losses ``l_i`` with sample weights ``w_i`` (1 where none are given)::

        loss = sum(w_i l_i) / sum(w_i) + alpha |W|^2 / (2 sum(w_i))

    summed over the batch; ``|W|^2`` is the sum of squares of all weights, biases left out. This is
    scikit-learn's convention. A sample's loss depends on what the network puts out; for logits z,
    outputs p and targets t it is, summed over the outputs::

        softmax     -t log p                          cross-entropy; t is 1 for the right class
        logistic    -t log p - (1 - t) log(1 - p)     binary cross-entropy
        identity    (p - t)^2 / 2                     half the squared error
        exp         t log(t / p) - t + p              half the Poisson deviance

    Parameters
    ----------
    alpha : float, default=0.0
        Strength of the penalty, at least 0.
    label_smoothing : float, default=0.0
        In [0, 1), for softmax and logistic: targets become ``(1 - s) t + s / K``, with K the number
        of classes: that of the outputs, or 2 for logistic ones (Szegedy et al., 2016).
    dropout : float, default=0.0
        In [0, 1): share of each hidden layer's values that are set to 0 in training, while the
        others are divided by ``1 - dropout`` (Srivastava et al., 2014). Which ones is decided by
        ``dropout_seed``, the number of updates made so far, the layer, the sample's place in the
        batch and the unit.
    dropout_seed : int, default=0
        In [0, 2^64).
    clip_norm : float, optional
        Above 0. A gradient whose Euclidean norm, over all parameters, is larger is scaled down to
        it (Pascanu et al., 2013).
    like_sklearn : bool, default=False
        Report losses as scikit-learn does: of probabilities clipped to [eps, 1 - eps], and the mean
        of squared errors over the outputs. Gradients stay as they are, there and here.

    Raises
    ------
    InputError
        If a setting is out of range.
    """

    alpha: float = 0.0
    label_smoothing: float = 0.0
    dropout: float = 0.0
    dropout_seed: int = 0
    clip_norm: float | None = None
    like_sklearn: bool = False

    def __post_init__(self) -> None:
        as_python_floats(self, "alpha", "label_smoothing", "dropout")
        if not isinstance(self.like_sklearn, bool | np.bool_):
            raise InputError(f"like_sklearn is {self.like_sklearn!r}; expected True or False")
        object.__setattr__(self, "like_sklearn", bool(self.like_sklearn))
        if not (isfinite(self.alpha) and self.alpha >= 0):
            raise InputError(f"alpha is {self.alpha!r}; expected a finite number of at least 0")
        for name in ("label_smoothing", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected a number in [0, 1)")
        seed = self.dropout_seed
        is_whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if not (is_whole and 0 <= seed < 2**64):
            raise InputError(f"dropout_seed is {seed!r}; expected a whole number in [0, 2^64)")
        object.__setattr__(self, "dropout_seed", int(seed))
        if self.clip_norm is not None:
            as_python_floats(self, "clip_norm")
            if not (isfinite(self.clip_norm) and self.clip_norm > 0):
                raise InputError(
                    f"clip_norm is {self.clip_norm!r}; expected a finite number above 0, or None"
                )
        if self.like_sklearn and self.label_smoothing:
            raise InputError(
                "like_sklearn=True is for losses that scikit-learn has; it has no label_smoothing"
            )
