"""Measure what the report tells, and write it: ``python -m bench.report``.

A full run takes up to 40 minutes, ``--quick`` up to 4, ``--all`` takes the whole grid and hours.
Nothing else should run meanwhile. After every cell the raw figures are saved, so that a run that
ends early is not lost; ``--render`` writes the pages again from them. ``--compare OLD NEW`` tells
what changed beyond noise between two raw files.
"""

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import fastnn
from bench import measuring, writing
from bench.calibration import Calibration
from bench.writing.comparing import describe_changes
from fastnn.console import print_line
from fastnn.energy import joules
from fastnn.files import write_atomically
from fastnn.machine import describe, versions

ROOT = Path(__file__).parent.parent
LIBRARIES = ("numpy", "numba", "torch", "jax", "jaxlib", "scikit-learn", "scipy")
QUESTIONS = ("roofline", "epoch", "predict", "scaling", "start", "reach")


class Run:
    """What has been measured so far, kept in a file."""

    def __init__(self, mode: str, path: Path, only: tuple[str, ...]) -> None:
        self.path, self.began, self.calibration = path, perf_counter(), Calibration()
        machine = describe()
        del machine["folders"]  # nobody else's business
        self.before = 0.0  # seconds that questions kept from an earlier run took
        self.after = 0.0  # when the last of their calibrations was, on one clock for all
        self.raw: dict[str, Any] = {
            "schema": 1,
            "mode": mode,
            "commit": git("rev-parse", "--short", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no", "--", "fastnn")),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "fastnn": fastnn.__version__,
            "machine": machine,
            "peers": versions(LIBRARIES),
            "energy": "not exposed by this kernel" if joules() is None else "RAPL, all packages",
            "calibration": [],
            "questions": {},
        }
        if path.exists() and only:
            old = json.loads(path.read_text())
            self.raw["questions"] = old["questions"]
            kept = [one["seconds"] for name, one in old["questions"].items() if name not in only]
            self.before = sum(kept)
            self.raw["calibration"] = [
                one for one in old["calibration"] if one["during"] not in only
            ]
            self.after = max((one["at"] for one in self.raw["calibration"]), default=0.0)

    def question(self, name: str, about: str) -> dict[str, Any]:
        """Return the record of a question, to be filled."""
        record: dict[str, Any] = {"about": about, "seconds": 0.0, "cells": []}
        self.raw["questions"][name] = record
        return record

    def calibrate(self, during: str) -> None:
        """Take the machine's speed, and keep all there is."""
        at = perf_counter() - self.began
        self.raw["calibration"].append(
            {"at": self.after + at, "during": during, **self.calibration.take()}
        )
        self.raw["seconds"] = self.before + at
        write_atomically(self.path, (json.dumps(self.raw, indent=1) + "\n").encode())


def git(*words: str) -> str:
    """Return what git says, or nothing where there is none."""
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, cwd=ROOT)
    except OSError:
        return ""
    return done.stdout.strip()


def measure(mode: str, only: tuple[str, ...], path: Path, rounds: int) -> dict[str, Any]:
    """Answer the questions, one after the other."""
    run = Run(mode, path, () if only == QUESTIONS else only)
    for name in only:
        print_line(f"{name} ...")
        started = perf_counter()
        about, cells = measuring.plan(name, mode)
        record = run.question(name, about)
        run.calibrate(name)
        try:
            for found in measuring.answer(name, mode, cells, rounds):
                if "cells" in found:
                    record["cells"] += found["cells"]
                else:
                    record.update(found)
                record["seconds"] = perf_counter() - started
                run.calibrate(name)
        except Exception as error:  # what the other questions find out is not lost
            record["problem"] = f"{type(error).__name__}: {error}"
            print_line(f"{name} failed: {record['problem']}")
        print_line(f"{name}: {perf_counter() - started:.0f} s")
    return run.raw


def main() -> int:
    """Measure and write, or tell what changed."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("--quick", action="store_const", dest="mode", const="quick")
    parser.add_argument("--all", action="store_const", dest="mode", const="all", help="whole grid")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=QUESTIONS, metavar="NAME")
    parser.add_argument("--rounds", type=int, help="of each cell; 9, or 3 if quick")
    parser.add_argument("--folder", type=Path, default=ROOT / "reports", help="default: reports/")
    parser.add_argument("--render", action="store_true", help="write the pages from the raw file")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="raw files")
    options = parser.parse_args()
    needed = options.compare or ([options.folder / "report.json"] if options.render else [])
    for path in needed:
        if not path.is_file():
            parser.error(f"{path} is not there; expected a report.json that a run has written")
    if options.compare:
        old, new = (json.loads(path.read_text()) for path in options.compare)
        print_line(describe_changes(old, new))
        return 0
    path, mode = options.folder / "report.json", options.mode or "full"
    if options.render:
        raw = json.loads(path.read_text())
    else:
        options.folder.mkdir(parents=True, exist_ok=True)
        rounds = options.rounds or (3 if mode == "quick" else 9)
        raw = measure(mode, tuple(options.only), path, rounds)
    # the figures that the README quotes are those of full runs
    is_ours = options.folder == ROOT / "reports" and raw["mode"] != "quick"
    writing.write(raw, options.folder, ROOT / "README.md" if is_ours else None)
    print_line(f"written: {options.folder / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
