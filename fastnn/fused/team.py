"""Python threads that wait for work, and run compiled code side by side."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from fastnn.fused.compiled import Entry
from fastnn.fused.plan import ENTERED, STOP, Call

LOOK_EVERY = 0.02  # seconds, at the event that asks for an end

Job = Callable[[], None]


class Team:
    """Threads that are started when first needed and then kept for the next job.

    To wake a thread takes about half as long as to start one (25 against 50 microseconds).
    """

    def __init__(self) -> None:
        self._inboxes: list[SimpleQueue[Any]] = []
        weakref.finalize(self, _dismiss, self._inboxes)

    def hire(self, count: int) -> None:
        """Start threads until there are ``count``."""
        while len(self._inboxes) < count:
            inbox: SimpleQueue[Any] = SimpleQueue()
            name = f"fastnn-{len(self._inboxes)}"
            try:
                threading.Thread(target=_work, args=(inbox,), name=name, daemon=True).start()
            except BaseException:  # Ctrl-C: nobody would know of the thread
                inbox.put(None)
                raise
            self._inboxes.append(inbox)

    def send(self, job: Job, count: int) -> None:
        """Have ``job()`` run in ``count`` threads; do not wait."""
        self.hire(count)
        for inbox in self._inboxes[:count]:
            inbox.put(job)


def _work(inbox: "SimpleQueue[Any]") -> None:
    while True:
        job = inbox.get()
        if job is None:
            return
        job()
        del job  # what it holds must not live on until the next one


def _dismiss(inboxes: "list[SimpleQueue[Any]]") -> None:
    for inbox in inboxes:
        inbox.put(None)


class Teams:
    """The teams of one engine: one for each call that is under way at a time."""

    def __init__(self) -> None:
        self._idle: list[Team] = []
        self._process = os.getpid()

    @contextmanager
    def one(self) -> Iterator[Team]:
        """Lend a team."""
        if self._process != os.getpid():  # after a fork the threads are the parent's
            self._idle, self._process = [], os.getpid()
        try:
            team = self._idle.pop()
        except IndexError:
            team = Team()
        try:
            yield team
        finally:
            self._idle.append(team)


class _Call:
    """One call of the compiled program: the members that are left to take, and those that ended.

    Ctrl-C may come between any two steps of the main thread. So to send the job again does no harm:
    a thread that finds no member left goes home. And what is waited on is a SimpleQueue: what is
    written in Python, such as a Semaphore, can be left locked for ever.
    """

    def __init__(self, entry: Entry, members: range, call: Call) -> None:
        self.entry, self.call, self.count = entry, call, members.stop
        self.left = list(members)
        self.ended: list[int] = []
        self.woken: SimpleQueue[None] = SimpleQueue()

    def __call__(self) -> None:
        try:
            member = self.left.pop()
        except IndexError:
            return
        try:
            self.entry(member, self.count, *self.call.arguments)
        finally:
            self.ended.append(member)
            self.woken.put(None)

    def wait(self) -> None:
        """Wait until a member ends, or for a moment."""
        with suppress(Empty):
            self.woken.get(timeout=LOOK_EVERY)


def take_part(team: Team, entry: Entry, members: int, given: Call) -> None:
    """Run the program as member 0, and the team as the others."""
    call = _Call(entry, range(1, members), given)
    try:
        team.send(call, members - 1)
        entry(0, members, *given.arguments)
    except BaseException:  # Ctrl-C: those who wait for member 0 must not wait for ever
        given.arrays.control[STOP] = 1
        while not given.arrays.control[ENTERED]:
            try:
                team.send(call, members - 1)
                entry(0, members, *given.arguments)
            except KeyboardInterrupt:  # another; ``suppress`` itself could be interrupted
                continue
        raise


def wait_outside(team: Team, entry: Entry, members: int, given: Call, stop: Event | None) -> None:
    """Have the team run the program; ask for an end on ``stop`` or any exception."""
    call = _Call(entry, range(members), given)
    try:
        team.send(call, members)
        while len(call.ended) < members:
            call.wait()
            if stop is not None and stop.is_set():
                given.arrays.control[STOP] = 1
    except BaseException:  # Ctrl-C: let them finish the batch that they are in
        given.arrays.control[STOP] = 1
        while True:
            try:
                while len(call.ended) < members:
                    team.send(call, members)
                    call.wait()
                break
            except KeyboardInterrupt:
                continue
        raise
