"""Training of the generator: the loss by loops over items and levels, and what it leaves alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.generator import Generator, GeneratorConfig
from offline.artefacts import Catalogue
from offline.recipes import tiny
from offline.teacher import Teacher
from offline.teacher_choice import choose_teacher
from offline.train_generator import GeneratorLoss, parts_of, train_generator
from offline.training_batches import Batch
from tests.offline.conftest import dataset_of
from tests.offline.eleven_items import MAX_HISTORY, NUM_ITEMS, REC_IDS, SETTINGS, cyclic, eleven_items


@pytest.fixture
def catalogue() -> Catalogue:
    return eleven_items()


def generator_of(catalogue: Catalogue) -> Generator:
    torch.manual_seed(2)
    generator = Generator(
        GeneratorConfig(
            vocabulary_sizes=catalogue.space.vocabulary_sizes,
            vector_dim=6,
            max_history=MAX_HISTORY,
            ordered_history=True,
            dim=16,
            num_heads=2,
            num_encoder_layers=1,
            num_decoder_layers=1,
            feedforward_dim=24,
            dropout=0.0,
        )
    )
    for weight in generator.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    generator.history_state.load_state_dict(catalogue.history_state.state_dict())
    return generator


BATCH = Batch(
    np.array([0, 2, 3]),
    np.array([[0, 3, 7], [5, -1, -1], [-1, -1, -1]]),
    np.array([[1, 4, 10], [0, 8, -1], [9, -1, -1]]),
    np.array([[0.1, 0.9], [0.5, 0.5], [0.0, 0.3]]),
)


def slow_loss(generator: Generator, catalogue: Catalogue, teacher: Teacher, drawn: list[list[int]], weight: float):
    """One user, one target, one level at a time: softmax over the tokens that some item has behind the prefix."""
    rec_ids = catalogue.trie.rec_ids().tolist()
    history, distilled, held_out = torch.from_numpy(BATCH.history), [], []
    memory = generator.encode(catalogue.items[history.clamp(min=0)], history >= 0)
    by_leaf = teacher.probabilities(memory.state, history)[:, torch.from_numpy(catalogue.trie.leaf_to_row).long()]
    for user in range(3):
        single = generator.encode(catalogue.items[history[[user]].clamp(min=0)], history[[user]] >= 0)
        rows = [row for row in BATCH.targets[user].tolist() if row >= 0]
        targets = [catalogue.trie.leaf_to_row.tolist().index(row) for row in rows]
        for number, leaf in enumerate(targets + drawn[user]):
            tokens, cache = None, None
            for level in range(3):
                logits, cache = generator.step(level, tokens, single, cache)
                prefix = rec_ids[leaf][:level]
                below = [at for at, rec_id in enumerate(rec_ids) if rec_id[:level] == prefix]
                siblings = sorted({rec_ids[at][level] for at in below})
                log_probs = logits[0, 0, siblings].log_softmax(-1)
                total = float(by_leaf[user, below].sum())
                goal = [
                    float(by_leaf[user, [at for at in below if rec_ids[at][level] == token]].sum())
                    for token in siblings
                ]
                distilled.append(sum(share / max(total, 1e-12) * log_probs[at] for at, share in enumerate(goal)))
                if number < len(targets):
                    held_out.append(log_probs[siblings.index(rec_ids[leaf][level])])
                tokens = torch.tensor([[rec_ids[leaf][level]]])
    # Means over (user, target), summed over the levels.
    return -3 * (weight * torch.stack(distilled).mean() + (1 - weight) * torch.stack(held_out).mean())


def slow_draws(generator: Generator, catalogue: Catalogue, teacher: Teacher, batch: Batch) -> list[list[int]]:
    """Leaf positions: the first whose probability, added to those before it, passes the draw."""
    history = torch.from_numpy(batch.history)
    state = generator.encode(catalogue.items[history.clamp(min=0)], history >= 0).state
    by_leaf = teacher.probabilities(state, history)[:, torch.from_numpy(catalogue.trie.leaf_to_row).long()].double()
    return [
        [next(leaf for leaf in range(NUM_ITEMS) if by_leaf[user, : leaf + 1].sum() > draw) for draw in draws]
        for user, draws in enumerate(batch.draws)
    ]


@torch.no_grad()
@pytest.mark.parametrize("teacher_weight", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("num_teacher_targets", [0, 2])
def test_the_loss_by_loops(catalogue: Catalogue, teacher_weight: float, num_teacher_targets: int) -> None:
    generator, teacher = generator_of(catalogue), Teacher(catalogue.vectors.keys, catalogue.trie, 0.3)
    settings = replace(SETTINGS, teacher_weight=teacher_weight, num_teacher_targets=num_teacher_targets)
    batch = BATCH._replace(draws=BATCH.draws[:, :num_teacher_targets])
    found = GeneratorLoss(generator, catalogue, teacher, settings)(*parts_of(batch))
    drawn = slow_draws(generator, catalogue, teacher, batch)
    assert found.item() == pytest.approx(
        slow_loss(generator, catalogue, teacher, drawn, teacher_weight).item(), rel=1e-4
    )


def test_a_batch_without_targets_is_no_loss_and_no_nan(catalogue: Catalogue) -> None:
    """Sequences of one item have their only item as target; with the teacher's weight at 0 others may have none."""
    generator, teacher = generator_of(catalogue), Teacher(catalogue.vectors.keys, catalogue.trie, 0.3)
    settings = replace(SETTINGS, teacher_weight=0.0, num_teacher_targets=0)
    batch = Batch(np.array([0]), np.array([[1, 2]]), np.array([[-1, -1]]), np.empty((1, 0)))
    assert GeneratorLoss(generator, catalogue, teacher, settings)(*parts_of(batch)).item() == 0


@pytest.mark.parametrize("has_time", [False, True])
def test_training_begins_with_what_is_known_and_leaves_it_alone(
    catalogue: Catalogue, has_time: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Item vectors and history state are the graph encoder's; the keys of the tokens start from the items'."""
    dataset = cyclic() if has_time else dataset_of([[0, 1, 2]] * 6, [[3]] * 6, [[]] * 6, num_items=NUM_ITEMS)
    recipe = replace(tiny(dataset, 0), generator=SETTINGS)
    before = [part.clone() for part in (*catalogue.vectors, *catalogue.history_state.state_dict().values())]
    begun: list[Any] = []
    start: Callable[..., None] = Generator.start_token_keys

    def watched(generator: Generator, rec_ids: Tensor, keys: Tensor, scale: float) -> None:
        start(generator, rec_ids, keys, scale)
        begun.append((rec_ids.tolist(), keys, scale))

    monkeypatch.setattr(Generator, "start_token_keys", watched)
    generator = train_generator(
        dataset, catalogue, recipe, choose_teacher(dataset, catalogue, recipe.generator, 0).teacher
    )
    assert not generator.training
    assert generator.config.ordered_history == has_time
    after = [*catalogue.vectors, *generator.history_state.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    ((rec_ids, keys, scale),) = begun
    assert rec_ids == [list(REC_IDS[5 * row % NUM_ITEMS]) for row in range(NUM_ITEMS)]  # by item row
    assert torch.equal(keys, catalogue.vectors.keys)
    assert scale == pytest.approx(1 / catalogue.temperature)
