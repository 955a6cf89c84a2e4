import os
import signal

import pytest

import fastnn


def pytest_configure():
    """Undo what ``nohup`` and a script's ``&`` ignore: children would inherit it."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def no_user_data(monkeypatch, tmp_path, request):
    """Keep the user's cache and data out of tests that do not ask for real data."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if "real_data" not in request.fixturenames:
        monkeypatch.delenv("FASTNN_DATA", raising=False)


@pytest.fixture
def real_data():
    """The folder of real data sets; skips where there is none."""
    folder = os.environ.get("FASTNN_DATA")
    if not folder:
        pytest.skip("needs the real MNIST: set FASTNN_DATA to the folder that holds mnist/")
    return folder


@pytest.fixture(scope="session")
def kept_kernels():
    """Compile what is not on disk yet: the command line would say so on standard error."""
    for dtype in ("float32", "float64"):
        fastnn.get_engine("fused").warm_up(dtype)
