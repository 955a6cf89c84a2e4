"""What the benchmarks' record says of the machine: as ``fastnn info`` shows it."""

from functools import cache

from fastnn.machine import describe


@cache
def machine():
    found = describe()
    del found["folders"]  # of this user's, and no matter for comparisons
    return found


def pytest_configure():
    """Ask before others load BLAS libraries: machines would seem to differ in what was run."""
    machine()


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["fastnn"] = machine()
