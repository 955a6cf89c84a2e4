"""scikit-learn's perceptrons with their numerics replaced: the passes run on a fastnn engine.

scikit-learn's classes keep what is theirs: parameter and input validation, labels, first weights,
tags, metadata routing, SciPy's L-BFGS. This mixin overrides the private passes underneath: the loop
of sgd and adam, the loss and gradient for lbfgs, and the forward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastnn.checks import check_targets
from fastnn.engine import ENGINES
from fastnn.errors import InputError
from fastnn.estimators.kept import Kept
from fastnn.estimators.moves import Moves
from fastnn.estimators.predicting import Predicting
from fastnn.estimators.rates import OWN_RATES, make_optimizer
from fastnn.estimators.stochastic import Training
from fastnn.estimators.validation import Validation
from fastnn.html import estimator_html
from fastnn.inputs import prepare
from fastnn.network import Parameters
from fastnn.objective import Objective
from fastnn.schedules import SCHEDULES

# what only the loop over batches can do, and the values that ask for nothing
STOCHASTIC_ONLY = {"dropout": 0.0, "clip_norm": None, "weight_decay": 0.0, "time_budget": None}


@dataclass
class Given:
    """What ``fit`` was given, for callbacks and for validation."""

    X: Any = None
    y: Any = None
    sample_weight: Any = None
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Given, ()  # a copy that a callback makes of the estimator is to be without the data

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What callbacks are told besides X and y."""
        return None if self.sample_weight is None else {"sample_weight": self.sample_weight}


@dataclass
class Task:
    """An epoch, as callbacks see it; ``stop`` is set when one asks for the end."""

    stop: bool = False


