"""The report on made-up measurements: losses, problems, noise and gaps are all said."""

import copy
import json
import math
import random
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))  # last: bench is not installed, fastnn may be

from bench import writing
from bench.writing import comparing, numbers, pages

PEERS = {"reference": 2.4, "jax": 1.35, "torch": 3.1, "torch compile": 1.9, "scikit-learn": 2.7}
MNIST = {"sizes": [784, 128, 10], "n_samples": 60000, "batch_size": 128, "optimizer": "sgd",
         "dtype": "float32", "epochs": 1, "calls": 1, "data": "mnist"}  # fmt: skip


def result(rng, peer, seconds, rounds=9, **more):
    taken = [seconds * math.exp(rng.gauss(0, 0.03)) for _ in range(rounds)]
    return {"peer": peer, "seconds": taken, "problem": None, "disagreement": 1e-6,
            "details": [{}] * rounds, "memory": None, "joules": None, **more}  # fmt: skip


def cell(rng, name, seconds, factors, group=None, **more):
    results = [result(rng, "fastnn", seconds)]
    results += [result(rng, peer, factor * seconds) for peer, factor in factors.items()]
    return {"name": name, "group": group, "x": None, "sweep": None, "threads": 2, "rounds": 9,
            "task": None, "results": results, **more}  # fmt: skip


def epoch(rng):
    found = []
    for optimizer in ("SGD", "Adam"):
        for n, batch in enumerate((8, 32, 128, 512, 2048)):
            slower = {peer: f ** (1.6 - 0.35 * n) for peer, f in PEERS.items()}
            task = {**MNIST, "batch_size": batch, "optimizer": optimizer.lower()}
            found.append(cell(rng, f"MNIST, batch {batch}, {optimizer}", 0.9 / (n + 1) ** 0.8,
                              slower | {"fastnn dense": 1.7, "fastnn bytes": 0.94}, "MNIST",
                              task=task, headline=batch in (32, 128, 512)))  # fmt: skip
    for group, seconds in (("Fashion-MNIST", 0.4), ("tabular", 0.03), ("text", 0.2),
                           ("deep", 2.0), ("tiny", 2e-4)):  # fmt: skip
        for batch in (32, 200):
            found.append(cell(rng, f"{group}, batch {batch}", seconds, PEERS, group,
                              task={**MNIST, "batch_size": batch}, headline=batch == 200))  # fmt: skip
    for one in found:
        for n, of_peer in enumerate(one["results"]):
            start = (2 + n) * 100_000_000
            of_peer["memory"] = {"start": start, "peak": start + (3 + 4 * n) * 10**7}
    missing = found[-1]["results"][-1]
    missing.update(seconds=[], problem="not installed", details=[], memory=None)
    found[-2]["results"][2].update(seconds=[], problem="its losses are off by 0.1", details=[])
    return found


def reach(rng):
    found = []
    for goal in ("97 %", "98 %"):
        for how in ("same schedule", "each with its best"):
            one = cell(rng, f"{goal}, {how}", 1.1, {"torch": 2.2, "scikit-learn": 3.0, "jax": 1.4})
            one["settings"] = {r["peer"]: {"batch_size": 32, "rate": 0.002, "horizon": 8}
                               for r in one["results"]}  # fmt: skip
            for r in one["results"]:
                r["details"] = [{"seconds": s, "epochs": rng.randint(3, 6), "accuracy": 0.98}
                                for s in r["seconds"]]  # fmt: skip
            one["results"][2]["details"][0]["missed"] = True
            found.append(one)
    return found


