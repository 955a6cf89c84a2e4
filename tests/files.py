"""Data files for the tests, written without the code that reads them: honest ones, and lies."""

import gzip
import io
import pickle
import struct
import zipfile

import numpy as np

IDX_TYPES = {
    "uint8": (0x08, "B"),
    "int8": (0x09, "b"),
    "int16": (0x0B, "h"),
    "int32": (0x0C, "i"),
    "float32": (0x0D, "f"),
    "float64": (0x0E, "d"),
}
MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array):
    code, letter = IDX_TYPES[array.dtype.name]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + struct.pack(f">{array.size}{letter}", *array.ravel().tolist())


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz_bytes(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def mnist_like(folder, *, level=0, n=20, compress=gzip.compress):
    """Write the four files of a small data set whose first pixel is ``level``; return its parts."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.arange(n * 6, dtype=np.uint8).reshape(n, 3, 2)
    images[0, 0, 0] = level
    labels = (np.arange(n) % 4).astype(np.uint8)
    parts = (images, labels, images[: n // 2], labels[: n // 2])
    for name, part in zip(MNIST_FILES, parts, strict=True):
        if compress is None:
            (folder / name).write_bytes(idx_bytes(part))
        else:
            (folder / f"{name}.gz").write_bytes(compress(idx_bytes(part)))
    return parts


# --- lies ---------------------------------------------------------------------------------------

MANY = 32 * 2**20  # bytes; far beyond what a small file may expand to


def npy_header(descr="<f8", shape="(1,)", body=b"", version=1):
    """Write an npy file with any header: ``descr`` and ``shape`` are Python text."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return npy_raw(header, body, version)


def npy_raw(header, body=b"", version=1, declared=None):
    size = struct.pack("<H" if version == 1 else "<I", declared or len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + body


def zip_of(compression, *members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


def in_directory(content, offset, form, *values):
    """Overwrite fields in the first entry of a zip file's central directory."""
    changed = bytearray(content)
    struct.pack_into(form, changed, content.index(b"PK\x01\x02") + offset, *values)
    return bytes(changed)


def lies():
    """Return {name: content} of files that must be refused without being believed."""
    good = npz_bytes(X=np.eye(3), y=np.arange(3))
    labels = b"".join(b"a%d\n" % i for i in range(10_000))
    return {
        "255-dimensions.idx3": b"\0\0\x08\xff" + b"\xff" * 1020,
        "terabytes.idx3": b"\0\0\x0e\x03" + b"\xff" * 12,
        "none-of-many.idx4": b"\0\0\x08\x04" + b"\0\0\0\0" + b"\xff" * 12,
        "bomb.idx1.gz": gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", MANY) + bytes(MANY)),
        "terabytes.npy": npy_header(shape="(1000000000000,)"),
        "overflow.npy": npy_header(shape="(4294967296, 4294967296)"),
        "negative.npy": npy_header(shape="(-1, -1)", body=bytes(8)),
        "none-of-many.npy": npy_header(shape="(0, 4611686018427387904)"),
        "none-of-too-many.npy": npy_header(shape=f"(0, {10**40})"),
        "digits.npy": npy_header(shape=f"({10**4000}, {10**4000})"),
        "33-dimensions.npy": npy_header(shape="(" + "1, " * 33 + ")", body=bytes(8)),
        "wide-text.npy": npy_header("<U536870911"),
        "none-of-wide-text.npy": npy_header("<U536870911", "(0,)"),
        "too-wide-text.npy": npy_header("<U1000000000"),
        "no-text.labels.npy": npy_header("<U1", "(2,)", struct.pack("<2I", 0x110000, 65)),
        "surrogate.labels.npy": npy_header("<U1", "(2,)", struct.pack("<2I", 0xD800, 65)),
        "bool.labels.npy": npy_header("|b1", "(2,)", b"\x01\x02"),
        "structured.npy": npy_bytes(np.zeros(3, dtype=[("a", "f4"), ("b", "i4")])),
        "dates.npy": npy_bytes(np.zeros(3, dtype="M8[s]")),
        "complex.npy": npy_bytes(np.zeros((3, 2), dtype=complex)),
        "pickle.npy": npy_bytes(np.array([{}, []], dtype=object)),
        "pointers.npy": npy_header("|O", "(2,)", bytes(16)),
        "only-pickle.npy": pickle.dumps([1, 2]),
        "brackets.npy": npy_raw(b"(" * 9000),
        "minuses.npy": npy_raw(b"-" * 9000 + b"1"),
        "dicts.npy": npy_raw(b"{1:" * 3000),
        "code.npy": npy_header(shape="__import__('os').getpid()"),
        "long-header.npy": npy_header(shape="(1," + " " * 60_000 + ")", body=bytes(8)),
        "4-GB-header.npy": npy_raw(b"{", version=2, declared=2**32 - 1),
        "version-3.npy": npy_header(version=3, body=bytes(8)),
        "pickle.npz": npz_bytes(X=np.array([{}], dtype=object), y=np.arange(1)),
        "terabytes.npz": zip_of(0, ("X.npy", npy_header(shape="(1000000000000,)"))),
        "bomb.npz": npz_bytes(np.savez_compressed, X=np.zeros(MANY // 8), y=np.arange(3)),
        "4-GB-header.npz": zip_of(8, ("X.npy", npy_raw(bytes(MANY), b"", 2, 2**32 - 1))),
        "larger-entry.npz": in_directory(good, 24, "<I", 15 * 2**20),
        "huge-entry.npz": in_directory(good, 24, "<I", 2**32 - 2),
        "huge-both.npz": in_directory(good, 20, "<II", 2**32 - 2, 2**32 - 2),
        "smaller-entry.npz": in_directory(good, 24, "<I", 8),
        "elsewhere.npz": in_directory(good, 42, "<I", 2**31),
        "encrypted.npz": in_directory(good, 8, "<H", 1),
        "lzma.npz": zip_of(zipfile.ZIP_LZMA, ("X.npy", npy_bytes(np.eye(3)))),
        "bzip2.npz": zip_of(zipfile.ZIP_BZIP2, ("X.npy", npy_bytes(np.eye(3)))),
        "twice.npz": zip_of(8, ("X.npy", npy_bytes(np.eye(3))), ("x.npy", npy_bytes(np.eye(2)))),
        "names.npz": zip_of(0, *((f"\x1b[31m\n{'n' * 60_000}{i}", b"") for i in range(9))),
        "empty.npz": zip_of(0),
        "overflow.svm": b"1 1:1 100000000000000000000:1\n",
        "digits.svm": b"1 " + b"9" * 10_000 + b":1\n",
        "negative.svm": b"1 -1:1\n",
        "unsorted.svm": b"1 2:1 1:1\n",
        "words.svm": b"cat 1:1\n\x1b[31mdog 2:1\n",
        "several-labels.svm": b"1,2 1:1\n",
        "bomb.svm.gz": gzip.compress(b"1 1:1\n" * (MANY // 6)),
        "damaged.svm.gz": gzip.compress(b"1 1:1\n" * 100)[:-6],
        "one-line.csv": b"x" * 8_000_000,
        "one-cell.csv": b"a,label\n" + b"1" * 8_000_000 + b"e,0\n",
        "one-quote.csv": b'a,label\n"' + b"1,2\n" * 500_000,
        "many-columns.csv": b"a," * 10**6 + b"label\n1,2\n",
        "only-columns.csv": b"a," * 10**6 + b"label\n",
        "bomb.csv.gz": gzip.compress(b"a,label\n" + b"1,2\n" * (MANY // 4)),
        "long-label.csv": b"a,label\n1," + b"x" * 100_000 + b"\n" + b"1,b\n" * 100_000,
        "lines-in-header.csv": b'"a\n\x1b[31mb",c\n1,2\n',
        "utf-16.csv": "a,label\n1,ä\n".encode("utf-16"),
        "latin-1.csv": "a,label\n1,ä\n".encode("latin-1"),
        "zeros.csv": bytes(1000),
        "long-label.labels.txt": b"x" * 1_000_000 + b"\n" + labels,
        "two-columns.labels.csv": b"id,label\n1,cat\n2,dog\n",
        "empty.labels.csv": b"label\n\n",
        "svmlight.labels.svm": b"1 1:1\n",
        "bomb.labels.gz": gzip.compress(b"1\n" * (MANY // 2)),
    }
