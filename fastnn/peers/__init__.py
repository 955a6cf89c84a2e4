"""The same training in fastnn and in other libraries, each as an expert of it would set it up.

``compare.py`` runs each in a process of its own: ``python -m fastnn.peers NAME THREADS``. Data are
in memory before, and the first, untimed, round has compiled what there is to compile.
"""

from fastnn.peers.article import article_peer
from fastnn.peers.in_jax import jax_peer
from fastnn.peers.in_sklearn import sklearn_model, sklearn_peer
from fastnn.peers.in_torch import torch_model, torch_peer
from fastnn.peers.ours import bytes_peer, dense_peer, fastnn_peer, reference_peer
from fastnn.peers.peer import Array, Peer, layers_of
from fastnn.peers.serving import Makers, Rounds, serve, whole_rounds
from fastnn.tasks import Task

__all__ = [
    "MAKERS", "Array", "Makers", "Peer", "Rounds", "Task", "fastnn_peer", "layers_of", "serve",
    "sklearn_model", "torch_model", "torch_peer", "whole_rounds",
]  # fmt: skip

MAKERS: Makers = {
    "fastnn": fastnn_peer,
    "fastnn dense": dense_peer,
    "fastnn bytes": bytes_peer,
    "reference": reference_peer,
    "jax": jax_peer,
    "torch": torch_peer,
    "torch compile": lambda task, threads: torch_peer(task, threads, compiled=True),
    "scikit-learn": sklearn_peer,
    "article": article_peer,
}
