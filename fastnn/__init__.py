"""Train multilayer perceptrons on a CPU.

Importing this package imports the standard library only; NumPy and the rest come when a name is
first used. ``fastnn.fit`` trains a network, ``fastnn.load`` brings a saved model back,
``fastnn.get_engine`` gives the engine underneath, and the eight functions of the from-scratch
tutorial (``train``, ``forward``, ``backward``, ...) stand beside them in its own calling shapes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastnn import datasets, logs, plot, schedules
    from fastnn.dropin import (
        backward,
        cross_entropy_loss,
        forward,
        initialize_parameters,
        relu,
        softmax,
        train,
        update_params,
    )
    from fastnn.engine import get_engine
    from fastnn.errors import DivergedError, InputError, ReadError, TrainingInterrupted
    from fastnn.estimators import MLPClassifier, MLPRegressor
    from fastnn.inputs import prepare
    from fastnn.models import Model, load
    from fastnn.moving import from_torch
    from fastnn.network import Network, Parameters
    from fastnn.objective import Objective
    from fastnn.optimizers import SGD, Adam
    from fastnn.training import fit
    from fastnn.verification import verify

# public name -> the module that defines it; a module maps to None
_HOMES: dict[str, str | None] = {
    "SGD": "optimizers",
    "Adam": "optimizers",
    "DivergedError": "errors",
    "InputError": "errors",
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "Model": "models",
    "Network": "network",
    "Objective": "objective",
    "Parameters": "network",
    "ReadError": "errors",
    "TrainingInterrupted": "errors",
    "backward": "dropin",
    "cross_entropy_loss": "dropin",
    "datasets": None,
    "fit": "training",
    "forward": "dropin",
    "from_torch": "moving",
    "get_engine": "engine",
    "initialize_parameters": "dropin",
    "load": "models",
    "logs": None,
    "plot": None,
    "prepare": "inputs",
    "relu": "dropin",
    "schedules": None,
    "softmax": "dropin",
    "train": "dropin",
    "update_params": "dropin",
    "verify": "verification",
}

__all__ = [
    "SGD",
    "Adam",
    "DivergedError",
    "InputError",
    "MLPClassifier",
    "MLPRegressor",
    "Model",
    "Network",
    "Objective",
    "Parameters",
    "ReadError",
    "TrainingInterrupted",
    "backward",
    "cross_entropy_loss",
    "datasets",
    "fit",
    "forward",
    "from_torch",
    "get_engine",
    "initialize_parameters",
    "load",
    "logs",
    "plot",
    "prepare",
    "relu",
    "schedules",
    "softmax",
    "train",
    "update_params",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
    home = _HOMES[name]
    if home is None:
        return import_module(f"fastnn.{name}")
    value = getattr(import_module(f"fastnn.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