def roofline():
    flops = {"forward 784 x 128": 19.0, "gradient 784 x 128": 17.0, "softmax": 0.9,
             "update, SGD": 0.17, "update, Adam": 0.6, "predict 1": 0.5, "train, batch 32": 14.0,
             "train, batch 128": 18.0}  # fmt: skip
    found = []
    for n, (kernel, intensity) in enumerate(flops.items()):
        for engine, share in (("fused", 0.8 - 0.05 * n), ("reference", 0.4)):
            limit = min(60e9, 10e9 * intensity)
            flop = 2e6 * (n + 1)
            seconds = flop / (share * limit)
            found.append({"name": f"bench_{kernel}[{engine}]", "group": kernel, "kernel": kernel,
                          "engine": engine, "layout": "dense", "shape": "4096 x 784", "flop": flop,
                          "bytes": flop / intensity, "threads": 1, "median": seconds,
                          "iqr": seconds / 50, "gflops": flop / seconds / 1e9})  # fmt: skip
    found.append({"name": "bench_prepare", "group": "prepare", "kernel": None, "engine": "fused",
                  "layout": None, "shape": None, "flop": None, "bytes": None, "threads": 2,
                  "median": 1e-3, "iqr": 1e-5, "gflops": None})  # fmt: skip
    roofs = {"peak_flops": {"1": 60e9, "2": 115e9}, "bandwidth": {"1": 10e9, "2": 14e9}}
    return {"about": "", "seconds": 60.0, "cells": [], "benchmarks": found, "roofs": roofs}


def scaling(rng):
    sweeps = {"samples": (1000, 3000, 10000, 30000, 60000), "features": (64, 256, 1024, 4096),
              "width": (16, 64, 256, 1024), "depth": (1, 2, 4, 8), "batch size": (8, 32, 128, 512),
              "threads": (1, 2)}  # fmt: skip
    power = {"batch size": -0.4, "threads": -0.8}
    return [
        cell(rng, f"{sweep} {x}", 0.1 * (x / xs[0]) ** power.get(sweep, 0.95), PEERS, sweep,
             x=x, sweep=sweep)
        for sweep, xs in sweeps.items() for x in xs
    ]  # fmt: skip


def made_up():
    rng = random.Random(0)
    starts = [cell(rng, name, seconds, {"jax": 6, "torch": 9, "scikit-learn": 8})
              for name, seconds in (("import", 0.02), ("first training, warm", 0.5),
                                    ("first training, cold", 12.0))]  # fmt: skip
    predicts = [cell(rng, f"{n} samples a call", 2e-6 + 4e-7 * n,
                     {"jax": 1 + 20 / n, "torch": 1 + 10 / n, "scikit-learn": 1 + 80 / n,
                      "reference": 1 + 9 / n}, x=n)
                for n in (1, 10, 100, 1000, 10000, 100000)]  # fmt: skip
    of_cells = {"epoch": epoch(rng), "reach": reach(rng), "scaling": scaling(rng),
                "start": starts, "predict": predicts}  # fmt: skip
    questions = {name: {"about": f"About {name}.", "seconds": 300.0, "cells": found}
                 for name, found in of_cells.items()} | {"roofline": roofline()}  # fmt: skip
    calibration = [
        {"at": 40.0 * n, "during": name, "compute": 0.05 * math.exp(rng.gauss(0, 0.01)),
         "memory": 0.03 * math.exp(rng.gauss(0, 0.25 if name == "predict" else 0.02))}
        for n, name in enumerate(name for name in numbers.QUESTIONS for _ in range(9))
    ]  # fmt: skip
    machine = {"versions": {"python": "3.11.7", "numba": "0.68.1"}, "platform": "Linux-6.18",
               "cpu": {"model": "Intel(R) Xeon(R) Processor", "cpus": 2, "usable_cpus": 2},
               "blas": [{"internal_api": "openblas", "version": "0.3.31", "num_threads": 2}],
               "environment": {}}  # fmt: skip
    return {"schema": 1, "mode": "full", "commit": "abc123", "dirty": True, "seconds": 2100.0,
            "date": "2026-11-24T18:00:00+00:00", "fastnn": "0.1.0", "machine": machine,
            "peers": {"numpy": "2.4.6", "torch": "2.13.0", "jax": "0.10.2", "flax": None},
            "energy": "not exposed by this kernel", "calibration": calibration,
            "questions": questions}  # fmt: skip
