"""The energy that the processor has used, where the kernel tells (Linux: RAPL)."""

from pathlib import Path

PACKAGES = Path("/sys/class/powercap")


def joules() -> float | None:
    """Return a counter of all packages together, in joules; None where it cannot be read.

    It starts anew now and then (a difference below 0).
    """
    found = []
    for zone in PACKAGES.glob("intel-rapl:?"):
        try:
            found.append(int((zone / "energy_uj").read_text()) / 1e6)
        except (OSError, ValueError):  # only root may read it on most machines
            return None
    return sum(found) if found else None
