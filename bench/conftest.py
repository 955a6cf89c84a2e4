"""What the benchmarks' record says of the machine: as ``fastnn info`` shows it."""

from fastnn.machine import describe


def pytest_benchmark_update_machine_info(config, machine_info):
    found = describe()
    del found["folders"]  # of this user's, and no matter for comparisons
    machine_info["fastnn"] = found
