"""An estimator as scikit-learn's own object, and back: settings, fitted attributes, optimizer."""

from copy import deepcopy
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from fastnn.estimators.kept import Kept, pack
from fastnn.estimators.rates import OWN_RATES, make_optimizer
from fastnn.network import Parameters

Estimator = TypeVar("Estimator")

# what only the estimators here have, apart from settings
OWN = {"_kept", "validation_loss_curve_"}


def to_sklearn(estimator: Any, kind: type) -> Any:
    """Return an object of scikit-learn's class ``kind``."""
    known = kind._get_param_names()  # type: ignore[attr-defined]
    settings = {k: v for k, v in estimator.get_params(deep=False).items() if k in known}
    if not (isinstance(estimator.learning_rate, str) and estimator.learning_rate in OWN_RATES):
        settings["learning_rate"] = "constant"
    theirs = kind(**settings)
    _copy_attributes(estimator, theirs)
    if _is_of_solver(estimator):
        theirs._optimizer = _their_optimizer(estimator, theirs)
    return theirs


def from_sklearn(kind: type[Estimator], theirs: Any, settings: dict[str, Any]) -> Estimator:
    """Return an estimator of ``kind``, with more settings than scikit-learn knows."""
    ours: Any = kind(**{**theirs.get_params(deep=False), **settings})
    _copy_attributes(theirs, ours)
    if hasattr(theirs, "coefs_"):
        ours.validation_loss_curve_, ours._kept = None, Kept()
    if _is_of_solver(theirs):
        ours._optimizer = _our_optimizer(theirs, ours)
    return ours


def _copy_attributes(source: Any, target: Any) -> None:
    """Copy what fitting left behind; the optimizer is not one of scikit-learn's."""
    left_out = {*source.get_params(deep=False), *OWN, "loss", "_optimizer", "_skl_callbacks"}
    kept = {name: value for name, value in vars(source).items() if name not in left_out}
    vars(target).update(deepcopy(kept))


def _is_of_solver(estimator: Any) -> bool:
    """Tell whether there is an optimizer, and not one that an earlier solver left behind."""
    kind = {"sgd": SGDOptimizer, "adam": AdamOptimizer}.get(estimator.solver)
    return kind is not None and isinstance(getattr(estimator, "_optimizer", None), kind)


def _their_optimizer(ours: Any, theirs: Any) -> Any:
    mine = ours._optimizer
    lists = [_as_list(moment, ours) for moment in mine.state.moments]
    params = theirs.coefs_ + theirs.intercepts_
    if ours.solver == "sgd":
        optimizer = SGDOptimizer(
            params,
            mine.learning_rate_init,
            theirs.learning_rate,
            mine.momentum,
            mine.nesterov,
            mine.power_t,
        )
        optimizer.velocities = lists[0] if lists else optimizer.velocities
    else:
        optimizer = AdamOptimizer(
            params, mine.learning_rate_init, mine.beta_1, mine.beta_2, mine.epsilon
        )
        optimizer.t, (optimizer.ms, optimizer.vs) = mine.state.step, lists
    optimizer.learning_rate = mine.learning_rate
    return optimizer


def _our_optimizer(theirs: Any, ours: Any) -> Any:
    dtype = np.result_type(*theirs.coefs_, np.float32)
    arrays = [*ours.coefs_, *ours.intercepts_]
    parameters = pack(ours.activation, ours.out_activation_, dtype, arrays)[1]
    optimizer, given = make_optimizer(ours, parameters), theirs._optimizer
    lists = (given.velocities,) if ours.solver == "sgd" else (given.ms, given.vs)
    for moment, arrays in zip(optimizer.state.moments, lists, strict=False):
        moment[:] = pack(ours.activation, ours.out_activation_, dtype, arrays)[1].vector
    optimizer.state.step = getattr(given, "t", 0)
    optimizer.learning_rate = given.learning_rate
    optimizer.iteration_ends(ours.t_)
    return optimizer


def _as_list(moment: NDArray[np.floating], ours: Any) -> list[NDArray[np.floating]]:
    sizes = [len(W) for W in ours.coefs_] + [len(ours.intercepts_[-1])]
    named = Parameters(sizes, moment.copy())
    return [*named.weights, *named.biases]
