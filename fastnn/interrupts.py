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


class _Handler:
    """Sets an event at the first signal; raises at one that comes later than an echo of it."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.pressed = 0.0

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        # noted before the event is set: a handler interrupts itself, and the event's lock is not
        # one that may be taken twice
        if not self.pressed:
            self.pressed = monotonic()
            self.event.set()
        elif monotonic() - self.pressed > ECHO:
            raise KeyboardInterrupt


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C sets; another, later one raises KeyboardInterrupt at once.

    Only Python's own handling of Ctrl-C is replaced, for the length of the block: where the
    program has a handler of its own, or outside the main thread, the event is just never set. A
    program that wants SIGTERM to end a run so too gives it the same handler,
    ``signal.default_int_handler``.

    Blocks may stand within each other: the innermost gets the signal, and begins with its event set
    if one came to the block around it before.
    """
    handler = _Handler()
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = {}
    for number, current in before.items():
        if isinstance(current, _Handler) or current is signal.default_int_handler:
            taken[number] = current
            signal.signal(number, handler)
            if isinstance(current, _Handler) and current.pressed:
                handler.pressed = current.pressed
                handler.event.set()
    try:
        yield handler.event
    finally:
        for number, current in taken.items():
            signal.signal(number, current)
