"""Predictions: the forward pass on an engine, and a short way for samples that need no checks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from fastnn.errors import InputError
from fastnn.estimators.kept import FEW, Kept, pack
from fastnn.network import Network, Parameters

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Predicting:
    """What an estimator does with the parameters that it has."""

    engine: Any
    n_threads: int | None
    dtype: str | None
    activation: str
    out_activation_: str
    coefs_: list[Any]
    intercepts_: list[Any]
    _decide: Any
    _score_function: Any

    def _pack(self, dtype: Any) -> tuple[Network, Parameters]:
        """Return the network, and a copy of the parameters in one vector."""
        arrays = [np.asarray(array) for array in (*self.coefs_, *self.intercepts_)]
        return pack(self.activation, self.out_activation_, dtype, arrays)

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict labels, or numbers.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        outputs = self._plain_outputs(X)
        if outputs is None:
            check_is_fitted(self)
            outputs = self._forward_pass_fast(X)
        return self._decide(outputs)

    def _predict(self, X: Any, check_input: bool = True) -> NDArray[Any]:
        return self._decide(self._forward_pass_fast(X, check_input=check_input))

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> NDArray[np.floating]:
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        return self._outputs(X)

    def _plain_outputs(self, X: Any) -> NDArray[np.floating] | None:
        """Return the outputs for an array that has nothing to be checked but its values.

        None for everything else, for which scikit-learn's own checks know the words.
        """
        if type(X) is not np.ndarray or X.ndim != 2 or X.dtype not in FLOATS:
            return None
        own = vars(self)
        n, n_features = X.shape
        if n == 0 or n_features != own.get("n_features_in_") or "feature_names_in_" in own:
            return None
        if n > FEW:
            try:
                return self._outputs(X)
            except InputError:
                return None
        kept = own.get("_kept")
        if kept is None:
            return None
        kept.engine(self.engine, self.n_threads)
        arrays = [*self.coefs_, *self.intercepts_]
        dtype = self._output_dtype(X, arrays[0])
        return kept.predict_few(X, arrays, self.activation, self.out_activation_, dtype)

    def _outputs(self, X: Any) -> NDArray[np.floating]:
        """Return what the network puts out for samples that were checked."""
        kept = vars(self).get("_kept") or Kept()
        network, parameters = self._pack(self._output_dtype(X, self.coefs_[0]))
        return kept.engine(self.engine, self.n_threads).predict(network, parameters, X)

    def _output_dtype(self, X: Any, W: Any) -> np.dtype[np.floating]:
        """Return what NumPy would compute in, or ``dtype`` where it is set."""
        if self.dtype is not None:
            return FLOATS[self.dtype == "float64"]
        return FLOATS[np.result_type(X.dtype, W.dtype) != np.float32]

    def _score_of(self, outputs: NDArray[np.floating], y: Any, sample_weight: Any) -> float:
        """Return the estimator's score of outputs; NaN if they are predictions and not finite."""
        predictions = self._decide(outputs)
        if predictions.dtype.kind == "f" and not np.isfinite(predictions).all():
            return float("nan")
        return float(self._score_function(y, predictions, sample_weight=sample_weight))
