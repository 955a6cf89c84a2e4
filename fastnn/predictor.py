"""``Model.predictor()``: a callable for many predictions of a few samples each."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.checks import check_count
from fastnn.errors import InputError


class Predictor:
    """Predicts with everything allocated; made by ``Model.predictor``.

    It has a copy of the parameters: training the model on does not change it. One thread at a time
    may call it.
    """

    def __init__(self, model: Any, n_samples: int) -> None:
        self._model, self._most = model, check_count("n_samples", n_samples)
        self._n_features, self._classes = model.network.n_features, model.classes
        scaling, self._dtype = model.scaling, model.parameters.dtype
        self._scale = None if scaling.scale == 1.0 else self._dtype.type(scaling.scale)
        make = getattr(model.engine, "predictor", None)
        if make is None or scaling.offset is not None:
            self._predict: Any = None
        else:
            self._predict = make(model.network, model.parameters, self._most)
            self._one, self._first = self._predict.X[0], self._predict.out[:1]

    def __repr__(self) -> str:
        return f"Predictor(n_features={self._n_features}, n_samples={self._most})"

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each sample; see ``__call__``."""
        return self._classes[self(X).argmax(axis=1)]

    def __call__(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return the probability of each class.

        Parameters
        ----------
        X : array_like, shape (n_features,) or (n_samples, n_features)
            One sample, or at most as many as the predictor was made for; as in training, not yet
            scaled.

        Returns
        -------
        probabilities : ndarray, shape (n_samples, n_outputs)
            A new array.

        Raises
        ------
        InputError
            As ``Model.predict_proba``.
        """
        # the shortest way first: every test here takes its part of a few microseconds
        if type(X) is np.ndarray and X.dtype is self._dtype and self._scale is None:
            if X.shape == self._one.shape and self._predict is not None:
                self._one[...] = X
                if self._predict(1):
                    return self._first.copy()
            else:
                return self._some(X)
        return self._some(np.asarray(X))

    def _some(self, X: NDArray[Any]) -> NDArray[np.floating]:
        """Predict for samples of any dtype and number, or say what is wrong with them."""
        if X.ndim == 1 and len(X) == self._n_features:
            X = X.reshape(1, -1)
        if X.ndim == 2 and len(X) > self._most:
            raise InputError(
                f"X has {len(X)} samples; the predictor was made for at most {self._most}: "
                f"model.predictor(n_samples={len(X)})"
            )
        fits = X.ndim == 2 and len(X) > 0 and X.shape[1] == self._n_features
        kinds = "f" if self._scale is None else "iu"
        if fits and self._predict is not None and X.dtype.kind in kinds and X.dtype.itemsize <= 8:
            n = len(X)
            inside = self._predict.X[:n]
            with np.errstate(over="ignore"):  # infinite, which is found
                inside[...] = X
            if self._scale is not None:
                inside *= self._scale
            if self._predict(n):
                found: NDArray[np.floating] = self._predict.out[:n].copy()
                return found
        return self._model.predict_proba(X)
