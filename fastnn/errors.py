"""What can go wrong: bad input, a file that fails, a diverging run, an interrupted one."""

from typing import Any


class InputError(ValueError):
    """Something that was given does not fit; the message says what was expected and what to do.

    The command line prints it as one line and exits with status 2.
    """


class ReadError(InputError):
    """Samples that are read from a file while they are used are not what they were, or should be.

    The file was cut short or has changed size since it was opened, or a value is not finite.

    Attributes
    ----------
    model : Model or None
        From ``fastnn.fit``, once training has begun: the model as the last good batch left it; with
        ``patience``, as the best whole epoch left it. An ``OSError`` from reading has it as well.
    """

    model: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadError, self.args, {"model": self.model}


class DivergedError(ArithmeticError):
    """The loss stopped being finite, and training stopped before that batch's update.

    Attributes
    ----------
    batch : int or None
        Index of the batch within the call of ``engine.train``; None if the last update itself
        overflowed, after which no loss was computed.
    loss : float
        Its loss: infinite or NaN.
    losses : ndarray
        The losses of the batches before it.
    epoch : int or None
        Where it happened; counted from 1 by ``fastnn.fit``, from 0 by ``fastnn.train``.
    model : Model or None
        From ``fastnn.fit``: the model as the last good batch left it, or the last good epoch where
        an update itself overflowed.
    """

    def __init__(self, batch: int | None, loss: float, losses: Any) -> None:
        super().__init__(batch, loss, losses)
        self.batch = batch
        self.loss = loss
        self.losses = losses
        self.epoch: int | None = None
        self.model: Any = None

    def __str__(self) -> str:
        where = "" if self.epoch is None else f" in epoch {self.epoch}"
        what = (
            "an update overflowed"
            if self.batch is None
            else f"the loss of batch {self.batch} is {self.loss}"
        )
        return (
            f"training diverged{where}: {what}. "
            "Try a smaller learning rate, inputs scaled to around 0..1, or float64"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # what is set later would stay behind otherwise when it leaves a worker process
        later = {"epoch": self.epoch, "model": self.model}
        return DivergedError, (self.batch, self.loss, self.losses), later


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C ended ``fastnn.fit`` after the batch it was in.

    Attributes
    ----------
    model : Model
        The model as that batch left it; with ``patience``, as the best whole epoch left it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(
            f"training was interrupted after {model.history.epochs} whole epochs; "
            "the model so far is this exception's .model"
        )
        self.model = model

    def __reduce__(self) -> tuple[Any, ...]:
        return TrainingInterrupted, (self.model,)