class OnEngine(Predicting, Moves, CallbackSupportMixin):  # type: ignore[misc]
    """The passes of scikit-learn's ``BaseMultilayerPerceptron``, on an engine."""

    validation_loss_curve_: list[float] | None
    _beyond_constraints: ClassVar[dict[str, Any]] = {
        "learning_rate": [StrOptions({*OWN_RATES, *SCHEDULES}), callable],
        "engine": [StrOptions(set(ENGINES)), HasMethods(["predict", "gradient", "train"])],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "restore_best_weights": ["boolean"],
        "time_budget": [Interval(Real, 0, None, closed="neither"), None],
    }

    # --- fit --------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples as rows; float32 is kept, everything else becomes float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels, or numbers for a regressor.
        sample_weight : array-like of shape (n_samples,), default=None
            At least 0.
        X_val, y_val : array-like, default=None
            Held-out samples. With ``early_stopping`` they are scored in place of a part of X;
            without it they are for ``validation_loss_curve_`` and ``restore_best_weights``.
        sample_weight_val : array-like, default=None
            Weights of the held-out samples; those of their classes are not added.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the arguments do not fit each other or the parameters, or training ends with
            weights that are not finite.
        """
        given = Given(X, y, sample_weight, X_val, y_val, sample_weight_val)
        self._given = given
        epochs = 0 if self.solver == "lbfgs" else self.max_iter
        context = self._init_callback_context(max_subtasks=epochs)
        told = {"estimator": self, "X": X, "y": y, "metadata": given.metadata}
        try:
            context.call_on_fit_task_begin(**told)
            self._fit(X, y, sample_weight=sample_weight)
            context.call_on_fit_task_end(**told, reconstruction_attributes={})
        finally:
            del self._given
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False) -> Self:
        self._check_beyond(vars(self).get("_given", Given()))
        return super()._fit(X, y, sample_weight, incremental)

    def _check_beyond(self, given: Given) -> None:
        """Refuse what would be silently left out, or could not mean anything."""
        for name, off in STOCHASTIC_ONLY.items():
            if self.solver == "lbfgs" and getattr(self, name) != off:
                raise InputError(f"{name} is for solver='sgd' and 'adam'; solver is 'lbfgs'")
        if self.weight_decay and self.solver != "adam":
            raise InputError(f"weight_decay is for solver='adam'; solver is {self.solver!r}")
        if (given.X_val is None) != (given.y_val is None):
            raise InputError("X_val and y_val go together; one of them is missing")
        if given.X_val is None and given.sample_weight_val is not None:
            raise InputError("sample_weight_val goes with X_val and y_val; they are missing")
        if given.X_val is not None and self.solver == "lbfgs":
            raise InputError("X_val is for solver='sgd' and 'adam'; solver is 'lbfgs'")
        if self.restore_best_weights and (given.X_val is None or self.early_stopping):
            raise InputError(
                "restore_best_weights=True needs X_val and y_val, and early_stopping=False, which "
                "restores the weights of the best score itself"
            )

    def _initialize(self, y: Any, layer_units: Any, dtype: Any) -> None:
        super()._initialize(y, layer_units, dtype)
        self.validation_loss_curve_ = None

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = super()._validate_input(X, y, incremental, reset)
        return X if self.dtype is None else X.astype(self.dtype, copy=False), y

    # --- sgd and adam -----------------------------------------------------------------------------

    def _fit_stochastic(self, X: Any, Y: Any, sample_weight: Any, *passes: Any) -> None:
        incremental = passes[-1]
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        sample_weight = self._weights(Y, sample_weight)
        rows, validation = self._hold_out(X, Y, sample_weight)
        self._kept = vars(self).get("_kept") or Kept()
        dtype = np.result_type(*self.coefs_, np.float32)
        network, parameters = self._pack(dtype)
        # parts of the vector that training changes in place
        self.coefs_, self.intercepts_ = list(parameters.weights), list(parameters.biases)
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = make_optimizer(self, parameters)
        if validation is not None and self.validation_loss_curve_ is None:
            self.validation_loss_curve_ = []
        training = Training(
            self,
            self._kept.engine(self.engine, self.n_threads),
            network,
            parameters,
            self._objective(),
            prepare(X, dtype=dtype),
            check_targets(self._targets(Y), len(Y), network, dtype),
            sample_weight,
            rows,
            validation,
        )
        behind = len(self.loss_curve_) if incremental else 0
        training.run(self.max_iter, behind, once=incremental)
        if training.best is not None:
            self._best_coefs = list(training.best.weights)
            self._best_intercepts = list(training.best.biases)
        if self.early_stopping or training.best is not None:
            self.coefs_, self.intercepts_ = self._best_coefs, self._best_intercepts

    def _hold_out(
        self, X: Any, Y: Any, sample_weight: Any
    ) -> tuple[NDArray[np.intp], Validation | None]:
        """Return the rows to train on, and validation data where there are any."""
        rows = np.arange(len(Y))
        given = vars(self).get("_given", Given())
        if given.X_val is not None:
            return rows, self._given_validation(X, Y, given)
        if not self.early_stopping:
            return rows, None
        rows, held_out = train_test_split(
            rows,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=Y if self._is_stratified() else None,
        )
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        X_val = (X.tocsr() if hasattr(X, "tocsr") else X)[held_out]
        weights = None if sample_weight is None else sample_weight[held_out]
        return rows, Validation(X_val, Y[held_out], self._labels(Y[held_out]), weights)

    def _given_validation(self, X: Any, Y: Any, given: Given) -> Validation:
        X_val, y_val = validate_data(
            self,
            given.X_val,
            given.y_val,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=(np.float64, np.float32),
            reset=False,
        )
        Y_val = self._encoded(y_val)
        if Y_val.shape[1] != Y.shape[1]:
            raise InputError(f"y_val has {Y_val.shape[1]} outputs; y has {Y.shape[1]}")
        weights = given.sample_weight_val
        if weights is not None:
            weights = _check_sample_weight(weights, X_val, ensure_non_negative=True)
        return Validation(X_val, Y_val, self._labels(Y_val), weights)

    def _weights(self, Y: Any, sample_weight: Any) -> Any:
        """Return the samples' weights, those of their classes included."""
        return sample_weight

    def _objective(self) -> Objective:
        seed = int(self._random_state.randint(2**31)) if self.dropout else 0
        return Objective(
            alpha=self.alpha,
            dropout=self.dropout,
            dropout_seed=seed,
            clip_norm=self.clip_norm,
            label_smoothing=self._smoothing(),
            like_sklearn=not self._smoothing(),
        )

    def _smoothing(self) -> float:
        return 0.0

    def _targets(self, Y: NDArray[Any]) -> NDArray[Any]:
        """Return what an engine takes for y: class indices for a softmax."""
        return Y.argmax(axis=1) if self.out_activation_ == "softmax" and Y.ndim == 2 else Y

    @contextmanager
    def _task(self) -> Iterator[Task]:
        """Tell callbacks of the begin and the end of an epoch."""
        task = Task()
        if not getattr(self, "_skl_callbacks", None) or not hasattr(self, "_callback_fit_ctx"):
            yield task
            return
        given = self._given
        told = {"estimator": self, "X": given.X, "y": given.y, "metadata": given.metadata}
        context = self._callback_fit_ctx.subcontext(task_name="epoch")
        context.call_on_fit_task_begin(**told, reconstruction_attributes=self._copies)
        yield task
        task.stop = context.call_on_fit_task_end(**told, reconstruction_attributes=self._copies)

    def _copies(self) -> dict[str, Any]:
        """Return the fitted attributes that training goes on to change."""
        return {
            "coefs_": [W.copy() for W in self.coefs_],
            "intercepts_": [b.copy() for b in self.intercepts_],
        }

    # --- lbfgs ------------------------------------------------------------------------------------

    def _fit_lbfgs(self, X: Any, Y: Any, sample_weight: Any, *passes: Any) -> None:
        self._kept = vars(self).get("_kept") or Kept()
        super()._fit_lbfgs(prepare(X), self._targets(Y), self._weights(Y, sample_weight), *passes)

    def _loss_grad_lbfgs(
        self, packed_coef_inter: Any, X: Any, y: Any, sample_weight: Any, *passes: Any
    ) -> tuple[float, NDArray[np.floating]]:
        self._unpack(packed_coef_inter)
        network, parameters = self._pack(packed_coef_inter.dtype)
        loss, gradient = self._kept.engine(self.engine, self.n_threads).gradient(
            network,
            parameters,
            X,
            self._targets(y),
            objective=self._objective(),
            sample_weight=sample_weight,
        )
        slopes = Parameters(network.layer_sizes, gradient)
        parts = (*slopes.weights, *slopes.biases)
        return loss, np.concatenate([part.ravel() for part in parts])

    # --- in a notebook ----------------------------------------------------------------------------

    def _html_repr(self) -> str:
        """Return scikit-learn's diagram, and the network once there is one."""
        diagram: str = super()._html_repr()
        return diagram + estimator_html(self) if hasattr(self, "coefs_") else diagram
