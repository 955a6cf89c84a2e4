"""``fastnn evaluate`` and ``fastnn predict``: a saved model on data."""

import csv
import io
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastnn.cli.options import (
    check_outputs,
    data_argument,
    debug_option,
    json_option,
    label_column_option,
    labels_option,
    memory_option,
    model_argument,
    require_stdout,
    threads_option,
    write_json,
)
from fastnn.datasets import naming
from fastnn.errors import InputError
from fastnn.named_data import NAMES
from fastnn.terminal import Terminal

if TYPE_CHECKING:
    from fastnn.formats import Table
    from fastnn.models import Model


def _samples(
    model: "Model",
    data: str,
    labels: str | None,
    label_column: str | None,
    memory: int,
    *,
    labelled: bool,
) -> "Table":
    """Return the test part of named data, or all samples of a file, as the model takes them."""
    from fastnn import datasets
    from fastnn.formats import Table

    path = Path(data)
    if data in NAMES or path.is_dir() or not path.exists():
        share = model.settings.get("test_fraction")  # what training left for testing
        dataset = datasets.load(
            data,
            labels=labels,
            label_column=label_column,
            test_fraction=share if isinstance(share, float) else datasets.TEST_FRACTION,
        )
        table = Table(dataset.X_test, dataset.y_test, dataset.feature_names)
    else:
        table = _all_samples(model, path, labels, label_column, memory, labelled=labelled)
    if table.X.shape[1] != model.network.n_features:
        raise InputError(
            f"{data} has {table.X.shape[1]} features; the model expects {model.network.n_features}"
        )
    return table


def _all_samples(
    model: "Model",
    path: Path,
    labels: str | None,
    label_column: str | None,
    memory: int,
    *,
    labelled: bool,
) -> "Table":
    from fastnn import datasets
    from fastnn.formats import Table

    table = datasets.read_samples(
        path,
        labels=labels,
        label_column=label_column,
        labelled=labelled,
        features=model.feature_names or (),
        memory=memory,
    )
    X, _ = datasets.flatten_images(table.X, path)
    table = Table(X, table.y, table.feature_names).widen(model.network.n_features)
    return table if model.feature_names is None else table.select(model.feature_names)


@click.command()
@model_argument
@data_argument
@labels_option
@label_column_option
@json_option
@memory_option
@threads_option
@debug_option
def evaluate(
    model_path: str,
    data: str,
    labels: str | None,
    label_column: str | None,
    json_path: str | None,
    memory: int,
    threads: int | None,
) -> None:
    """Test a saved MODEL on DATA: the test part of a named data set, or all samples of a file."""
    from fastnn.models import load

    terminal = Terminal(data_on_stdout=json_path == "-", go_on=json_path is not None)
    check_outputs(None, None, json_path, inputs=(model_path, data, labels))
    model = load(model_path, threads=threads)
    table = _samples(model, data, labels, label_column, memory, labelled=True)
    if table.y is None:
        raise InputError(f"{data} has no labels; name a file that has, with --labels")
    with naming(data):
        loss, accuracy = model.evaluate(table.X, table.y)
    n_samples = table.X.shape[0]
    terminal.table(
        "",
        [("accuracy", f"{accuracy:.4f}"), ("loss", f"{loss:.4f}"), ("samples", n_samples)],
    )
    write_json(
        json_path,
        {
            "model": model_path,
            "data": data,
            "accuracy": accuracy,
            "loss": loss,
            "n_samples": n_samples,
        },
    )


@click.command()
@model_argument
@data_argument
@label_column_option
@click.option("--probabilities", is_flag=True, help="Add a column per class. [default: off]")
@memory_option
@threads_option
@debug_option
def predict(
    model_path: str,
    data: str,
    label_column: str | None,
    probabilities: bool,
    memory: int,
    threads: int | None,
) -> None:
    """Write the class that MODEL finds most probable for each sample, as CSV in UTF-8.

    For the test part of DATA where it is a named data set or a folder, else for all its samples, in
    their order. Labels in DATA are ignored.
    """
    from fastnn.models import load

    require_stdout()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="strict")
    model = load(model_path, threads=threads)
    table = _samples(model, data, None, label_column, memory, labelled=False)
    labels = model.classes.tolist()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = [f"probability of {label}" for label in labels] if probabilities else []
    headers = [["prediction", "probability", *columns]]
    with naming(data), closing(model.predict_windows(table.X)) as windows:
        for shares in windows:
            writer.writerows(headers)  # now, not before: what cannot be predicted has no output
            headers = []
            for row, best in zip(shares, shares.argmax(axis=1), strict=True):
                rest = [f"{share:.6g}" for share in row] if probabilities else []
                writer.writerow([labels[best], f"{row[best]:.6g}", *rest])
