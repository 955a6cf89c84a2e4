"""Samples in an npy file that are read while they are used, for data larger than memory.

The file is read with ``preadv`` into buffers of our own and never mapped: where a mapped file is
cut short, or its disk fails, the process dies of SIGBUS; here reading ends with an error, and what
was trained so far is safe.

How such data are shuffled. The file is thought of as *blocks*, runs of consecutive rows of about
256 KiB, which is what a disk reads well. For each epoch the blocks are put in random order, and the
next so many of them make a *window*, about 32 MiB in memory, so that a window holds rows from
everywhere in the file even if that is sorted by class. Within a window the rows are put in random
order. While one window is trained on, a thread reads the next into a second buffer. Windows are cut
so that each holds whole batches (a block may be shared by two of them) and all are about equally
large: an epoch has exactly ceil(n_samples / batch_size) batches, and only the last can be short.

What is held out, for validation or testing, is whole blocks at random: neighbouring rows of a file
are often alike, and a sample held out between its near twins would tell nothing new.
"""

from fastnn.streams.opening import MEMORY, Samples, check_memory, open_file, open_samples
from fastnn.streams.samples import WINDOW_BYTES, FileSamples

__all__ = [
    "MEMORY", "WINDOW_BYTES", "FileSamples", "Samples", "check_memory", "open_file", "open_samples",
]  # fmt: skip
