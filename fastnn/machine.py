"""What a bug report or a benchmark needs to know about this machine."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastnn import __version__
from fastnn.threads import usable_cpus

PACKAGES = (
    "numpy", "numba", "scipy", "scikit-learn", "threadpoolctl", "joblib", "click", "rich",
    "safetensors", "pooch", "matplotlib",
)  # fmt: skip


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Return the versions of fastnn, Python and the packages; None for those not installed."""
    found: dict[str, str | None] = {
        "fastnn": __version__,
        "python": platform.python_version(),
    }
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def describe() -> dict[str, Any]:
    """Return versions, CPU, BLAS libraries with their threads, and folders."""
    # loads the BLAS that it asks about
    import numpy  # noqa: F401, ICN001
    from threadpoolctl import threadpool_info

    from fastnn.named_data import cache_folder

    libraries = ("user_api", "internal_api", "version", "num_threads", "architecture")
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "cpu": {
            "model": _cpu_model(),
            "architecture": platform.machine(),
            "cpus": os.cpu_count(),
            "usable_cpus": usable_cpus(),
        },
        "blas": [{key: pool.get(key) for key in libraries} for pool in threadpool_info()],
        "folders": {
            "data_cache": str(cache_folder()),
            "FASTNN_DATA": os.environ.get("FASTNN_DATA"),
            "package": str(Path(__file__).parent),
        },
        "environment": {
            name: os.environ[name]
            for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE")
            if name in os.environ
        },
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
