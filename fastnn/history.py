"""What happened in training, epoch by epoch."""

from dataclasses import dataclass, field, fields
from typing import Any

STOPPED = ("finished", "early", "interrupted", "diverged", "failed")


@dataclass
class History:
    """What happened in training, one entry per finished epoch.

    Attributes
    ----------
    loss : list of float
        Mean of the batch losses, each weighted by its samples' weights; penalty included.
    seconds : list of float
        Time spent in training; validation is not in it.
    validation_loss, validation_accuracy : list of float
        Empty without validation data.
    stopped : str
        Why training ended: "finished", "early" (by a callback, early stopping among them),
        "interrupted", "diverged" or "failed" (the samples' file could not be read).
    best_epoch : int or None
        With ``patience``: the epoch, counted from 1, whose parameters the model has.
    """

    loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    stopped: str = "finished"
    best_epoch: int | None = None

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.loss)


def history_of(record: Any) -> History:
    """Return the history that a file holds; raise ValueError where it contradicts itself."""
    if not isinstance(record, dict) or set(record) != {f.name for f in fields(History)}:
        raise ValueError(f"its history is {record!r:.80}")
    history = History(**record)
    curves = (
        history.loss,
        history.seconds,
        history.validation_loss,
        history.validation_accuracy,
    )
    for curve in curves:
        if not isinstance(curve, list) or not {type(value) for value in curve} <= {float, int}:
            raise ValueError(f"its history holds {curve!r:.80}")
    if {len(curve) for curve in curves if curve} - {history.epochs}:
        raise ValueError("its history has curves of different lengths")
    best = history.best_epoch
    if history.stopped not in STOPPED or not (
        best is None or (type(best) is int and 1 <= best <= history.epochs)
    ):
        raise ValueError("its history does not say how training ended")
    return history
