"""Ctrl-C that ends a run between two batches instead of in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

# Seconds in which a second signal is the same Ctrl-C: a terminal sends it to a whole group of
# processes, and wrappers pass it on once more.
ECHO = 1.0


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C sets; another, later one raises KeyboardInterrupt at once.

    Only Python's own handling of Ctrl-C is replaced, for the length of the block: where the
    program has a handler of its own, or outside the main thread, the event is just never set.
    """
    stop = threading.Event()
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop
        return

    pressed = 0.0

    def on_interrupt(_signal: int, _frame: FrameType | None) -> None:
        # noted before the event is set: a handler interrupts itself, and the event's lock is not
        # one that may be taken twice
        nonlocal pressed
        if not pressed:
            pressed = monotonic()
            stop.set()
        elif monotonic() - pressed > ECHO:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
