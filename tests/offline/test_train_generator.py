"""Training of the generator: the loss by loops over items and levels, and which teacher is chosen."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.generator import Generator, GeneratorConfig
from model.graph_encoder import ItemVectors
from model.history_state import HistoryState
from offline import train_generator as module
from offline.artefacts import Catalogue
from offline.baselines.transitions import Transitions
from offline.dataset import Dataset
from offline.metrics import ranking_metrics
from offline.recipe_settings import GeneratorSettings
from offline.recipes import tiny
from offline.teacher import Teacher
from offline.train_generator import GeneratorLoss, choose_teacher, parts_of, teacher_quality, train_generator
from offline.training_batches import Batch
from service.contract.rec_id import RecIdSpace
from service.contract.trie import build_trie
from tests.offline.conftest import dataset_of

MAX_HISTORY = 5
SETTINGS = GeneratorSettings(
    dim=16,
    num_heads=2,
    num_layers=1,
    feedforward_dim=24,
    dropout=0.0,
    max_history=MAX_HISTORY,
    num_steps=4,
    batch_users=3,
    num_targets=3,
    num_teacher_targets=2,
)
REC_IDS = [(first, second, third) for first in range(3) for second in range(2) for third in range(2)][:11]
NUM_ITEMS = len(REC_IDS)


@pytest.fixture
def catalogue() -> Catalogue:
    """Eleven items; row r has the Rec-ID at place `5 · r` of the list, so rows and leaves differ."""
    torch.manual_seed(1)
    rec_ids = [REC_IDS[5 * row % NUM_ITEMS] for row in range(NUM_ITEMS)]
    space = RecIdSpace(codebook_sizes=(3, 2), popularity_size=2)
    vectors = ItemVectors(F.normalize(torch.randn(NUM_ITEMS, 3), dim=1), torch.randn(NUM_ITEMS, 3))
    history_state = HistoryState(3, MAX_HISTORY)
    history_state.fit(torch.tensor([1.0, 0.5]), torch.tensor([0.6, 0.0, 0.8]))
    return Catalogue(build_trie(np.array(rec_ids, np.int32), space), space, vectors, history_state, 0.2)


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


def cyclic() -> Dataset:
    """What follows item i is item i + 1, always; keys say nothing of it."""
    starts = range(36)
    train = [[(start + step) % NUM_ITEMS for step in range(4)] for start in starts]
    return dataset_of(
        train, [[(start + 4) % NUM_ITEMS] for start in starts], [[]] * 36, num_items=NUM_ITEMS, has_time=True
    )


def knowing_keys(catalogue: Catalogue) -> Catalogue:
    """Keys and contexts with which the state of items i to i + 3 points to item i + 4 alone."""
    at = torch.arange(NUM_ITEMS) * 2 * torch.pi / NUM_ITEMS
    turned = at + 2 * torch.pi / NUM_ITEMS
    keys = torch.stack([at.cos(), at.sin(), torch.zeros(NUM_ITEMS)], dim=1)
    contexts = torch.stack([turned.cos(), turned.sin(), torch.zeros(NUM_ITEMS)], dim=1)
    history_state = HistoryState(3, MAX_HISTORY)
    history_state.fit(torch.tensor([1.0, 1e-3]), torch.ones(3))
    return replace(catalogue, vectors=ItemVectors(keys, contexts), history_state=history_state)


def share_of_transitions(teacher: Teacher) -> float:
    return teacher.transition_weight


def choose(dataset: Dataset, catalogue: Catalogue, *weights: float) -> float:
    settings = replace(SETTINGS, transition_weights=weights, teacher_temperature=0.25)
    return share_of_transitions(choose_teacher(dataset, catalogue, settings, seed=0))


def test_transitions_teach_where_validation_likes_them(catalogue: Catalogue) -> None:
    away = replace(catalogue, vectors=catalogue.vectors._replace(keys=-knowing_keys(catalogue).vectors.keys))
    assert choose(cyclic(), away, 0.0, 0.9) == 0.9


def test_equal_qualities_take_the_first_weight(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph encoder alone, which costs no counts."""
    monkeypatch.setattr(module, "teacher_quality", lambda *_: np.full(30, 0.5))
    assert choose(cyclic(), catalogue, 0.0, 0.3, 0.5) == 0.0


def test_the_best_of_all_weights_is_taken(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    given = [np.full(30, quality) for quality in (0.1, 0.4, 0.2)]
    monkeypatch.setattr(module, "teacher_quality", lambda *_: given.pop(0))
    assert choose(cyclic(), catalogue, 0.0, 0.3, 0.5) == 0.3
    said = "by validation recall@20 + ndcg@20: 0: 0.1000, 0.3: 0.4000, 0.5: 0.2000; taken 0.3\n"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "expected"), [((0.0,), 0.0), ((0.4,), 0.4), ((0.0, 0.3, 0.5), 0.0), ((0.5, 0.0, 0.7), 0.5)]
)
def test_without_validation_the_first_weight_is_taken(
    catalogue: Catalogue, weights: tuple[float, ...], expected: float
) -> None:
    train = [[0, 1, 2], [1, 2, 3]]
    made = dataset_of(train, [[], []], [[], []], num_items=NUM_ITEMS, has_time=True)
    assert choose(made, catalogue, *weights) == expected


def test_sets_have_no_transitions(catalogue: Catalogue) -> None:
    lists = [[0, 1, 2, 3]] * 5
    made = dataset_of(lists, [[4]] * 5, [[]] * 5, num_items=NUM_ITEMS)
    assert choose(made, catalogue, 0.3, 0.5) == 0.0


@pytest.mark.parametrize("transition_weight", [0.0, 0.5])
def test_the_quality_of_a_teacher_by_loops(catalogue: Catalogue, transition_weight: float) -> None:
    random = np.random.default_rng(0)
    lists = [random.permutation(NUM_ITEMS)[: random.integers(1, 8)].tolist() for _ in range(9)]
    valid = [[int(random.choice(np.setdiff1d(np.arange(NUM_ITEMS), items)))] for items in lists]
    made = dataset_of(lists, [*valid[:6], [], [], valid[8]], [[]] * 9, num_items=NUM_ITEMS, has_time=True)
    transitions = Transitions()
    transitions.fit(made, seed=0)
    teacher = Teacher(catalogue.vectors.keys, catalogue.trie, 0.3, transitions, transition_weight)
    users, rankings = np.array([0, 1, 2, 3, 4, 5, 8]), []
    for user in users:
        history = torch.tensor([lists[user][::-1][:MAX_HISTORY]])
        state = catalogue.history_state(catalogue.vectors.contexts[history], torch.ones(history.shape))
        order = teacher.probabilities(state, history)[0].argsort(descending=True).tolist()
        fresh = [item for item in order if item not in lists[user]]
        rankings.append(fresh + [-1] * (20 - len(fresh)))
    metrics = ranking_metrics(np.array(rankings), users, made.targets("valid"), (20,))
    assert teacher_quality(teacher, catalogue, made).mean() == pytest.approx(metrics["recall@20"] + metrics["ndcg@20"])


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
    generator = train_generator(dataset, catalogue, recipe, choose_teacher(dataset, catalogue, recipe.generator, 0))
    assert not generator.training
    assert generator.config.ordered_history == has_time
    after = [*catalogue.vectors, *generator.history_state.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    ((rec_ids, keys, scale),) = begun
    assert rec_ids == [list(REC_IDS[5 * row % NUM_ITEMS]) for row in range(NUM_ITEMS)]  # by item row
    assert torch.equal(keys, catalogue.vectors.keys)
    assert scale == pytest.approx(1 / catalogue.temperature)
