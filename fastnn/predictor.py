"""``Model.predictor()``: a callable for many predictions of a few samples each."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.checks import check_count
from fastnn.errors import InputError
from fastnn.inputs import Input, as_array, is_sparse


class Predictor:
    """Predicts with everything allocated; made by ``Model.predictor``.

    It has a copy of the parameters: training the model on does not change it. One thread at a time
    may call it.
    """

    def __init__(self, model: Any, n_samples: int) -> None:
        self._model = replace(model, parameters=model.parameters.copy())
        self._most = check_count("n_samples", n_samples)
        self._n_features, self._classes = model.network.n_features, model.classes
        scaling, self._dtype = model.scaling, model.parameters.dtype
        self._scale = None if scaling.scale == 1.0 else self._dtype.type(scaling.scale)
        self._predict: Any = None
        self._shape: tuple[int] | None = None  # of samples that go the short way
        make = getattr(model.engine, "predictor", None)
        if make is not None and scaling.offset is None:
            self._predict = make(model.network, model.parameters, self._most)
            self._one, self._first = self._predict.X[0], self._predict.out[:1]
            self._shape = None if self._scale is not None else self._one.shape

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
        if type(X) is np.ndarray and X.dtype is self._dtype and X.shape == self._shape:
            self._one[...] = X
            if self._predict(1):
                return self._first.copy()
        return self._some(X)

    def _some(self, X: Any) -> NDArray[np.floating]:
        """Predict for samples of any dtype and number, or say what is wrong with them."""
        if isinstance(X, Input):
            shape: tuple[int, ...] = (X.n_samples, X.n_features)
        else:
            X = X if is_sparse(X) else as_array("X", X)
            X = X.reshape(1, -1) if X.shape == (self._n_features,) else X
            shape = X.shape
        if len(shape) == 2 and shape[0] > self._most:
            raise InputError(
                f"X has {shape[0]} samples; the predictor was made for at most {self._most}: "
                f"model.predictor(n_samples={shape[0]})"
            )
        kinds = "f" if self._scale is None else "iu"
        if self._predict is not None and isinstance(X, np.ndarray) and X.dtype.kind in kinds:
            n = len(X) if X.ndim else 0
            if n and X.shape == (n, self._n_features) and X.dtype.itemsize <= 8:
                if self._is_in_place(X):
                    finite = self._predict.read(X)
                else:
                    inside = self._predict.X[:n]
                    with np.errstate(over="ignore"):  # infinite, which is found
                        inside[...] = X
                        if self._scale is not None:
                            inside *= self._scale
                    finite = self._predict(n)
                if finite:
                    found: NDArray[np.floating] = self._predict.out[:n].copy()
                    return found
        result: NDArray[np.floating] = self._model.predict_proba(X)
        return result

    def _is_in_place(self, X: NDArray[Any]) -> bool:
        """Tell whether the rows of X can be read where they are: there is nothing to convert."""
        return (
            self._scale is None
            and X.dtype == self._dtype
            and X.flags.c_contiguous
            and X.flags.aligned
        )
