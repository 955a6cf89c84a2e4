"""Predictions with everything prepared: the panels packed, all room allocated, one call."""

import numpy as np
from numpy.typing import NDArray

from fastnn.fused.plan import PREDICT, STATUS, Call, aligned, make_plan
from fastnn.fused.run import Run, Runner
from fastnn.fused.team import take_part
from fastnn.fused.tiles import LINE
from fastnn.inputs import Input
from fastnn.network import Network, Parameters


class FusedPredictor:
    """Predicts from its own ``X`` into its own ``out``; for one caller at a time.

    Attributes
    ----------
    X : ndarray, shape (n_samples, n_features)
        What the network is to see, of the parameters' dtype.
    out : ndarray, shape (n_samples, n_outputs)
        What the network puts out.
    """

    def __init__(
        self,
        runner: Runner,
        threads: int,
        network: Network,
        parameters: Parameters,
        n_samples: int,
    ) -> None:
        dtype, shape = parameters.dtype, (n_samples, network.n_features)
        room = np.zeros(n_samples * network.n_features + LINE, dtype)
        self.X: NDArray[np.floating] = aligned(room)[: shape[0] * shape[1]].reshape(shape)
        self.out: NDArray[np.floating] = np.empty((n_samples, network.n_outputs), dtype)
        # What will come is not known. Lists of the values that are not zero pay for few samples
        # however many those are; for more they cost a dense table twice the time of panels.
        samples = Input(self.X, 1.0, density=1.0, largest=0.0)
        run = Run(
            PREDICT,
            network,
            parameters.vector.copy(),
            X=samples,
            n_samples=n_samples,
            result=self.out,
        )
        self._runner = runner
        self._members = max(1, min(threads, int(run.worth()[1])))
        self._plan = make_plan(network, runner.tile(dtype), run.room(self._members))
        arrays = run.arrays(self._plan, self._members)
        self._arrays, self._n = arrays, n_samples
        self._given, self._entry = Call(arrays), runner.entry(dtype)
        self._control, self._arguments = arrays.control, self._given.arguments
        self(1)
        self._plan.run["is_packed"] = True

    def __call__(self, n: int) -> bool:
        """Predict from the first n rows of X; return whether they and the results are finite."""
        if n != self._n:
            self._plan.run["n_samples"] = self._n = n
        if self._members > 1:
            return self._together()
        self._entry(0, 1, *self._arguments)
        if self._control[STATUS]:
            self._control[STATUS] = 0
            return False
        return True

    def read(self, X: NDArray[np.floating]) -> bool:
        """Predict from the rows of X where they are; see ``__call__``.

        X has the parameters' dtype, rows one after the other, at most as many as there is room for.
        """
        self._plan.run["X"] = X.ctypes.data
        try:
            return self(len(X))
        finally:
            self._plan.run["X"] = self.X.ctypes.data

    def _together(self) -> bool:
        """Predict with several threads: who is late still looks at the counter of the last call."""
        control = np.zeros_like(self._control)
        with self._runner.teams.one() as team:
            given = Call(self._arrays._replace(control=control))
            take_part(team, self._entry, self._members, given)
        return not control[STATUS]
