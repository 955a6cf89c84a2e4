"""The data sets that have a name: where their files are, on this machine or on mirrors."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.download import RemoteFile, Report, fetch
from fastnn.errors import InputError

NAMES = ("digits", "mnist", "fashion-mnist")
DEBIAN_FOLDERS = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}

MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
    ),
}

# The four files of an MNIST-like data set and their sizes, expanded.
PARTS = (
    ("train-images-idx3-ubyte.gz", 47040016),
    ("train-labels-idx1-ubyte.gz", 60008),
    ("t10k-images-idx3-ubyte.gz", 7840016),
    ("t10k-labels-idx1-ubyte.gz", 10008),
)

# SHA-256 of the expanded bytes: MNIST's come from files with the published MD5 sums,
# Fashion-MNIST's from Debian's package.
SUMS = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}

FILES = {
    name: tuple(
        RemoteFile(file, size, checksum)
        for (file, size), checksum in zip(PARTS, checksums, strict=True)
    )
    for name, checksums in SUMS.items()
}


def cache_folder() -> Path:
    """Return the folder that downloads are kept in."""
    from pooch import os_cache

    return Path(os_cache("fastnn"))


def local_folder(name: str) -> Path | None:
    """Find the folder that holds a named data set on this machine."""
    for folder in _candidates(name):
        if all(in_folder(folder, file.name) for file in FILES[name]):
            return folder
    return None


def _candidates(name: str) -> list[Path]:
    folders = [cache_folder() / name]
    if os.environ.get("FASTNN_DATA"):
        folders.insert(0, Path(os.environ["FASTNN_DATA"]) / name)
    if name in DEBIAN_FOLDERS:
        folders.append(DEBIAN_FOLDERS[name])
    return folders


def find_folder(name: str, report: Report | None) -> Path:
    """Find the folder that holds a named data set, downloading it if need be."""
    found = local_folder(name)
    if found is not None:
        return found
    target = cache_folder() / name
    try:
        for file in FILES[name]:
            if not in_folder(target, file.name):
                fetch(file, MIRRORS[name], target, report)
    except (InputError, OSError) as error:  # no mirror serves it, or the cache cannot be written
        looked = ", ".join(str(folder) for folder in _candidates(name))
        raise InputError(
            f"{name} was not found (looked in {looked}), and could not be downloaded: {error}. "
            f"Put its four files into a folder DIR/{name} and set FASTNN_DATA=DIR"
        ) from error
    return target


def in_folder(folder: Path, name: str) -> Path | None:
    """Return the path of a file in a folder, gzip or plain, or None."""
    for candidate in (folder / name, folder / name.removesuffix(".gz")):
        if candidate.is_file():
            return candidate
    return None


def read_digits() -> NDArray[Any]:
    """Read the digits file inside scikit-learn, without the second that importing that takes.

    Returns
    -------
    cells : ndarray of uint8, shape (1797, 65)
        The 64 pixels of a sample, 0 to 16, and its label.

    Raises
    ------
    InputError
        If scikit-learn is not installed.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("digits are part of scikit-learn, which is not installed")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if path.exists():
        return np.loadtxt(path, delimiter=",", dtype=np.uint8)
    from sklearn.datasets import load_digits  # a scikit-learn that keeps it elsewhere

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.uint8)
