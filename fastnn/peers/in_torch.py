"""Training with PyTorch: eager or compiled, batches indexed from one tensor, fused optimizers.

On CSR the first layer is an ``EmbeddingBag`` whose gradient, for SGD, has only the rows that a
batch names.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.network import Parameters
from fastnn.peers.peer import Array, Peer, layers_of
from fastnn.tasks import EPSILON, Task

Batch = Callable[[Any, Any], Any]  # of the model and the rows: the logits


def torch_peer(task: Task, threads: int, *, compiled: bool = False) -> Peer:
    """Train eagerly, or with ``torch.compile`` around the model and the loss."""
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # as JAX does: tiny probabilities made epochs slower and slower
    X, y = task.samples()
    labels = torch.from_numpy(y)
    logits_of = _on_csr(X) if task.is_sparse else _on_rows(X)
    loss_of: Any
    optimizer: Any
    layers: Any

    def restart(start: Parameters) -> None:
        nonlocal loss_of, optimizer, layers
        model = sparse_model(start, task) if task.is_sparse else torch_model(start)
        layers = model if task.is_sparse else model[::2]

        def plain_loss(batch: Any) -> Any:
            return torch.nn.functional.cross_entropy(logits_of(model, batch), labels[batch])

        # at batch sizes that stay the same: shapes need not be symbols
        loss_of = torch.compile(plain_loss, dynamic=False) if compiled else plain_loss
        optimizer = _optimizer(task, model.parameters())

    def train(order: Array, rates: Array | None) -> Any:
        losses = []
        for step, batch in enumerate(torch.from_numpy(order).reshape(-1, task.batch_size)):
            if rates is not None:
                optimizer.param_groups[0]["lr"] = float(rates[step])
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def weights() -> list[tuple[Array, Array]]:
        return [(layer.weight.detach().numpy().T, layer.bias.detach().numpy())
                for layer in layers]  # fmt: skip

    restart(task.start())
    return Peer(train, restart, None if task.is_sparse else weights)


def _optimizer(task: Task, parameters: Any) -> Any:
    import torch

    if task.optimizer == "adam":
        return torch.optim.Adam(parameters, task.rate, eps=EPSILON, fused=True)
    # a gradient of few rows is what the fused step does not take
    return torch.optim.SGD(parameters, task.rate, fused=not task.is_sparse)


def _on_rows(X: Array) -> Batch:
    import torch

    rows = torch.from_numpy(X)
    return lambda model, batch: model(rows[batch])


def _on_csr(X: Any) -> Batch:
    import torch

    shape = (X.shape[0], -1)  # all rows have as many values
    columns = torch.from_numpy(X.indices.reshape(shape).astype(np.int64))
    values = torch.from_numpy(X.data.reshape(shape))
    return lambda model, batch: model(columns[batch], values[batch])


def torch_model(start: Parameters) -> Any:
    """Return a ``Sequential`` of linear layers with ReLU between them."""
    import torch

    layers: list[Any] = []
    for W, b in layers_of(start):
        layers += [_linear(W, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _linear(W: Array, b: Array) -> Any:
    import torch

    linear = torch.nn.Linear(*W.shape)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(W.T.copy()))
        linear.bias.copy_(torch.from_numpy(b.copy()))
    return linear


def sparse_model(start: Parameters, task: Task) -> Any:
    """Return a module of columns and values: an ``EmbeddingBag``, a bias, and what follows."""
    import torch

    W, b = start.weights[0], start.biases[0]

    class Sparse(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            bag = torch.nn.EmbeddingBag(
                W.shape[0], W.shape[1], mode="sum", sparse=task.optimizer == "sgd"
            )
            with torch.no_grad():
                bag.weight.copy_(torch.from_numpy(W.copy()))
            self.bag, self.bias = bag, torch.nn.Parameter(torch.from_numpy(b.copy()))
            rest = [_linear(*layer) for layer in layers_of(start)[1:]]
            self.rest = torch.nn.ModuleList(rest)

        def forward(self, columns: Any, values: Any) -> Any:
            Z = self.bag(columns, per_sample_weights=values) + self.bias
            for linear in self.rest:
                Z = linear(Z.relu())
            return Z

    return Sparse()
