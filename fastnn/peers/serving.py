"""A peer in a process of its own: it is told what to do line by line, in JSON, and answers so."""

import json
import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import numpy as np

from fastnn.memory import forget_peak, memory
from fastnn.peers.peer import Peer
from fastnn.tasks import Task

Makers = dict[str, Callable[[Task, int], Peer]]
Rounds = Callable[[Task, Peer], Iterator[dict[str, Any]]]


def whole_rounds(task: Task, peer: Peer) -> Iterator[dict[str, Any]]:
    """Yield the seconds that ``task.calls`` calls take, again and again; first untimed."""
    calls = [(task.order(call), task.rates(call)) for call in range(min(task.calls, 3))]
    for order, rates in calls:  # warm: every order has been seen
        peer.train(order, rates)
    while True:
        started = perf_counter()
        for call in range(task.calls):
            peer.train(*calls[call % len(calls)])
        yield {"seconds": perf_counter() - started}


class Server:
    """Does what it is asked for with one library."""

    def __init__(self, make: Callable[[Task, int], Peer], threads: int, rounds_of: Rounds) -> None:
        self._make, self._threads, self._rounds_of = make, threads, rounds_of

    def task(self, task: dict[str, Any]) -> dict[str, Any]:
        """Take up a task; the memory is that before the library has seen it."""
        self._task = Task(**{**task, "sizes": tuple(task["sizes"])})
        self._task.load()
        before = memory()
        forget_peak()
        self._peer = self._make(self._task, self._threads)
        self._rounds = self._rounds_of(self._task, self._peer)
        return {"before": before["now"]}

    def losses(self) -> dict[str, Any]:
        """Train one call and return the losses."""
        losses = np.asarray(self._peer.train(self._task.order(0), self._task.rates(0)), float)
        return {"losses": losses.reshape(-1).tolist()}

    def round(self) -> dict[str, Any]:
        """Run one round."""
        return next(self._rounds)

    def memory(self) -> dict[str, Any]:
        """Return the bytes in use, now and at most since the task was taken up."""
        return memory()


def serve(makers: Makers, rounds_of: Rounds = whole_rounds) -> None:
    """Answer requests from standard input.

    Parameters
    ----------
    makers : dict
        The peers that there are.
    rounds_of : callable
        Of the task and the peer: yields what is told of one round after the other, the seconds that
        count among it.
    """
    name, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    server = Server(makers[name], int(threads), rounds_of)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(server, request.pop("do"))(**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
