"""``fastnn export``: a saved model in a form that other programs read."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastnn.cli.options import check_outputs, debug_option, model_argument
from fastnn.errors import InputError
from fastnn.terminal import Terminal

if TYPE_CHECKING:
    from fastnn.models import Model


def _onnx(model: "Model") -> tuple[bytes, str]:
    onnx_model = model.to_onnx()
    names = [value.name for value in onnx_model.graph.output]
    return onnx_model.SerializeToString(), f"ONNX; input X, outputs {' and '.join(names)}"


def _safetensors(model: "Model") -> tuple[bytes, str]:
    from safetensors.numpy import save

    state = model.to_torch()
    return save(state, {"format": "pt"}), f"a state dict for PyTorch: {', '.join(state)}"


FORMATS = {".onnx": _onnx, ".safetensors": _safetensors}


@click.command()
@model_argument
@click.argument("target", type=click.Path(), metavar="FILE")
@debug_option
def export(model_path: str, target: str) -> None:
    """Write a saved MODEL to FILE for other programs, whole or not at all.

    A name that ends in .onnx makes it an ONNX model, for ONNX Runtime and others. One that ends in
    .safetensors makes it the state dict of a torch.nn.Sequential, without its output function. Both
    take samples as they are, not yet scaled.
    """
    from fastnn.files import write_atomically
    from fastnn.models import load

    terminal = Terminal()
    write = FORMATS.get(Path(target).suffix.lower())
    if write is None:
        raise InputError(
            f"cannot export to {target}: expected a name ending in .onnx, .safetensors"
        )
    check_outputs(target, None, None, inputs=(model_path,))
    # it predicts nothing here: the engine that need not be compiled
    content, what = write(load(model_path, engine="reference"))
    write_atomically(target, content)
    terminal.line(f"{target}: {what}")
