"""What `test_devices.py` starts: the graph encoder trained on the CPU and on another device, in float64.

    python trained_elsewhere.py

The other device is torch's "lazy" one, which every build of torch has: its kernels are those of the CPU, but its
tensors meet others no more willingly than those of a GPU, and where they must, the program ends with an error. It is
slow, and knows neither sparse tensors, so that graphs are dense here, nor all that quantizer and generator need. Prints
the largest relative difference of weights, by training.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch._lazy.ts_backend
from torch import Tensor

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from model.graph_encoder import InteractionGraph, ItemVectors, TransitionGraph  # noqa: E402
from offline import processes, train_graph_encoder  # noqa: E402
from offline.dataset import Dataset  # noqa: E402
from offline.graph_data import build_graph  # noqa: E402
from offline.processes import current, joined  # noqa: E402
from tests.offline.trained_together import features, recipe_of, weights_of, world  # noqa: E402

NUM_STEPS = 3


class DenseGraph(NamedTuple):
    """One layer over dense matrices [N, N]: what keys and contexts take of each other."""

    to_keys: Tensor
    to_contexts: Tensor

    def propagate(self, start: ItemVectors, num_layers: int) -> ItemVectors:
        assert num_layers
        return ItemVectors(
            start.keys + self.to_keys @ start.contexts,
            start.contexts + self.to_contexts @ start.keys,
        )


def dense_graph(dataset: Dataset) -> DenseGraph:
    graph = build_graph(dataset)
    if isinstance(graph, TransitionGraph):
        return DenseGraph(graph.to_later.to_dense(), graph.to_earlier.to_dense())
    assert isinstance(graph, InteractionGraph)
    together = graph.to_items.to_dense() @ graph.to_users.to_dense()
    return DenseGraph(together, together)


def trained_on(device: torch.device) -> dict[str, np.ndarray]:
    processes.training_device = lambda name="auto": device
    found: dict[str, np.ndarray] = {}
    with joined(accumulate=2):
        assert current().device == device
        for name, has_time, changes in (
            ("sets", False, {}),
            ("sequences", True, {}),
            ("bpr", True, {"collaborative_loss": "bpr"}),
        ):
            dataset = world(has_time=has_time)
            recipe = recipe_of(dataset, num_steps=NUM_STEPS, **changes)
            trained = train_graph_encoder.train_graph_encoder(dataset, features(), recipe, 0.3)
            left = {weight.device.type for weight in (*trained.model.state_dict().values(), *trained.vectors)}
            assert left == {"cpu"}, left
            found |= weights_of(name, trained.model)
    return found


def main() -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch._lazy.ts_backend.init()
    train_graph_encoder.build_graph = dense_graph
    here, there = trained_on(torch.device("cpu")), trained_on(torch.device("lazy"))
    assert here.keys() == there.keys()
    errors: dict[str, float] = {}
    for name, weights in here.items():
        error = float(np.linalg.norm(there[name] - weights) / max(np.linalg.norm(weights), 1e-30))
        training = name.partition(".")[0]
        errors[training] = max(errors.get(training, 0.0), error)
    sys.stdout.write(json.dumps(errors))


if __name__ == "__main__":
    main()
