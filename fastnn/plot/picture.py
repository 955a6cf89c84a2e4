"""A figure that shows itself in a notebook; imported once matplotlib is known to be there."""

from matplotlib.figure import Figure

from fastnn.plot.figures import rendered


class Picture(Figure):
    """A figure that needs no pyplot to be shown."""

    def _repr_png_(self) -> bytes:
        return rendered(self, "png")
