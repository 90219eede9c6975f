"""What one of several processes does in `test_processes.py`: the trainings of a tiny world, weights to a file.

    python trained_together.py FILE.npz ACCUMULATE [die]

With `die`, the second process ends after the first training.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from offline.artefacts import Catalogue  # noqa: E402
from offline.assign import assign_rec_ids  # noqa: E402
from offline.dataset import Dataset  # noqa: E402
from offline.exit_codes import exit_code_of  # noqa: E402
from offline.processes import joined  # noqa: E402
from offline.recipe_settings import Recipe  # noqa: E402
from offline.recipes import tiny  # noqa: E402
from offline.teacher_choice import choose_teacher  # noqa: E402
from offline.train_generator import generator_config, train_generator  # noqa: E402
from offline.train_graph_encoder import train_graph_encoder  # noqa: E402
from offline.train_graph_rqvae import train_rq_vae  # noqa: E402
from offline.train_sequence_encoder import train_sequence_encoder  # noqa: E402
from service.contract.trie import build_trie  # noqa: E402
from tests.offline.conftest import dataset_of  # noqa: E402

NUM_ITEMS, NUM_USERS, NUM_STEPS = 40, 41, 20


def world(*, has_time: bool) -> Dataset:
    """41 users in batches of 8: the last batch of a round has one user, and so fewer than there are parts."""
    random = np.random.default_rng(0)
    lists = [random.choice(NUM_ITEMS, int(random.integers(3, 9)), replace=False).tolist() for _ in range(NUM_USERS)]
    valid = [[int(random.choice(np.setdiff1d(np.arange(NUM_ITEMS), items)))] for items in lists]
    return dataset_of(lists, valid, [[]] * NUM_USERS, num_items=NUM_ITEMS, has_time=has_time)


def recipe_of(dataset: Dataset, **graph: Any) -> Recipe:
    """`tiny` without dropout."""
    recipe = tiny(dataset, 0)
    sizes = {"num_steps": NUM_STEPS, "num_quantizer_steps": NUM_STEPS + 5, "batch_users": 8, "dim": 16, "member_dim": 8}
    off = {"embedding_dropout": 0.0, "history_dropout": 0.0, "members": ("fused", "aligned"), "max_candidates": 30}
    return replace(
        recipe,
        graph=replace(recipe.graph, **(sizes | off | {"num_alignment_steps": 5} | graph)),
        rec_ids=replace(recipe.rec_ids, min_code_usage=0.0),
        generator=replace(
            recipe.generator,
            num_steps=NUM_STEPS,
            batch_users=8,
            dropout=0.0,
            transition_weights=(0.2,),
            ease_weights=(0.4,),
            num_sequence_layers=1,
            num_sequence_steps=NUM_STEPS,
        ),
    )


def features() -> dict[str, torch.Tensor]:
    return {"image": torch.randn(NUM_ITEMS, 4, generator=torch.Generator().manual_seed(0))}


def weights_of(name: str, module: nn.Module) -> dict[str, np.ndarray]:
    return {f"{name}.{key}": tensor.double().numpy() for key, tensor in module.state_dict().items()}


def train_all() -> dict[str, np.ndarray]:
    """Weights by training and name."""
    found: dict[str, np.ndarray] = {}
    for name, has_time, changes in (
        ("sets", False, {}),
        ("sequences", True, {}),
        ("sampled sets", False, {"fan_out": 2}),
        ("sampled sequences", True, {"fan_out": 2}),
        ("bpr", True, {"collaborative_loss": "bpr"}),
        ("joint", False, {"quantization": "joint", "members": ("fused",), "member_dim": 16}),
    ):
        dataset = world(has_time=has_time)
        trained = train_graph_encoder(dataset, features(), recipe_of(dataset, **changes), 0.3)
        found |= weights_of(f"graph, {name}", trained.model)
    dataset = world(has_time=True)
    recipe = recipe_of(dataset)
    trained = train_graph_encoder(dataset, features(), recipe, 0.3)
    model, quantized = train_rq_vae(trained.model, trained.vectors.keys, features, recipe)
    found |= weights_of("quantizer", model)
    rec_ids, space, _ = assign_rec_ids(model, quantized, dataset, recipe.rec_ids)
    catalogue = Catalogue(build_trie(rec_ids, space), space, trained.vectors, trained.history_state, 0.3)
    teacher, _ = choose_teacher(dataset, catalogue, recipe.generator, recipe.seed)
    config = generator_config(dataset, catalogue, recipe.generator)
    encoder = train_sequence_encoder(dataset, catalogue, config, recipe, teacher)
    found |= weights_of("generator", train_generator(dataset, catalogue, recipe, teacher, None, encoder))
    sets = world(has_time=False)
    by_ease, _ = choose_teacher(sets, catalogue, recipe.generator, recipe.seed)
    return found | weights_of("generator of sets", train_generator(sets, catalogue, recipe, by_ease))


def main() -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    # Adam makes a whole step of a gradient that is nothing but rounding, such as that of a bias all keys share.
    torch.set_default_dtype(torch.float64)
    with joined(int(sys.argv[2])) as processes:
        if sys.argv[3:] and not processes.is_first:
            dataset = world(has_time=False)
            train_graph_encoder(dataset, features(), recipe_of(dataset), 0.3)
            os._exit(9)
        weights: dict[str, Any] = train_all()
    if processes.is_first:
        np.savez(sys.argv[1], **weights)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
