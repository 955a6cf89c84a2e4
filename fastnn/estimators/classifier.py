"""``fastnn.MLPClassifier``."""

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import unique_labels

from fastnn.errors import InputError
from fastnn.estimators.on_engine import OnEngine


class MLPClassifier(OnEngine, SklearnMLPClassifier):  # type: ignore[misc]
    """Multilayer perceptron classifier."""

    _sklearn_class = SklearnMLPClassifier
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **SklearnMLPClassifier._parameter_constraints,
        **OnEngine._beyond_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }
    _score_function = staticmethod(accuracy_score)

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        engine: Any = "fused",
        n_threads: int | None = None,
        dtype: str | None = None,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        scoring: Any = None,
        restore_best_weights: bool = False,
        time_budget: float | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.engine = engine
        self.n_threads = n_threads
        self.dtype = dtype
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.scoring = scoring
        self.restore_best_weights = restore_best_weights
        self.time_budget = time_budget

    def predict_proba(self, X: Any) -> NDArray[np.floating]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; of several labels at a time, that of each.
        """
        outputs = self._plain_outputs(X)
        if outputs is None:
            return super().predict_proba(X)
        return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False) -> Self:
        if incremental and self.class_weight == "balanced":
            raise InputError(
                "class_weight='balanced' needs all labels at once; with partial_fit, pass a dict, "
                "as sklearn.utils.compute_class_weight gives it"
            )
        return super()._fit(X, y, sample_weight, incremental)

    def _weights(self, Y: NDArray[Any], sample_weight: Any) -> Any:
        if self.class_weight is None:
            return sample_weight
        weights = compute_sample_weight(self.class_weight, self._labels(Y))
        return weights if sample_weight is None else weights * sample_weight

    def _smoothing(self) -> float:
        return float(self.label_smoothing)

    def _is_stratified(self) -> bool:
        return self.n_outputs_ == 1

    def _labels(self, Y: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of rows of true and false."""
        return self._label_binarizer.inverse_transform(Y)

    def _encoded(self, y: NDArray[Any]) -> NDArray[np.bool_]:
        """Return what the outputs should be for labels that training need not have seen."""
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        unknown = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unknown):
            raise InputError(f"y_val has the classes {unknown}, which are not among those of y")
        return self._label_binarizer.transform(y).astype(bool)

    def _decide(self, outputs: NDArray[np.floating]) -> NDArray[Any]:
        """Return the labels that probabilities speak for."""
        if self.out_activation_ == "softmax":
            return self.classes_[outputs.argmax(axis=1)]
        if self.n_outputs_ == 1 and len(self.classes_) == 2:
            return self.classes_[(outputs[:, 0] > 0.5).astype(np.intp)]
        return self._label_binarizer.inverse_transform(
            outputs[:, 0] if self.n_outputs_ == 1 else outputs
        )
