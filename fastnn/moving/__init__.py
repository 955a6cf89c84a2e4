"""Models move between libraries: to and from PyTorch's state dicts, and to ONNX.

What moves is arrays, so PyTorch itself is not needed here. What a model does to its samples before
the network sees them moves too: folded into the first layer for PyTorch, as nodes in ONNX.
"""

from fastnn.moving.onnx_graphs import to_onnx
from fastnn.moving.state_dicts import from_torch, to_torch

__all__ = ["from_torch", "to_onnx", "to_torch"]
