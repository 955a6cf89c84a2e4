"""Around training: preparing inputs, saving and loading models."""

import atexit
import pickle
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from bench.cases.case import Case, Truth, once
from bench.cases.problems import SIZES, samples
from bench.cases.rounding import U
from fastnn.threads import usable_cpus

N = 4096
FORMS = ("float32", "float32, mostly zero", "uint8", "CSR")


def table(form: str) -> Any:
    """Return samples in one of the forms."""
    X = samples(N, SIZES[0], "dense" if form == "float32" else "sparse")
    if form == "uint8":
        return (255 * X).astype(np.uint8)
    if form == "CSR":
        from scipy.sparse import csr_matrix

        return csr_matrix(X)
    return X


def prepare_case(form: str) -> Case:
    """Return the case of preparing samples, beside scikit-learn's check of them."""
    raw, scale = once(partial(table, form)), 1 / 255 if form == "uint8" else None

    def fastnns() -> Any:
        X = raw()
        return lambda: fastnn.prepare(X, scale=scale)

    def sklearns() -> Any:
        from sklearn.utils import check_array

        X, factor = raw(), np.float32(scale or 1)
        if form == "uint8":
            return lambda: check_array(X, dtype=np.float32) * factor
        return lambda: check_array(X, accept_sparse="csr")

    def values() -> Any:
        X = raw().toarray() if form == "CSR" else raw()
        return X * (scale or 1.0)

    def reads(found: Any) -> tuple[Any, ...]:
        if not isinstance(found, fastnn.inputs.Input):
            return (found.toarray() if form == "CSR" else found,)
        seen = (found.rows(slice(None), np.float32),)
        # what the fused engine reads where it skips zeros
        kept = found.compressed
        whole = kept.dense(slice(None)) if kept is not None else None
        if whole is not None and not np.array_equal(whole * (scale or 1), values()):
            return (np.full_like(seen[0], np.nan),)
        return seen

    def about() -> dict[str, Any]:
        X = raw()
        n_bytes = X.data.nbytes + X.indices.nbytes if form == "CSR" else X.nbytes
        return {"flop": 0.0, "bytes": n_bytes, "density": np.count_nonzero(values()) / (N * 784)}

    bound = 3 * U if form == "uint8" else 0.0  # v, scale and their product are rounded
    return Case(
        f"prepare {form}, {N}x{SIZES[0]}", f"prepare {form}",
        {"fastnn": fastnns, "scikit-learn": sklearns},
        lambda: Truth((values(),), (bound,)), once(about), (N, SIZES[0]), N,
        "dense" if form == "float32" else "sparse", usable_cpus(), reads,
    )  # fmt: skip


@once
def model() -> Any:
    """Return a model of 784-128-10."""
    rng = np.random.default_rng(0)
    X, y = samples(256, SIZES[0], "dense"), rng.integers(0, 10, 256)
    y[:10] = np.arange(10)
    return fastnn.fit(fastnn.Network(SIZES), X, y, epochs=1, seed=0, engine="reference")


def folder() -> Path:
    """Return a new folder, which is removed at the end of the process."""
    path = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


def file_case(verb: str) -> Case:
    """Return the case of saving a model or of loading it, beside ``pickle``."""

    def fastnns() -> Any:
        path, made = folder() / "model.fastnn", model()
        made.save(path)

        def run() -> Any:
            if verb == "save":
                made.save(path)
                return path
            return fastnn.load(path)

        return run

    def pickles() -> Any:
        path, made = folder() / "model.pickle", model()
        path.write_bytes(pickle.dumps(made))

        def run() -> Any:
            if verb == "save":
                path.write_bytes(pickle.dumps(made))
                return path
            return pickle.loads(path.read_bytes())

        return run

    def reads(found: Any) -> tuple[Any, ...]:
        if isinstance(found, Path):
            is_pickle = found.suffix == ".pickle"
            found = pickle.loads(found.read_bytes()) if is_pickle else fastnn.load(found)
        return found.parameters.vector, found.classes

    n_bytes = 4 * fastnn.Network(SIZES).n_parameters
    return Case(
        f"model {verb}, 784-128-10", f"model {verb}", {"fastnn": fastnns, "pickle": pickles},
        lambda: Truth((model().parameters.vector, model().classes), (0.0, 0.0)),
        lambda: {"flop": 0.0, "bytes": n_bytes, "density": 1.0}, SIZES, reads=reads,
    )  # fmt: skip


def cases() -> list[Case]:
    """Return the forms of samples, and what is done with models' files."""
    return [*map(prepare_case, FORMS), file_case("save"), file_case("load")]
