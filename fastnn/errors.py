"""What can go wrong: bad input, a diverging run, an interrupted one."""

from typing import Any


class InputError(ValueError):
    """Something that was given does not fit; the message says what was expected and what to do.

    The command line prints it as one line and exits with status 2.
    """


class DivergedError(ArithmeticError):
    """The loss stopped being finite, and training stopped before that batch's update.

    Attributes
    ----------
    batch : int
        Index of the batch within the call of ``engine.train``.
    loss : float
        Its loss: infinite or NaN.
    losses : ndarray
        The losses of the batches before it.
    model : Model or None
        From ``fastnn.fit``: the model as the last good batch left it, or the last good epoch where
        an update itself overflowed.
    """

    def __init__(self, batch: int, loss: float, losses: Any) -> None:
        super().__init__(
            f"training diverged: the loss of batch {batch} is {loss}. "
            "Try a smaller learning rate, inputs scaled to around 0..1, or float64"
        )
        self.batch = batch
        self.loss = loss
        self.losses = losses
        self.model: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        # an exception is remade from its message otherwise, and cannot leave a worker process
        return DivergedError, (self.batch, self.loss, self.losses), {"model": self.model}


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C ended ``fastnn.fit`` after the batch it was in.

    Attributes
    ----------
    model : Model
        The model as that batch left it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(
            f"training was interrupted after {model.history.epochs} whole epochs; "
            "the model so far is this exception's .model"
        )
        self.model = model

    def __reduce__(self) -> tuple[Any, ...]:
        return TrainingInterrupted, (self.model,)
