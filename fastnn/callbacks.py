"""What ``fit`` tells after each epoch, and two listeners of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias

from fastnn.console import print_line
from fastnn.network import Parameters


@dataclass(frozen=True)
class Epoch:
    """What a callback is told after each epoch.

    Attributes
    ----------
    number : int
        Counted from 1.
    epochs : int
        How many were asked for.
    loss : float
        Mean of the batch losses.
    validation_loss, validation_accuracy : float or None
        None without validation data.
    learning_rate : float
        Of the last batch.
    seconds : float
        Time spent in training.
    parameters : Parameters
        The live ones; copy them to keep them.
    """

    number: int
    epochs: int
    loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    parameters: Parameters

    def __str__(self) -> str:
        line = f"epoch {self.number}/{self.epochs}  loss {self.loss:.4f}"
        if self.validation_loss is not None:
            line += (
                f"  validation loss {self.validation_loss:.4f}"
                f"  validation accuracy {self.validation_accuracy:.4f}"
            )
        return line + f"  {self.seconds:.2f} s"


Callback: TypeAlias = Callable[[Epoch], object]


def print_epoch(epoch: Epoch) -> None:
    """Print one line per epoch: ``fit(verbose=True)``."""
    print_line(str(epoch))


class EarlyStopping:
    """End training when the validation loss stops falling, and go back to its lowest.

    Parameters
    ----------
    patience : int
        End after so many epochs in a row whose loss was not below the lowest by ``tol``.
    tol : float
        At least 0.

    Attributes
    ----------
    best_epoch : int or None
    best_loss : float
    best_vector : ndarray or None
        The parameters of that epoch.
    waited : int
        Epochs since the loss was last below the lowest by ``tol``.
    """

    def __init__(self, patience: int, tol: float) -> None:
        self.patience, self.tol = patience, tol
        self.best_epoch: int | None = None
        self.best_loss = inf
        self.best_vector: Any = None
        self.waited = 0

    def __call__(self, epoch: Epoch) -> bool:
        """Remember the best parameters; return True when patience is at its end."""
        loss = inf if epoch.validation_loss is None else epoch.validation_loss
        self.waited = 0 if loss < self.best_loss - self.tol else self.waited + 1
        if self.best_epoch is None or loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch.number, loss
            self.best_vector = epoch.parameters.vector.copy()
        return self.waited >= self.patience

    def restore(self, parameters: Parameters) -> None:
        """Write the parameters of the best epoch into ``parameters``."""
        if self.best_vector is not None:
            parameters.vector[:] = self.best_vector
