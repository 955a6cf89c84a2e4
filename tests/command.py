"""The command line as its user runs it: a process of its own, in which every warning is an error.

Its environment is empty but for ``PATH`` and a home of its own.
"""

import errno
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-W", "error", "-m", "fastnn")
TIMEOUT = 60  # seconds
COLUMNS = 100


def environment(folder, **more):
    home = Path(folder) / "home"
    home.mkdir(exist_ok=True)
    return {"HOME": str(home), "PATH": os.environ.get("PATH", ""), **more}


def command_line(*args):
    return [*COMMAND, *(str(arg) for arg in args)]


def run(*args, cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **env):
    """Run ``fastnn ARGS`` to its end; return its exit status, output and errors."""
    return subprocess.run(
        command_line(*args),
        cwd=cwd,
        env=environment(cwd, **env),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def succeed(*args, cwd, **env):
    """Run ``fastnn ARGS``, which must end well and have nothing to say on standard error."""
    result = run(*args, cwd=cwd, **env)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout


def report(*args, cwd, **env):
    """Run ``fastnn ARGS --json -`` and return the JSON object."""
    result = run(*args, "--json", "-", cwd=cwd, **env)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def start(*args, cwd, **env):
    """Start ``fastnn ARGS`` and return the process."""
    return subprocess.Popen(
        command_line(*args),
        cwd=cwd,
        env=environment(cwd, **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_line(stream, beginning):
    """Read lines until one begins so."""
    for line in stream:
        if line.startswith(beginning):
            return
    raise AssertionError(f"the output ended without a line that begins {beginning!r}")


def run_on_screen(*args, cwd, **env):
    """Run ``fastnn ARGS`` on a pseudo-terminal; return its exit status and what the screen got."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    with subprocess.Popen(
        command_line(*args),
        cwd=cwd,
        env=environment(cwd, TERM="xterm", **env),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        shown = b"".join(_chunks(screen))
    os.close(screen)
    return process.returncode, shown.decode()


def _chunks(descriptor):
    while True:
        try:
            chunk = os.read(descriptor, 4096)
        except OSError as error:  # Linux's way to say that the other end has closed
            if error.errno != errno.EIO:
                raise
            return
        if not chunk:
            return
        yield chunk


def at_startup(folder, code):
    """Have Python run ``code`` before the program; return the environment for that."""
    place = Path(folder) / "startup"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(place)}


def on_import(folder, module, action):
    """Have ``action``, Python code, run when ``module`` is imported first."""
    return at_startup(
        folder,
        f"""
import os, signal, sys

class Trap:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            {action}

sys.meta_path.insert(0, Trap())
""",
    )


def with_matplotlib(tmp_path):
    """Return an environment in which matplotlib searches for fonts once a session, not each run."""
    pytest.importorskip("matplotlib")
    return {"MPLCONFIGDIR": str(tmp_path.parent / "matplotlib")}


def listing(folder):
    """Return the name and content of every file below a folder that is not of our own making."""
    folder = Path(folder)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in ("home", "startup")
    }
