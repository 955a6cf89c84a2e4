"""What the first layer looks for, where samples are images."""

from math import ceil, isqrt, prod, sqrt
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.checks import check_count
from fastnn.errors import InputError
from fastnn.models import Model
from fastnn.plot.figures import place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def weights(
    model: Any,
    shape: tuple[int, int] | None = None,
    *,
    n: int = 25,
    ax: "Axes | None" = None,
) -> "Axes | Figure":
    """Draw the weights of the first layer's units as images.

    Where a weight is red, a bright pixel makes the unit's value larger; where it is blue, smaller.

    Parameters
    ----------
    model : Model, or fitted estimator with ``coefs_``
    shape : (height, width), optional
        Of a sample. By default a square, which it has to be then.
    n : int, default=25
        The most units to draw: the first ones.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    drawn : matplotlib.figure.Figure or matplotlib.axes.Axes
        A new figure; or ``ax``, where it was given. All units are one image, with gaps between.

    Raises
    ------
    InputError
        If the model has no weights, its features do not make an image of that shape, or matplotlib
        is not installed.
    """
    W = _first_weights(model)
    n_features, n_units = W.shape
    height, width = _image_shape(shape, n_features)
    n = min(check_count("n", n), n_units)
    mosaic = _mosaic(W[:, :n].T.reshape(n, height, width))
    axes, drawn = place(ax, 6.5, 6)
    import matplotlib as mpl

    limit = float(np.abs(W[:, :n]).max()) or 1.0
    colors = mpl.colormaps["RdBu_r"].with_extremes(bad="0.6")
    image = axes.imshow(mosaic, cmap=colors, vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(f"each image: a unit's {height} x {width} weights")
    which = f"all {n}" if n == n_units else f"the first {n} of {n_units}"
    axes.set_title(f"weights of the first layer: {which} units")
    axes.figure.colorbar(image, ax=axes, label="weight", shrink=0.8)
    return drawn


def _first_weights(model: Any) -> Any:
    """Return the first W, of shape (n_features, n_units)."""
    if isinstance(model, Model):
        return model.parameters.weights[0]
    if not hasattr(model, "coefs_"):
        raise InputError(
            f"{type(model).__name__} has no weights; expected a fastnn.Model, or a fitted "
            "estimator with coefs_"
        )
    return np.asarray(model.coefs_[0])


def _image_shape(shape: Any, n_features: int) -> tuple[int, int]:
    side = isqrt(n_features)
    if shape is None and side * side != n_features:
        raise InputError(
            f"the model has {n_features} features, which are no square image; "
            "give shape=(height, width)"
        )
    try:
        found = (side, side) if shape is None else tuple(map(index, shape))
    except TypeError:
        found = ()
    if len(found) != 2 or prod(found) != n_features or min(found) < 1:
        raise InputError(
            f"shape is {shape!r}; expected (height, width) of {n_features} pixels, as many as the "
            "model has features"
        )
    return found[0], found[1]


def _mosaic(images: Any) -> Any:
    """Return images (n, height, width) as one, row by row, with gaps of NaN."""
    n, height, width = images.shape
    columns = ceil(sqrt(n))
    rows = ceil(n / columns)
    cells = np.full((rows * columns, height + 1, width + 1), np.nan)
    cells[:n, :height, :width] = images
    cells = cells.reshape(rows, columns, height + 1, width + 1)
    return cells.swapaxes(1, 2).reshape(rows * (height + 1), -1)[:-1, :-1]
