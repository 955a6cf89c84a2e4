"""The package as a whole: light imports, one direction, one place that prints, true examples."""

import ast
import doctest
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fastnn
from fastnn.cli.program import cli

FOLDER = Path(fastnn.__file__).parent
ROOT = Path(__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in FOLDER.rglob("*.py")
)

# Imports point down this list only.
LAYERS = [
    "__main__",
    "cli",
    "terminal",
    "machine",
    "compare",
    "workers",
    "energy",
    "peers",
    "memory",
    "tasks",
    "plot",
    "verification",
    "dropin",
    "logs",
    "estimators",
    "training",
    "epochs",
    "checkpoints",
    "fingerprint",
    "training_data",
    "datasets",
    "named_data",
    "download",
    "models",
    "model_file",
    "tensor_file",
    "history",
    "predictor",
    "moving",
    "html",
    "streams",
    "callbacks",
    "schedules",
    "engine",
    "fused",
    "reference",
    "checks",
    "bounds",
    "scaling",
    "formats",
    "labels",
    "inputs",
    "csr",
    "packing",
    "compiling",
    "optimizers",
    "dropout",
    "network",
    "objective",
    "records",
    "files",
    "interrupts",
    "threads",
    "console",
    "errors",
]


def layer(module):
    return module.removeprefix("fastnn.").split(".")[0]


def imports_of(module):
    """Return the modules of fastnn that a module's source imports, anywhere in it."""
    path = FOLDER.parent / Path(*module.split("."))
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("fastnn"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastnn"):
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in MODULES else node.module


@pytest.mark.parametrize("module", [m for m in MODULES if m != "fastnn"])
def test_imports_point_down(module):
    above = LAYERS[: LAYERS.index(layer(module))]
    wrong = [name for name in imports_of(module) if name != "fastnn" and layer(name) in above]
    assert not wrong


def test_every_module_has_its_place():
    assert {layer(m) for m in MODULES if m != "fastnn"} == set(LAYERS)


def test_importing_fastnn_imports_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import fastnn; dir(fastnn); "
        "print({m.split('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "{'fastnn'}"


def test_training_on_digits_does_not_import_scikit_learn():
    code = (
        "import sys, fastnn; data = fastnn.datasets.load('digits'); "
        "fastnn.fit(fastnn.Network((64, 10)), data.X_train, data.y_train, epochs=1); "
        "print({'sklearn', 'pandas', 'matplotlib', 'rich', 'click'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_public_names_are_there():
    for name in fastnn.__all__:
        assert getattr(fastnn, name) is not None
        assert name in dir(fastnn)
    assert set(fastnn._HOMES) == set(fastnn.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fastnn.nonsense  # noqa: B018


def test_only_the_console_prints():
    for module in MODULES:
        path = FOLDER.parent / Path(*module.split("."))
        source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        calls = [
            node
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
        ]
        assert not calls or module == "fastnn.console"


def test_nothing_unpickles():
    for path in FOLDER.rglob("*.py"):
        names = {
            getattr(node, "id", getattr(node, "attr", None))
            for node in ast.walk(ast.parse(path.read_text()))
        }
        assert not names & {"pickle", "cloudpickle", "dill", "eval", "exec"}, path


@pytest.mark.parametrize("module", [m for m in MODULES if m != "fastnn.__main__"])
def test_examples_in_docstrings_are_true(module):
    found = doctest.testmod(import_module(module))
    assert found.failed == 0


def code_blocks(language):
    readme = ROOT / "README.md"
    found = re.findall(rf"```{language}\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    assert found
    return found


def test_the_readmes_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in code_blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert "Epoch 100: Loss = " in capsys.readouterr().out


def test_the_readmes_commands_name_real_options():
    for block in code_blocks("sh"):
        for line in block.splitlines():
            words = line.split(" && ")[-1].split(" > ")[0].split()
            if words[0] != "fastnn":
                continue
            command = cli.commands[words[1]]
            known = {name for param in command.params for name in param.opts}
            assert {word for word in words if word.startswith("--")} <= known


def test_ci_runs_the_readmes_test_command():
    commands = [line for block in code_blocks("sh") for line in block.splitlines()]
    script = ROOT / ".ci" / "run"
    pattern = re.search(r"grep -E -m 1 '(.*)' README.md", script.read_text()).group(1)
    assert [line for line in commands if re.match(pattern, line)] == [
        "python -m pip install tox && python -m tox"
    ]
