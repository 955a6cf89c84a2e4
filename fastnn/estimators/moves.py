"""An estimator's ways out of fastnn, and the way in from scikit-learn."""

import os
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.utils.validation import check_is_fitted

from fastnn.errors import InputError
from fastnn.estimators.exchange import from_sklearn, to_sklearn
from fastnn.files import write_atomically
from fastnn.moving import to_onnx, to_torch

if TYPE_CHECKING:
    import onnx


class Moves:
    """What turns an estimator into another library's model."""

    _sklearn_class: ClassVar[type]
    _pack: Any
    coefs_: list[Any]

    def to_sklearn(self) -> Any:
        """Return scikit-learn's own object with the same settings and fitted attributes.

        Settings that scikit-learn does not have are left out, and a learning-rate schedule becomes
        "constant"; the optimizer's moments are kept, for its ``partial_fit``.

        Returns
        -------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
        """
        return to_sklearn(self, self._sklearn_class)

    @classmethod
    def from_sklearn(cls, estimator: Any, **settings: Any) -> Self:
        """Return an estimator with the settings and fitted attributes of scikit-learn's own.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
        **settings
            Parameters of this class that are to differ, such as ``n_threads``.

        Returns
        -------
        estimator : MLPClassifier or MLPRegressor

        Raises
        ------
        InputError
            If it is an object of another class.
        """
        if not isinstance(estimator, cls._sklearn_class) or isinstance(estimator, Moves):
            kind, expected = type(estimator), cls._sklearn_class.__name__
            raise InputError(
                f"estimator is {kind.__module__.split('.')[0]}.{kind.__name__}; expected "
                f"sklearn.neural_network.{expected}"
            )
        return from_sklearn(cls, estimator, settings)

    def to_torch(self) -> dict[str, NDArray[np.floating]]:
        """Return the parameters as the state dict of a ``torch.nn.Sequential``, as arrays.

        What that network returns is before the output function: before the softmax of several
        classes, the logistic function of two or of several labels, the exponential of Poisson.
        See ``fastnn.moving.to_torch`` for how to load it. PyTorch need not be installed.

        Returns
        -------
        state : dict of str to ndarray
            "0.weight" of shape (fan_out, fan_in), "0.bias", "2.weight", ...
        """
        check_is_fitted(self)
        return to_torch(self._pack(self.coefs_[0].dtype)[1])

    def to_onnx(
        self, path: str | os.PathLike[str] | None = None, *, input_dtype: DTypeLike | None = None
    ) -> "onnx.ModelProto":
        """Return the network as an ONNX model, and write it to a file where a path is given.

        Its input is "X". The outputs of a classifier are "label" and "probabilities", that of a
        regressor "values", always of shape (n_samples, n_outputs).

        Parameters
        ----------
        path : path-like, optional
            Written whole or not at all.
        input_dtype : dtype, optional
            Of X; by default that of the weights.

        Returns
        -------
        onnx_model : onnx.ModelProto

        Raises
        ------
        InputError
            If onnx is not installed (``pip install 'fastnn[onnx]'``), or the labels are neither
            numbers nor strings.
        OSError
            If the file cannot be written; what was there before is untouched.
        """
        check_is_fitted(self)
        network, parameters = self._pack(self.coefs_[0].dtype)
        model = to_onnx(network, parameters, classes=self._labels_out(), input_dtype=input_dtype)
        if path is not None:
            write_atomically(path, model.SerializeToString())
        return model

    def _labels_out(self) -> NDArray[Any] | None:
        """Return what an ONNX model is to say; strings are objects where they come from pandas."""
        classes = getattr(self, "classes_", None)
        if classes is None or classes.dtype != object:
            return classes
        return classes.astype(str) if all(isinstance(c, str) for c in classes) else classes
