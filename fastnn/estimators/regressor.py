"""``fastnn.MLPRegressor``."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor

from fastnn.estimators.on_engine import OnEngine


class MLPRegressor(OnEngine, SklearnMLPRegressor):  # type: ignore[misc]
    """Multilayer perceptron regressor."""

    _sklearn_class = SklearnMLPRegressor
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **SklearnMLPRegressor._parameter_constraints,
        **OnEngine._beyond_constraints,
    }
    _score_function = staticmethod(r2_score)

    def __init__(
        self,
        loss: str = "squared_error",
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
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        scoring: Any = None,
        restore_best_weights: bool = False,
        time_budget: float | None = None,
    ) -> None:
        super().__init__(
            loss=loss,
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
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.scoring = scoring
        self.restore_best_weights = restore_best_weights
        self.time_budget = time_budget

    def _is_stratified(self) -> bool:
        return False

    def _labels(self, Y: NDArray[Any]) -> NDArray[Any]:
        """Return targets as they are scored."""
        return Y[:, 0] if Y.shape[1] == 1 else Y

    def _encoded(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return what the outputs should be."""
        return y.reshape(len(y), -1)

    def _decide(self, outputs: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the predictions that outputs are."""
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs
