"""Processes that train as a peer each, and are told what to do line by line."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from tempfile import TemporaryFile
from typing import Any

from fastnn.tasks import Task


class Worker:
    """A process of one peer.

    Parameters
    ----------
    peer : str
    threads : int
    module : str
        What to run; see ``fastnn.peers.serving``.
    """

    def __init__(self, peer: str, threads: int, module: str) -> None:
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(variables, str(threads))}
        environment.pop("OPENBLAS_CORETYPE", None)  # would hold NumPy's BLAS back on some machines
        environment.setdefault("JAX_PLATFORMS", "cpu")
        self.module = module
        self._errors = TemporaryFile("w+", errors="replace")  # noqa: SIM115  (a pipe fills up)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, peer, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and return the answer, or an "error" in place of one."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass
        line = process.stdout.readline()
        if not line:
            status = process.wait()
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-1:]
            return {"error": "".join(last) or f"exit status {status}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        process = self._process
        process.kill()  # it has nothing to save, and may be in the middle of a round
        process.wait()
        for stream in (process.stdin, process.stdout, self._errors):
            if stream is not None:
                stream.close()


class Workers:
    """One process a peer, started when first asked.

    Parameters
    ----------
    threads : int
        Of each.
    kept : bool
        Whether they go on to the next task; imports then count once.
    """

    def __init__(self, threads: int, *, kept: bool = False) -> None:
        self.threads, self.kept = threads, kept
        self._running: dict[str, Worker] = {}

    def ask(self, peer: str, what: str, *, task: Task | None = None) -> dict[str, Any]:
        """Send a request to a peer; a peer that failed is gone."""
        if task is not None:
            running = self._running.get(peer)
            if running is None or running.module != task.module:
                self.drop(peer)
                self._running[peer] = Worker(peer, self.threads, task.module)
        arguments = {} if task is None else {"task": asdict(task)}
        answer = self._running[peer].ask(what, **arguments)
        if "error" in answer:
            self.drop(peer)
        return answer

    def drop(self, peer: str) -> None:
        """End a peer's process, if it runs."""
        worker = self._running.pop(peer, None)
        if worker is not None:
            worker.close()

    def close(self) -> None:
        """End all."""
        for peer in list(self._running):
            self.drop(peer)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
