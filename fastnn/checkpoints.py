"""A run as its last whole epoch left it, in one file that is replaced in one step.

All that decides how the run goes on is in it: the parameters, the optimizer's moments and step, the
state of the generator that shuffles, the history, and what early stopping remembers. A run that is
killed at any moment goes on from there, and ends with the same bits as one that was not. With it
stands what the run was given (``fastnn.fingerprint``): another run does not go on from it. And a
digest of it all, but for the name of the version that wrote it: a file in which a single bit has
changed is refused.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.callbacks import EarlyStopping
from fastnn.errors import InputError
from fastnn.files import check_writable, remove_leftovers, write_atomically
from fastnn.fingerprint import Fingerprint, digest
from fastnn.history import History, history_of
from fastnn.models import Model
from fastnn.optimizers import OptimizerState
from fastnn.tensor_file import Header, Kind, Tensors, read, reading, to_bytes

NAME = "checkpoint.safetensors"
CHECKPOINT = Kind(
    "a checkpoint",
    "fastnn-checkpoint",
    1,
    frozenset({"fingerprint", "split", "shuffles", "step", "history", "early_stopping", "digest"}),
    advice="start afresh without resume, which replaces it",
)


@dataclass
class Progress:
    """What a run changes from epoch to epoch.

    Attributes
    ----------
    model : Model
        Its parameters and its history.
    state : OptimizerState
    shuffles : numpy.random.Generator
        Puts the samples in order.
    early_stopping : EarlyStopping or None
    """

    model: Model
    state: OptimizerState
    shuffles: np.random.Generator
    early_stopping: EarlyStopping | None

    def arrays(self) -> Tensors:
        """Return the live arrays of a run that has begun, by name."""
        names = (f"moments.{name}" for name in self.state.optimizer.moment_names)
        arrays: Tensors = dict(zip(names, self.state.moments, strict=True))
        arrays["parameters"] = self.model.parameters.vector
        if self.early_stopping is not None:
            arrays["best"] = self.early_stopping.best_vector
        return arrays


class Checkpoint:
    """The folder in which a run is kept: one run a folder, and one process at a time.

    Parameters
    ----------
    folder : path-like
        Made if it is not there.
    resume : bool, default=False
        Read what is there, if anything is. Otherwise it is left alone until the first epoch has
        ended, and replaced then.
    on_resume : callable, optional
        Called with the ``History`` of a run that goes on, before it does.

    Raises
    ------
    InputError
        If the folder cannot be written to, or what is there is not a whole checkpoint.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        resume: bool = False,
        on_resume: Callable[[History], None] | None = None,
    ) -> None:
        self.path = _in_folder(folder)
        self._on_resume = on_resume
        self._fingerprint: Fingerprint | None = None
        self._split: Any = None
        self._found: tuple[Header, Tensors] | None = None
        if resume and self.path.exists():
            with reading(self.path, CHECKPOINT):
                self._found = _undamaged(*read(self.path, CHECKPOINT))

    def take_split(self, generator: np.random.Generator) -> None:
        """Have the generator that holds out samples begin as it did when the run began."""
        if self._found is not None:
            kind = type(generator.bit_generator).__name__
            with reading(self.path, CHECKPOINT):
                state = self._found[0]["split"]
                before = state["bit_generator"]
                if before == kind:
                    generator.bit_generator.state = state
            if before != kind:
                raise self._of_another_run([f"the seed's generator was {before}, is {kind}"])
        self._split = _state_of(generator)

    def begin(self, progress: Progress, fingerprint: Fingerprint) -> None:
        """Bring a run that has just been set up to where the checkpoint left it, if there is one.

        Raises
        ------
        InputError
            If the checkpoint is of a run with other data or settings; the message names what
            differs.
        """
        self._fingerprint = fingerprint
        if self._found is not None:
            header, tensors = self._found
            with reading(self.path, CHECKPOINT):
                differences = fingerprint.differences(header["fingerprint"])
            if differences:
                raise self._of_another_run(differences)
            with reading(self.path, CHECKPOINT):
                _restore(progress, header, tensors)
            if self._on_resume is not None:
                self._on_resume(progress.model.history)
        self._found = None
        remove_leftovers(self.path)

    def save(self, progress: Progress) -> None:
        """Replace the checkpoint with one of this moment, the end of an epoch.

        Raises
        ------
        OSError
            If it cannot be written; the one before is untouched.
        """
        assert self._fingerprint is not None
        stopping = progress.early_stopping
        tensors = progress.arrays()
        header = {
            "fingerprint": self._fingerprint._asdict(),
            "split": self._split,
            "shuffles": _state_of(progress.shuffles),
            "step": progress.state.step,
            "history": asdict(progress.model.history),
            "early_stopping": None
            if stopping is None
            else {
                "best_epoch": stopping.best_epoch,
                "best_loss": stopping.best_loss,
                "waited": stopping.waited,
            },
        }
        header["digest"] = _digest(header, tensors)
        write_atomically(self.path, to_bytes(CHECKPOINT, header, tensors))

    def _of_another_run(self, differences: Sequence[str]) -> InputError:
        return InputError(
            f"{self.path} is of another run: {'; '.join(differences)}. Resume with what it was "
            "begun with, or start afresh without resume, which replaces it"
        )


def _in_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the file's name in a folder, which is made if need be, and can be written to."""
    if folder == "" or not isinstance(folder, str | os.PathLike):
        raise InputError(f"checkpoint is {folder!r:.80}; expected the path of a folder")
    path = Path(folder).absolute() / NAME  # wherever the process goes
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {os.fspath(folder)}: {reason}") from error
    check_writable(path)
    return path


def _digest(header: Header, tensors: Tensors) -> str:
    return digest(header, *(part for name in sorted(tensors) for part in (name, tensors[name])))


def _undamaged(header: Header, tensors: Tensors) -> tuple[Header, Tensors]:
    if header.pop("digest") != _digest(header, tensors):
        raise ValueError("it is damaged: its content is not what was written")
    return header, tensors


# --- from the file into the run -----------------------------------------------------------------


def _restore(progress: Progress, header: Header, tensors: Tensors) -> None:
    """Write what was found into the run; raise ValueError, and the like, where it does not fit."""
    history = history_of(header["history"])
    if history.stopped not in ("finished", "early") or not history.epochs:
        raise ValueError("its history is not that of whole epochs")
    stopping, record = progress.early_stopping, header["early_stopping"]
    if stopping is not None:
        if set(record) != {"best_epoch", "best_loss", "waited"}:
            raise ValueError(f"early stopping is {record!r:.80}")
        stopping.best_epoch = _count(record["best_epoch"])
        stopping.best_loss = float(record["best_loss"])
        stopping.waited = _count(record["waited"])
        stopping.best_vector = np.zeros_like(progress.model.parameters.vector)
    _fill(progress.arrays(), tensors)
    progress.state.step = _count(header["step"])
    progress.shuffles.bit_generator.state = header["shuffles"]
    progress.model.history = history


def _fill(arrays: Tensors, tensors: Tensors) -> None:
    if {name: (a.shape, a.dtype) for name, a in arrays.items()} != {
        name: (a.shape, a.dtype) for name, a in tensors.items()
    }:
        raise ValueError(f"it holds the arrays {sorted(tensors)!r:.200}, which do not fit")
    for name, array in arrays.items():
        array[:] = tensors[name]


def _count(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"it holds {number!r:.40} for a whole number")
    return number


def _state_of(generator: np.random.Generator) -> Any:
    """Return a generator's state as JSON has it; some of NumPy's hold arrays."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    return plain(generator.bit_generator.state)
