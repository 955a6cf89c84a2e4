"""What a file of samples holds."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fastnn.errors import InputError
from fastnn.inputs import is_sparse


@dataclass(frozen=True, eq=False)
class Table:
    """What a file holds: samples, and their labels if it has them.

    Attributes
    ----------
    X : ndarray (n_samples, ...) or scipy.sparse.csr_matrix (n_samples, n_features)
    y : ndarray, shape (n_samples,), or None
    feature_names : tuple of str or None
    """

    X: Any
    y: NDArray[Any] | None = None
    feature_names: tuple[str, ...] | None = None

    def select(self, feature_names: tuple[str, ...]) -> "Table":
        """Return the named features, in that order; others are left out."""
        if self.feature_names is None or self.feature_names == feature_names:
            return self
        places = {name: place for place, name in enumerate(self.feature_names)}
        missing = next((name for name in feature_names if name not in places), None)
        if missing is not None:
            raise InputError(f"the data have no column {missing!r}, which the model needs")
        columns = [places[name] for name in feature_names]
        return Table(self.X[:, columns], self.y, feature_names)

    def widen(self, n_features: int) -> "Table":
        """Add empty features to a sparse X: its file does not say how many there are."""
        if is_sparse(self.X) and self.X.shape[1] < n_features:
            X = self.X.copy()
            X.resize(X.shape[0], n_features)
            return Table(X, self.y, self.feature_names)
        return self
