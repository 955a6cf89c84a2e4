"""Ctrl-C that ends a run between two batches instead of in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Seconds in which a second signal is the same Ctrl-C: a terminal sends it to a whole group of
# processes, and wrappers pass it on once more.
ECHO = 1.0


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C sets; another, later one raises KeyboardInterrupt at once.

    Only Python's own handling of Ctrl-C is replaced, for the length of the block: where the
    program has a handler of its own, or outside the main thread, the event is just never set. A
    program that wants SIGTERM to end a run so too gives it the same handler,
    ``signal.default_int_handler``.
    """
    stop = threading.Event()
    in_main_thread = threading.current_thread() is threading.main_thread()
    taken = [
        number
        for number in SIGNALS
        if in_main_thread and signal.getsignal(number) is signal.default_int_handler
    ]
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

    for number in taken:
        signal.signal(number, on_interrupt)
    try:
        yield stop
    finally:
        for number in taken:
            signal.signal(number, signal.default_int_handler)
