"""How much memory this process has, and had at most (Linux; elsewhere the peak since its start)."""

import re
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def memory() -> dict[str, int]:
    """Return the bytes of physical memory in use "now", and at most: "peak"."""
    if not _STATUS.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024
        return {"now": peak, "peak": peak}
    text = _STATUS.read_text()
    found = {key: int(value) * 1024 for key, value in re.findall(r"(Vm\w+):\s+(\d+) kB", text)}
    return {"now": found["VmRSS"], "peak": found["VmHWM"]}


def forget_peak() -> None:
    """Let the peak begin anew, where the kernel can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # then it is the peak since the process began
        return
