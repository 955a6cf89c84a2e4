"""How the kernels come: compiled once, kept on disk, and loaded by every process after that.

To compile takes seconds, so most processes run in the background, two at a time, and the tests
look at what they said.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import first_run
import numpy as np
import pytest
from command import at_startup, command_line, environment

import fastnn
from fastnn.fused import compiled

PACKAGE = Path(fastnn.__file__).parent
TIMEOUT = 600  # seconds; to compile takes about 15, and longer on a busy machine
LOADED, COMPILED = (1, 0), (0, 1)

# What makes a superuser an ordinary owner of files, who cannot write where the mode forbids it.
# Another user may not be able to reach this Python at all.
WITHOUT_PRIVILEGE = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

# A limit on the size of files, which the index of the cache stays below, and a program does not.
FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
"""


def output_of(line, folder, **env):
    """Run a command with the folder's own cache; return what it printed."""
    process = subprocess.run(
        line,
        cwd=folder,
        env=environment(folder, **{"NUMBA_CACHE_DIR": str(folder / "cache"), **env}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout


def run_first(folder, *dtypes, before=(), **env):
    line = [sys.executable, *before, first_run.__file__, *(dtypes or ["float32"])]
    return json.loads(output_of(line, folder, **env))


def warm_up(folder, *options):
    return output_of(command_line("warmup", *options), folder)


def kept(folder):
    """Return the programs in the folder's cache, in the order in which they came there."""
    return sorted((folder / "cache").glob("*/*.nbc"))


def copy_cache(future, folder):
    """Copy the cache of the folder that a future task returns first."""
    shutil.copytree(future.result()[0] / "cache", folder / "cache")


def copy_package(folder):
    copy = folder / "fastnn"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def counts(found):
    return found["loaded"], found["compiled"]


def check(found, right, expected):
    assert (found["results"], counts(found), found["warnings"]) == (right, expected, [])
    assert None not in found["folders"]


def check_warned(found, right, *parts):
    assert (found["results"], counts(found), found["folders"]) == (right, COMPILED, [None])
    ((category, message),) = found["warnings"]
    assert category == "RuntimeWarning"
    for part in (*parts, "compiled in memory", "NUMBA_CACHE_DIR"):
        assert part in message


@pytest.fixture(scope="module")
def right():
    return [first_run.trained("float32")]


def test_two_processes_may_compile_at_once(tmp_path, right):
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(run_first, [tmp_path, tmp_path]))
    for found in both:
        check(found, right, COMPILED)
    check(run_first(tmp_path), right, LOADED)
    assert len(kept(tmp_path)) == 1


# --- in the background ----------------------------------------------------------------------------


def fill(folder):
    return folder, warm_up(folder, "--dtype", "float32"), run_first(folder)


def fill_both(folder, filled):
    copy_cache(filled, folder)
    return folder, warm_up(folder), run_first(folder, "float32", "float64")


def run_unwritable(folder):
    """Run a package that cannot be written to, of a user whose home cannot be made."""
    package = copy_package(folder)
    paths = [folder, package, *package.rglob("*")]
    modes = [(path, path.stat().st_mode) for path in paths]
    environment(folder)  # makes a home, which is not used
    try:
        for path, mode in modes:
            path.chmod(mode & ~0o222)
        return run_first(
            folder,
            before=() if os.geteuid() else ("-c", WITHOUT_PRIVILEGE),
            PYTHONPATH=str(folder),
            HOME=str(folder / "missing"),
            NUMBA_CACHE_DIR="",
        )
    finally:
        for path, mode in modes:
            path.chmod(mode)


def run_on_full_disk(folder):
    return folder, run_first(folder, **at_startup(folder, FULL_DISK))


def run_edited(folder, filled):
    """Run a package that keeps its programs beside its sources: before and after an edit."""
    package = copy_package(folder)
    beside = package / "fused" / "__pycache__"
    beside.mkdir()
    for file in filled.result()[0].glob("cache/*/*"):
        shutil.copy2(file, beside)
    run = partial(run_first, folder, PYTHONPATH=str(folder), NUMBA_CACHE_DIR="")
    before = run()
    with (package / "fused" / "vectors.py").open("a") as source:
        source.write("# a comment\n")
    return before, run(), run()


def cut_off(_index, float32, _float64):
    float32.write_bytes(float32.read_bytes()[: float32.stat().st_size // 2])


def empty(_index, float32, _float64):
    float32.write_bytes(b"")


def garble_the_index(index, _float32, _float64):
    index.write_bytes(np.random.default_rng(0).bytes(5000))


def put_in_another_program(_index, float32, float64):
    shutil.copy(float64, float32)


DAMAGES = (cut_off, empty, garble_the_index, put_in_another_program)


def run_damaged(folder, both, damage):
    copy_cache(both, folder)
    (index,) = folder.glob("cache/*/*.nbi")
    damage(index, *kept(folder))
    return index.parent, run_first(folder)


@pytest.fixture(scope="module")
def background(tmp_path_factory):
    """Futures of what the functions above return, each in a folder of its own."""
    with ThreadPoolExecutor(2) as pool:

        def start(task, *args):
            return pool.submit(task, tmp_path_factory.mktemp("startup"), *args)

        futures = {task: start(task) for task in (fill, run_unwritable)}
        futures |= {task: start(task, futures[fill]) for task in (fill_both, run_edited)}
        futures |= {damage: start(run_damaged, futures[fill_both], damage) for damage in DAMAGES}
        futures[run_on_full_disk] = start(run_on_full_disk)
        yield futures
        pool.shutdown(cancel_futures=True)


def test_warmup_fills_the_cache_for_the_next_process(background, right):
    folder, said, found = background[fill].result()
    ((dtype, where),) = re.findall(r"^(\w+): ready after [\d.]+ s, kept in (.+)$", said, re.M)
    assert dtype == "float32"
    assert [str(path.parent) for path in kept(folder)] == [where] == found["folders"]
    check(found, right, LOADED)


def test_warmup_takes_both_dtypes_unless_told_otherwise(background, right):
    folder, said, found = background[fill_both].result()
    assert re.findall(r"^(\w+): ready", said, re.M) == ["float32", "float64"]
    assert len(kept(folder)) == 2
    assert (found["results"][:1], counts(found), found["warnings"]) == (right, (2, 0), [])


def test_an_edited_source_is_compiled_anew(background, right):
    before, edited, again = background[run_edited].result()
    check(before, right, LOADED)
    check(edited, right, COMPILED)
    check(again, right, LOADED)


def test_the_key_depends_on_every_source(tmp_path, monkeypatch):
    folder = copy_package(tmp_path) / "fused"
    monkeypatch.setattr(compiled, "__file__", str(folder / "compiled.py"))
    source_hash = compiled.source_hash.__wrapped__
    hashes = {source_hash()}
    assert hashes == {compiled.source_hash()}
    sources = sorted(folder.glob("*.py"))
    for path in sources:
        path.write_bytes(path.read_bytes() + b"\n")
        hashes.add(source_hash())
    (folder / "tiles.py").rename(folder / "other.py")
    hashes.add(source_hash())
    assert len(hashes) == 1 + len(sources) + 1


@pytest.mark.skipif(
    os.geteuid() == 0 and sys.platform != "linux", reason="root may write everywhere"
)
def test_where_nothing_can_be_kept(background, right):
    check_warned(background[run_unwritable].result(), right, "cannot be kept")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache(background, right, damage):
    folder, found = background[damage].result()
    check_warned(found, right, f"could not be read from or written to {folder}", "delete")


def test_full_disk(background, right):
    folder, found = background[run_on_full_disk].result()
    check_warned(found, right, "File too large")
    assert kept(folder) == []
