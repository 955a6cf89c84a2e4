"""``Model.predictor()``: a callable for many predictions of a few samples each."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.checks import check_count
from fastnn.errors import InputError

if TYPE_CHECKING:
    from fastnn.models import Model


class Predictor:
    """Predicts with everything allocated; made by ``Model.predictor``.

    It has a copy of the parameters: training the model on does not change it. One thread at a time
    may call it.
    """

    def __init__(self, model: "Model", n_samples: int) -> None:
        self._model, self._most = model, check_count("n_samples", n_samples)
        self._n_features, self._classes = model.network.n_features, model.classes
        scaling, dtype = model.scaling, model.parameters.dtype
        self._scale = None if scaling.scale == 1.0 else dtype.type(scaling.scale)
        self._offset, self._factor = scaling.offset, scaling.factor
        make = getattr(model.engine, "predictor", None)
        self._predict: Any = None
        if make is not None:
            self._predict = make(model.network, model.parameters, self._most)

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
        if type(X) is not np.ndarray or X.dtype.kind not in "fiu" or self._predict is None:
            return self._carefully(X)
        n = 1 if X.ndim == 1 else len(X)
        if X.shape[-1:] != (self._n_features,) or X.ndim > 2 or not 0 < n <= self._most:
            return self._carefully(X)
        inside = self._predict.X[:n]
        if self._offset is not None or (self._scale is not None) != (X.dtype.kind != "f"):
            return self._carefully(X)
        if self._scale is None:
            inside[...] = X
        else:
            np.multiply(X, self._scale, out=inside, dtype=inside.dtype, casting="unsafe")
        if not self._predict(n):
            return self._carefully(X)
        return self._predict.out[:n].copy()

    def _carefully(self, X: ArrayLike) -> NDArray[np.floating]:
        """Predict, or say what is wrong with X."""
        values = np.asarray(X)
        if values.ndim == 1 and len(values) == self._n_features:
            values = values.reshape(1, -1)
        if values.ndim == 2 and len(values) > self._most:
            raise InputError(
                f"X has {len(values)} samples; the predictor was made for at most {self._most}: "
                f"model.predictor(n_samples={len(values)})"
            )
        return self._model.predict_proba(values)
