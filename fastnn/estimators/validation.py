"""Samples that are held out of training: what the network makes of them after each epoch."""

from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import check_scoring
from sklearn.neural_network._base import LOSS_FUNCTIONS

from fastnn.inputs import Input, prepare


@dataclass
class Validation:
    """Held-out samples.

    Attributes
    ----------
    X : ndarray or sparse matrix, shape (n_samples, n_features)
    Y : ndarray, shape (n_samples, n_outputs)
        What the outputs should be.
    y : ndarray
        The same as labels, or as numbers.
    sample_weight : ndarray, shape (n_samples,), or None
    """

    X: Any
    Y: NDArray[Any]
    y: NDArray[Any]
    sample_weight: NDArray[Any] | None
    samples: Input = field(init=False)

    def __post_init__(self) -> None:
        self.samples = prepare(self.X)

    def loss(self, estimator: Any, outputs: NDArray[np.floating]) -> float:
        """Return the mean loss, without penalty, as scikit-learn reports losses."""
        name = estimator.loss
        if name == "log_loss" and estimator.out_activation_ == "logistic":
            name = "binary_log_loss"
        return float(LOSS_FUNCTIONS[name](self.Y, outputs, self.sample_weight))

    def score(self, estimator: Any, outputs: NDArray[np.floating]) -> float:
        """Return the estimator's own score of these outputs, or that of its ``scoring``."""
        if estimator.scoring is None:
            return estimator._score_of(outputs, self.y, self.sample_weight)
        model = copy(estimator)
        vars(model).pop("feature_names_in_", None)  # X was checked, and has none any more
        scorer = check_scoring(model, estimator.scoring)
        weights = {} if self.sample_weight is None else {"sample_weight": self.sample_weight}
        return float(scorer(model, self.X, self.y, **weights))
