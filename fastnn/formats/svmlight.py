"""svmlight (libsvm): one ``label index:value ...`` line per sample, zeros left out."""

import io
from pathlib import Path

from fastnn.formats.content import fail, read_bytes
from fastnn.formats.table import Table


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
    return Table(X, y)
