"""The contract between the numerics and everything above them, and the way to get an engine.

Nothing above this module knows which engine it runs on. ``train`` equals ``gradient`` then
``update``, batch by batch, by definition (a batch of zero weight is skipped; ``gradient``'s step is
that of the optimizer's state); an engine may fuse them.
"""

from threading import Event
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.errors import InputError
from fastnn.inputs import Input
from fastnn.network import Network, Parameters
from fastnn.objective import Objective
from fastnn.optimizers import OptimizerState
from fastnn.reference import ReferenceEngine

ENGINES = ("reference", "fused")
DEFAULT_ENGINE = "fused"


class Engine(Protocol):
    """Four verbs. Samples are rows; parameters belong to the caller.

    y holds class indices, or numbers where ``network.output`` is no softmax.
    """

    name: str
    threads: int

    def warm_up(self, dtype: DTypeLike = "float32") -> None:
        """Do what has to be done once in a process before the first run; may be left out.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            Of the parameters of the runs to come.
        """
        ...

    def predict(
        self,
        network: Network,
        parameters: Parameters,
        X: ArrayLike | Input,
        *,
        out: NDArray[np.floating] | None = None,
    ) -> NDArray[np.floating]:
        """Return what the network puts out: of a softmax, class probabilities.

        Parameters
        ----------
        network : Network
        parameters : Parameters
        X : array_like or Input, shape (n_samples, n_features)
        out : ndarray, shape (n_samples, n_outputs), optional
            Of the parameters' dtype; receives the result. It must not overlap X.

        Returns
        -------
        ndarray, shape (n_samples, n_outputs)
            Of the parameters' dtype; ``out`` if it was given.

        Raises
        ------
        InputError
            If the arguments do not fit each other, or X is not finite.
        """
        ...

    def gradient(
        self,
        network: Network,
        parameters: Parameters,
        X: ArrayLike | Input,
        y: ArrayLike,
        *,
        objective: Objective = Objective(),
        sample_weight: ArrayLike | None = None,
        step: int = 0,
    ) -> tuple[float, NDArray[np.floating]]:
        """Return the loss over all rows of X, and its gradient.

        Parameters
        ----------
        network : Network
        parameters : Parameters
        X : array_like or Input, shape (n_samples, n_features)
        y : array_like, shape (n_samples,) or (n_samples, n_outputs)
            For a softmax class indices in [0, n_outputs), one per sample. Else the target of each
            output: from 0 to 1 for "logistic", at least 0 for "exp".
        objective : Objective
        sample_weight : array_like, shape (n_samples,), optional
            Finite, at least 0. If all are zero, so are the loss and the gradient.
        step : int, default=0
            Updates made before: with dropout they decide which values are dropped.

        Returns
        -------
        loss : float
        gradient : ndarray, shape (n_parameters,)
            In the layout and dtype of ``parameters.vector``.

        Raises
        ------
        InputError
            If the arguments do not fit each other, or X is not finite.
        """
        ...

    def update(
        self,
        parameters: Parameters,
        gradient: NDArray[np.floating],
        optimizer_state: OptimizerState,
        learning_rate: float,
    ) -> None:
        """Move the parameters by one step of the optimizer, in place.

        Parameters
        ----------
        parameters : Parameters
        gradient : ndarray, shape (n_parameters,)
        optimizer_state : OptimizerState
            Updated in place.
        learning_rate : float

        Raises
        ------
        InputError
            If the gradient or the state does not fit the parameters.
        """
        ...

    def train(
        self,
        network: Network,
        parameters: Parameters,
        optimizer_state: OptimizerState,
        X: ArrayLike | Input,
        y: ArrayLike,
        order: ArrayLike,
        *,
        batch_size: int,
        learning_rates: ArrayLike,
        objective: Objective = Objective(),
        sample_weight: ArrayLike | None = None,
        stop: Event | None = None,
    ) -> NDArray[np.float64]:
        """Train on the mini-batches that ``order`` spells out, in place.

        Parameters
        ----------
        network : Network
        parameters : Parameters
            Updated in place.
        optimizer_state : OptimizerState
            Updated in place.
        X : array_like or Input, shape (n_samples, n_features)
        y : array_like, shape (n_samples,) or (n_samples, n_outputs)
            For a softmax class indices in [0, n_outputs), one per sample. Else the target of each
            output: from 0 to 1 for "logistic", at least 0 for "exp".
        order : array_like of int
            Row indices, batch after batch; any length, repeats allowed. The last batch may be
            short.
        batch_size : int
        learning_rates : float or array_like, shape (n_batches,)
        objective : Objective
        sample_weight : array_like, shape (n_samples,), optional
            Finite, at least 0. A batch whose weights sum to zero moves nothing: neither the
            parameters nor the optimizer's state; its loss is 0.
        stop : threading.Event, optional
            Once it is set, training ends after the batch under way.

        Returns
        -------
        losses : ndarray of float64, shape (n_batches,)
            The loss of each batch, before its update; shorter if ``stop`` ended the run.

        Raises
        ------
        InputError
            If the arguments do not fit each other, or X is not finite. Nothing was changed.
        DivergedError
            If a loss is not finite; parameters and state are as the batch before left them.
        """
        ...


def get_engine(name: str | Engine = DEFAULT_ENGINE, *, threads: int | None = None) -> Engine:
    """Return an engine.

    Parameters
    ----------
    name : {"fused", "reference"} or Engine, default="fused"
        "fused" is compiled and fast; "reference" is the specification, in NumPy. An engine is
        returned as it is.
    threads : int, optional
        At most this many threads; None stands for the CPUs that this process may use.

    Returns
    -------
    Engine

    Raises
    ------
    InputError
        For an unknown name, or a bad thread count.
    """
    parts = ("name", "threads", "predict", "gradient", "update", "train")
    if isinstance(name, type) or not (
        isinstance(name, str) or all(hasattr(name, part) for part in parts)
    ):
        raise InputError(f"engine is {name!r:.80}; expected one of {ENGINES}, or an engine")
    if not isinstance(name, str):
        if threads is not None and threads != name.threads:
            raise InputError(f"the engine has {name.threads} threads, not {threads}")
        return name
    if name == "reference":
        return ReferenceEngine(threads)
    if name == "fused":
        # imported here: Numba takes half a second, which the reference need not pay
        from fastnn.fused.engine import FusedEngine

        return FusedEngine(threads)
    raise InputError(f"engine is {name!r}; expected one of {ENGINES}")
