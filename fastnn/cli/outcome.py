"""What ``fastnn train`` does once training has ended, well or not: save, test, draw, tell."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn.cli.options import write_json
from fastnn.errors import DivergedError, InputError
from fastnn.terminal import Terminal

if TYPE_CHECKING:
    from fastnn.datasets import Dataset
    from fastnn.models import Model

DRAWN = 4096  # test samples of a file that is not loaded


def finish(
    terminal: Terminal,
    model: "Model",
    dataset: "Dataset",
    output: str | None,
    plot_path: str | None,
    json_path: str | None,
) -> None:
    """Save first, then test, draw and report: what was trained is safe from what may fail."""
    history, failure = model.history, None
    if output is not None:
        try:
            model.save(output)
        except OSError as error:  # told at the end: the other files may be on another disk
            failure, output = error, None
    try:
        loss, accuracy = model.evaluate(dataset.X_test, dataset.y_test)
    except (InputError, OSError) as error:
        write_json(json_path, {**_result(model, dataset), "output": output})
        fate = "not saved" if output is None else f"saved to {output}"
        raise InputError(
            f"{dataset.source}, the samples to test with: {_reason(error)}; training has ended, "
            f"the model is {fate}"
        ) from error
    tested = {"test_loss": loss, "test_accuracy": accuracy, "output": output}
    write_json(json_path, {**_result(model, dataset), **tested})
    rows: list[tuple[str, Any]] = [
        ("test accuracy", f"{accuracy:.4f}"),
        ("test loss", f"{loss:.4f}"),
        ("training took", f"{sum(history.seconds):.2f} s, epochs: {history.epochs}"),
    ]
    if history.best_epoch is not None:
        rows.append(("best epoch", history.best_epoch))
    if output is not None:
        rows.append(("model saved to", output))
    if plot_path is not None:
        from fastnn import plot

        X, y, note = _shown(dataset)
        figure = plot.training_report(
            model,
            X,
            y,
            image_shape=dataset.image_shape,
            title=f"{dataset.name}, {'-'.join(map(str, model.network.layer_sizes))}{note}",
        )
        plot.save(figure, plot_path)
        rows.append(("plot saved to", plot_path))
    terminal.table("", rows)
    if failure is not None:
        raise failure


def _shown(dataset: "Dataset") -> tuple[Any, Any, str]:
    """Return test samples to draw, in memory: of a large file some from all over it, and a note."""
    from fastnn.streams import FileSamples

    X, y = dataset.X_test, dataset.y_test
    if not isinstance(X, FileSamples):
        return X, y, ""
    chosen = X.spread(DRAWN)
    part = X.take(chosen).read()
    return part, X.labels_of(chosen, y), f"; {len(part)} of {X.n_samples} test samples"


def tell_of_failure(
    terminal: Terminal,
    error: Exception,
    dataset: "Dataset",
    output: str | None,
    json_path: str | None,
) -> None:
    """Save the model that a file which could not be read has left; it is a sound one. Say so."""
    model: Model = error.model  # type: ignore[attr-defined]
    fate = "the model so far was not saved"
    if output is not None:
        try:
            model.save(output)
            fate = f"the model so far is saved to {output}"
        except OSError as failure:
            fate = f"the model could not be saved to {output}: {failure.strerror}"
            output = None
    terminal.error(f"{_reason(error)}. Training ended in epoch {model.history.epochs + 1}; {fate}.")
    write_json(json_path, {**_result(model, dataset), "output": output})


def _reason(error: Exception) -> str:
    """Return what a file could not be read for."""
    if isinstance(error, OSError):
        subject = f"{error.filename}: " if error.filename else ""
        return f"{subject}{error.strerror or error}"
    return str(error)


def tell_of_divergence(
    terminal: Terminal,
    error: DivergedError,
    dataset: "Dataset",
    output: str | None,
    json_path: str | None,
) -> None:
    """Save the model if it has whole epochs behind it, but not over the file asked for; say so."""
    model: Model = error.model
    kept, fate = None, "The model was not saved"
    if output is not None and model.history.epochs:
        path = Path(output)
        beside = str(path.with_name(f"{path.stem}-diverged{path.suffix}"))
        try:
            model.save(beside)
            kept, fate = beside, f"The model so far is in {beside}"
        except OSError as failure:
            fate = f"The model could not be saved to {beside}: {failure.strerror}"
    terminal.error(f"{error}. {fate}.")
    write_json(json_path, {**_result(model, dataset), "output": kept})


def _result(model: "Model", dataset: "Dataset") -> dict[str, Any]:
    """Return what ``--json`` writes; of a run that diverged, nothing was tested."""
    from fastnn.machine import versions

    history = model.history
    return {
        "data": dataset.name,
        "source": dataset.source,
        "layer_sizes": list(model.network.layer_sizes),
        "activation": model.network.activation,
        "settings": model.settings,
        "engine": model.settings["engine"],
        "threads": model.settings["threads"],
        "epochs": history.epochs,
        "stopped": history.stopped,
        "best_epoch": history.best_epoch,
        "losses": history.loss,
        "validation_losses": history.validation_loss,
        "validation_accuracies": history.validation_accuracy,
        "test_loss": None,
        "test_accuracy": None,
        "train_seconds": sum(history.seconds),
        "output": None,
        "versions": versions(("numpy", "numba")),
    }
