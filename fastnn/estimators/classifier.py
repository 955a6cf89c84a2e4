"""The classifier: its settings, labels and probabilities."""

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.utils import column_or_1d, compute_class_weight, compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import unique_labels

from fastnn.errors import InputError
from fastnn.estimators.on_engine import OnEngine


class MLPClassifier(OnEngine, SklearnMLPClassifier):  # type: ignore[misc]
    """Multilayer perceptron that predicts classes, on fastnn's engines.

    A drop-in for scikit-learn's class of this name: its parameters, attributes and methods mean the
    same, and the same integer ``random_state`` gives the same run up to rounding. Parameters from
    ``engine`` on are beyond it, and change nothing where they are left alone.

    Labels may be of any kind; y of shape (n_samples, n_classes) with zeros and ones is several
    labels at a time.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Units of each hidden layer.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
        SciPy's L-BFGS on all samples at a time, or steps on mini-batches.
    alpha : float, default=0.0001
        Strength of the L2 penalty, which is divided by the number of samples (or the sum of their
        weights) of a batch.
    batch_size : int or "auto", default="auto"
        "auto" is 200, or all samples where there are fewer.
    learning_rate : str or callable, default="constant"
        How the rate changes. "constant"; with ``solver="sgd"`` also "invscaling", which divides
        ``learning_rate_init`` by ``t_ ** power_t`` from epoch to epoch, and "adaptive", which
        divides it by 5 where training would have stopped otherwise, down to 1e-6. Beyond
        scikit-learn, with sgd and adam: "linear", "cosine", "step", "one-cycle" or a function of
        the progress of the run, an array of numbers from 0 to 1, that returns factors; the run has
        ``max_iter`` epochs, and to come to its end is no reason for a warning. See
        ``fastnn.schedules``.
    learning_rate_init : float, default=0.001
        The first rate; of a schedule, the highest.
    power_t : float, default=0.5
        For "invscaling".
    max_iter : int, default=200
        Epochs, or iterations of lbfgs, at most.
    shuffle : bool, default=True
        Whether to shuffle samples before each epoch.
    random_state : int, RandomState instance or None, default=None
        Decides the first weights, the split for early stopping, shuffles and dropout. An integer
        gives the weights and shuffles that it gives in scikit-learn.
    tol : float, default=1e-4
        What counts as an improvement of the loss, or of the score with ``early_stopping``; for
        lbfgs the largest slope at the end.
    verbose : bool or int, default=False
        Print a line per epoch.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the call before.
    momentum : float, default=0.9
        Of sgd.
    nesterovs_momentum : bool, default=True
        Of sgd.
    early_stopping : bool, default=False
        Whether to hold out samples, to end training when their score does not improve, and to take
        the weights of the best score. For sgd and adam.
    validation_fraction : float, default=0.1
        Share of the samples that early stopping holds out, unless ``fit`` is given ``X_val``.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of Adam's moments.
    epsilon : float, default=1e-8
        Added to the root in Adam's step.
    n_iter_no_change : int, default=10
        Training ends after more than so many epochs in a row without improvement.
    max_fun : int, default=15000
        Evaluations of the loss in lbfgs, at most.
    engine : {"fused", "reference"} or Engine, default="fused"
        What computes; see ``fastnn.get_engine``.
    n_threads : int, default=None
        At most so many threads. None takes the CPUs that the process may use, which are fewer
        inside joblib's workers.
    dtype : {"float32", "float64"}, default=None
        Convert samples to this. None keeps float32 and makes everything else float64.
    class_weight : dict or "balanced", default=None
        Factors for the samples' weights by their class; "balanced" gives all classes the same sum.
    label_smoothing : float, default=0.0
        In [0, 1): this share of each target is spread evenly over the classes. Losses are then
        reported as they are, without scikit-learn's clip of probabilities.
    dropout : float, default=0.0
        In [0, 1): share of the hidden layers' values that are set to 0 in training, others in every
        step. For sgd and adam.
    weight_decay : float, default=0.0
        Decoupled from the gradient: AdamW. For adam.
    clip_norm : float, default=None
        Scale gradients down to this Euclidean norm. For sgd and adam.
    scoring : str or callable, default=None
        scikit-learn's scorer for early stopping, in place of the accuracy.
    restore_best_weights : bool, default=False
        Without early stopping, but with ``X_val``: take the weights of the epoch with the lowest
        validation loss.
    time_budget : float, default=None
        Seconds. Training ends after the epoch in which they are used up, without a warning. For
        sgd and adam.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    loss_ : float
        Mean loss of the last epoch, penalty included, over its batches before their updates.
    best_loss_ : float or None
        The lowest; None with ``early_stopping``. Of sgd and adam, as the next five.
    loss_curve_ : list of float
        Of each epoch.
    validation_scores_ : list of float or None
        Of each epoch, with ``early_stopping``.
    best_validation_score_ : float or None
    validation_loss_curve_ : list of float or None
        Mean loss over the held-out samples after each epoch, without penalty; None where there are
        none.
    t_ : int
        Samples seen in training.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        The weights of each layer.
    intercepts_ : list of ndarray of shape (fan_out,)
        The biases of each layer.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where X has names that are all strings.
    n_iter_ : int
        Epochs of the last call of ``fit``, or iterations.
    n_layers_ : int
        The input among them.
    n_outputs_ : int
    out_activation_ : str
        "softmax" for several classes, "logistic" for two, or for several labels at a time.

    See Also
    --------
    MLPRegressor : For numbers.
    fastnn.fit : The trainer underneath fastnn's own models.

    Notes
    -----
    Training that diverges ends as in scikit-learn, with a ``ValueError`` about weights that are not
    finite. Weights of samples must be at least 0.

    Examples
    --------
    >>> import fastnn
    >>> data = fastnn.datasets.load("digits")
    >>> model = fastnn.MLPClassifier(random_state=0, max_iter=20, tol=0.1, n_iter_no_change=3)
    >>> model.fit(data.X_train / 16, data.y_train)
    MLPClassifier(max_iter=20, n_iter_no_change=3, random_state=0, tol=0.1)
    >>> model.score(data.X_test / 16, data.y_test) > 0.9
    True
    """

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
        labels = self._labels(Y)
        if isinstance(self.class_weight, dict) and labels.ndim == 1:
            # by all classes: those of a call of partial_fit may be some of them
            factors = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
            weights = factors[np.searchsorted(self.classes_, labels)]
        else:
            weights = compute_sample_weight(self.class_weight, labels)
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
