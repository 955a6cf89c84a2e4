"""svmlight (libsvm): one ``label index:value ...`` line per sample, zeros left out."""

import io
from pathlib import Path

from fastnn.formats.content import fail, read_bytes
from fastnn.formats.table import Table

# What a small file may claim: a feature far beyond its own bytes is a typing mistake, or an attempt
# to have a network of that size allocated.
MOST_FEATURES_OF_SMALL_FILE = 2**20


def read_svmlight(path: Path) -> Table:
    """Read a file of ``label index:value ...`` lines into CSR.

    An index is a column: where indices start at 1, column 0 is empty. To guess the start from each
    file by itself would shift the columns of one that happens to lack index 0.
    """
    from sklearn.datasets import load_svmlight_file

    content = read_bytes(path)
    try:
        X, y = load_svmlight_file(io.BytesIO(content), zero_based=True)
    except (ValueError, OverflowError, TypeError, IndexError) as error:
        fail(path, f"not an svmlight file ({error})")
    if not X.shape[0] or not X.shape[1]:
        fail(path, "it holds no samples")
    if X.shape[1] > max(MOST_FEATURES_OF_SMALL_FILE, len(content)):
        fail(path, f"it names feature {X.shape[1] - 1}, in a file of {len(content)} bytes")
    return Table(X, y)
