"""Training of the sequence encoder: order that a sum cannot tell, the loss by loops, and when there is none."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.generator import GeneratorConfig, sequence_encoder
from model.graph_encoder import ItemVectors
from model.history_state import HistoryState
from model.sequence_encoder import SequenceEncoder
from offline import train_sequence_encoder as module
from offline.artefacts import Catalogue
from offline.collaborative_batches import CollaborativeBatches, SequenceBatch
from offline.dataset import Dataset, held_out_users
from offline.dense_search import dense_ranking, moved_by
from offline.metrics import ranking_metrics
from offline.processes import Processes
from offline.recipe_settings import Recipe
from offline.recipes import tiny
from offline.teacher import Teacher
from offline.train_generator import generator_config, train_generator
from offline.train_sequence_encoder import (
    ChosenSequenceEncoder,
    SequenceLoss,
    SequenceStep,
    choose_sequence_encoder,
    train_sequence_encoder,
)
from service.contract.rec_id import RecIdSpace
from service.contract.trie import build_trie
from tests.offline.conftest import dataset_of

NUM_ITEMS, MAX_HISTORY = 8, 4


@pytest.fixture
def catalogue() -> Catalogue:
    """Eight items along eight axes, and a history state that does not see order."""
    rec_ids = [(first, second, 0) for first in range(4) for second in range(2)]
    space = RecIdSpace(codebook_sizes=(4, 2), popularity_size=1)
    vectors = ItemVectors(torch.eye(NUM_ITEMS), torch.eye(NUM_ITEMS))
    history_state = HistoryState(NUM_ITEMS, MAX_HISTORY)
    history_state.fit(torch.tensor([1.0]), torch.ones(NUM_ITEMS))
    return Catalogue(build_trie(np.array(rec_ids, np.int32), space), space, vectors, history_state, 0.2)


def order_decides() -> Dataset:
    """Whoever had 0, then 1, takes 2; whoever had 1, then 0, takes 3. Half of the users show it only in validation."""
    told = [[0, 1, 2], [1, 0, 3]] * 30
    asked, answers = [[0, 1], [1, 0]] * 30, [[2], [3]] * 30
    return dataset_of(told + asked, [[]] * 60 + answers, [[]] * 120, num_items=NUM_ITEMS, has_time=True)


def recipe_of(dataset: Dataset, **changes: Any) -> Recipe:
    recipe = tiny(dataset, 0)
    sizes = {"dim": 16, "num_heads": 2, "max_history": MAX_HISTORY, "batch_users": 16, "num_steps": 4}
    sequence = {"num_sequence_layers": 1, "num_sequence_steps": 200, "sequence_teacher_weight": 0.0, "dropout": 0.0}
    return replace(recipe, generator=replace(recipe.generator, **(sizes | sequence | changes)))


def config_of(dataset: Dataset, catalogue: Catalogue, recipe: Recipe) -> GeneratorConfig:
    return generator_config(dataset, catalogue, recipe.generator)


def teacher_of(catalogue: Catalogue) -> Teacher:
    return Teacher(catalogue.vectors.keys, catalogue.trie, 0.12)


def first_hits(catalogue: Catalogue, dataset: Dataset, encoder: SequenceEncoder | None) -> float:
    """Share of validation users whose item comes first in an exhaustive search."""
    users, move = held_out_users(dataset, "valid"), moved_by(encoder, catalogue.items)
    found = dense_ranking(catalogue.history_state, catalogue.vectors, dataset, users, "valid", 5, move)
    return ranking_metrics(found, users, dataset.targets("valid"), (1,))["recall@1"]


def test_it_learns_what_a_sum_cannot_know(catalogue: Catalogue) -> None:
    dataset = order_decides()
    recipe = recipe_of(dataset)
    encoder, share = choose_sequence_encoder(
        dataset, catalogue, config_of(dataset, catalogue, recipe), recipe, teacher_of(catalogue)
    )
    assert encoder is not None
    assert share == 0.5
    assert not encoder.training
    assert encoder.share == 0.5  # which suffices; nothing is clearly better
    assert first_hits(catalogue, dataset, encoder) == 1.0
    assert first_hits(catalogue, dataset, None) <= 0.5  # of two equal states one is wrong


def test_with_the_teacher_alone_it_stays_near_what_the_teacher_says(catalogue: Catalogue) -> None:
    dataset = order_decides()
    recipe = recipe_of(dataset, sequence_teacher_weight=1.0)
    config = config_of(dataset, catalogue, recipe)
    encoder = train_sequence_encoder(dataset, catalogue, config, recipe, teacher_of(catalogue))
    assert first_hits(catalogue, dataset, encoder) <= 0.5


def test_two_trainings_are_equal_and_touch_nothing(catalogue: Catalogue) -> None:
    dataset = order_decides()
    recipe = recipe_of(dataset, num_sequence_steps=5, dropout=0.2, sequence_teacher_weight=0.9)
    before = [part.clone() for part in (*catalogue.vectors, *catalogue.history_state.state_dict().values())]
    one, two = (
        train_sequence_encoder(
            dataset, catalogue, config_of(dataset, catalogue, recipe), recipe, teacher_of(catalogue)
        ).state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    after = [*catalogue.vectors, *catalogue.history_state.state_dict().values()]
    assert all(torch.equal(left, right) for left, right in zip(before, after, strict=True))


def sequences() -> Dataset:
    lists = [[0, 1, 2, 5], [3, 4], [6, 7, 1], [2, 0]]
    return dataset_of(lists, [[]] * 4, [[]] * 4, num_items=NUM_ITEMS, has_time=True)


def batch_of(dataset: Dataset) -> SequenceBatch:
    batches = CollaborativeBatches(
        dataset.histories("valid"),
        num_items=NUM_ITEMS,
        ordered=True,
        batch_users=4,
        max_history=4,
        max_candidates=99,
        seed=0,
    )
    batch = next(iter(batches))
    assert isinstance(batch, SequenceBatch)
    return batch


def opinionated(dataset: Dataset, catalogue: Catalogue, recipe: Recipe) -> SequenceEncoder:
    torch.manual_seed(5)
    encoder = sequence_encoder(config_of(dataset, catalogue, recipe)).eval()
    for weight in encoder.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return encoder


def served(encoder: SequenceEncoder, catalogue: Catalogue, newest_first: list[int]) -> tuple[Tensor, Tensor]:
    """State before and behind the encoder, [1, D] each, of one history as it would be served."""
    vectors, filled = catalogue.items[newest_first].unsqueeze(0), torch.ones(1, len(newest_first))
    state = catalogue.history_state(vectors.chunk(2, dim=-1)[1], filled)
    return state, encoder(state, vectors, filled)


@torch.no_grad()
@pytest.mark.parametrize("weight", [0.0, 0.7, 1.0])
def test_the_loss_by_loops(catalogue: Catalogue, weight: float) -> None:
    """One user, one prefix at a time; the teacher is asked about one prefix of each user, the one that was drawn."""
    dataset = sequences()
    recipe = recipe_of(dataset, sequence_teacher_weight=weight)
    encoder, teacher, batch = opinionated(dataset, catalogue, recipe), teacher_of(catalogue), batch_of(dataset)
    found = SequenceLoss(encoder, catalogue, teacher, recipe)(SequenceStep(7, batch, 0)).item()
    draws = np.random.default_rng((recipe.seed, 7)).random(4)
    held_out, taught = [], []
    lists = {items[0]: items for items in ([0, 1, 2, 5], [3, 4], [6, 7, 1], [2, 0])}
    for row, draw in zip(batch.items.tolist(), draws, strict=True):
        items = lists[row[0]]
        for end in range(1, len(items)):
            before, state = served(encoder, catalogue, items[:end][::-1])
            log_probs = (state @ catalogue.vectors.keys.T / 0.2).log_softmax(1)[0]
            held_out.append(log_probs[items[end]].item())
            if end == 1 + int(draw * (len(items) - 1)):
                goal = teacher.probabilities(before, torch.tensor([items[:end][::-1]]))[0]
                taught.append(float((goal * log_probs).sum()))
    assert len(taught) == 4
    expected = -(1 - weight) * np.mean(held_out) - weight * np.mean(taught)
    assert found == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("num_parts", [2, 3, 4, 6])
def test_the_parts_of_a_batch_add_up(catalogue: Catalogue, num_parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = sequences()
    recipe = recipe_of(dataset, sequence_teacher_weight=0.5)
    loss = SequenceLoss(opinionated(dataset, catalogue, recipe), catalogue, teacher_of(catalogue), recipe)
    batch = batch_of(dataset)
    whole = loss(SequenceStep(3, batch, 0))
    monkeypatch.setattr(module, "current", lambda: Processes(accumulate=num_parts))
    parts = [loss(SequenceStep(3, batch, part)) for part in range(num_parts)]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)


@pytest.mark.parametrize(
    ("lists", "has_time", "layers"),
    [([[0, 1, 2]] * 40, False, 1), ([[0, 1]] * 40, True, 1), ([[0, 1, 2]] * 40, True, 0), ([[0, 1, 2]] * 29, True, 1)],
    ids=["sets", "no order to learn from", "none wanted", "too few users"],
)
def test_where_there_is_none(catalogue: Catalogue, lists: list[list[int]], has_time: bool, layers: int) -> None:
    nobody: list[list[int]] = [[]] * len(lists)
    dataset = dataset_of(lists, nobody, nobody, num_items=NUM_ITEMS, has_time=has_time)
    recipe = recipe_of(dataset, num_sequence_layers=layers)
    config = config_of(dataset, catalogue, recipe)
    assert choose_sequence_encoder(dataset, catalogue, config, recipe, teacher_of(catalogue)) == (None, None)


@pytest.mark.parametrize("num_judges", [0, 29])
def test_without_validation_it_is_kept_and_nothing_is_decided(catalogue: Catalogue, num_judges: int) -> None:
    valid = [[3]] * num_judges + [[]] * (40 - num_judges)
    dataset = dataset_of([[0, 1, 2]] * 40, valid, [[]] * 40, num_items=NUM_ITEMS, has_time=True)
    for shares, decided in (((0.5, 0.0), None), ((0.5,), 0.5)):
        recipe = recipe_of(dataset, num_sequence_steps=2, sequence_shares=shares)
        config = config_of(dataset, catalogue, recipe)
        encoder, share = choose_sequence_encoder(dataset, catalogue, config, recipe, teacher_of(catalogue))
        assert encoder is not None
        assert (float(encoder.share), share) == (0.5, decided)


def test_a_share_of_nothing_is_not_trained(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "train_sequence_encoder", None)
    dataset = order_decides()
    recipe = recipe_of(dataset, sequence_shares=(0.0,))
    config = config_of(dataset, catalogue, recipe)
    assert choose_sequence_encoder(dataset, catalogue, config, recipe, teacher_of(catalogue)) == (None, 0.0)


def test_it_is_left_out_where_validation_is_clearly_better_without(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had 0 and 1 in any order takes what lies between them; an encoder that turns states around harms."""
    lists, answers = [[0, 1, 2], [1, 0, 2]] * 30, [[3], [3]] * 30
    dataset = dataset_of(lists, answers, [[]] * 60, num_items=NUM_ITEMS, has_time=True)
    keys = F.normalize(torch.eye(NUM_ITEMS) + F.one_hot(torch.tensor([0, 1, 2, 0, 4, 5, 6, 7]), NUM_ITEMS), dim=1)
    catalogue = replace(catalogue, vectors=ItemVectors(keys, torch.eye(NUM_ITEMS)))
    recipe = recipe_of(dataset)

    class Around(torch.nn.Module):
        share: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("share", torch.ones(()))

        def forward(self, state: Tensor, _vectors: Tensor, _filled: Tensor) -> Tensor:
            return state * torch.where(self.share > 0, -1.0, 1.0)

    monkeypatch.setattr(module, "train_sequence_encoder", lambda *_: Around())
    config = config_of(dataset, catalogue, recipe)
    assert first_hits(catalogue, dataset, None) == 1.0
    assert choose_sequence_encoder(dataset, catalogue, config, recipe, teacher_of(catalogue)) == (None, 0.0)


def test_another_share_has_to_be_clearly_better(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = order_decides()
    recipe = recipe_of(dataset)
    config = config_of(dataset, catalogue, recipe)

    def choose(at_half: float, at_one: float) -> ChosenSequenceEncoder:
        def quality(*arguments: Any) -> np.ndarray:
            at = {0.5: at_half, 1.0: at_one, 0.0: 0.1}[encoder.share.item()]
            return np.linspace(at - 0.01, at + 0.01, 60)

        encoder = opinionated(dataset, catalogue, recipe)
        monkeypatch.setattr(module, "train_sequence_encoder", lambda *_: encoder)
        monkeypatch.setattr(module, "dense_quality", quality)
        return choose_sequence_encoder(dataset, catalogue, config, recipe, teacher_of(catalogue))

    for at_one, share in ((0.5, 0.5), (0.6, 1.0), (0.4, 0.5)):
        encoder, taken = choose(0.5, at_one)
        assert encoder is not None
        assert encoder.share == taken == share
    assert choose(0.05, 0.05) == (None, 0.0)


def test_the_generator_takes_it_over_and_leaves_it_as_it_is(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout of its own while the generator trains, too: its states are what the teacher is asked with."""
    dataset = order_decides()
    recipe = recipe_of(dataset, dropout=0.2)
    encoder = opinionated(dataset, catalogue, recipe)
    modes, plain = [], SequenceEncoder.forward

    def noted(self: SequenceEncoder, *arguments: Tensor) -> Tensor:
        modes.append(self.training)
        return plain(self, *arguments)

    monkeypatch.setattr(SequenceEncoder, "forward", noted)
    generator = train_generator(dataset, catalogue, recipe, teacher_of(catalogue), None, encoder)
    assert generator.config.num_sequence_layers == 1
    assert generator.sequence_encoder is not None
    for name, value in generator.sequence_encoder.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name]), name
    assert modes == [False] * recipe.generator.num_steps
    without = train_generator(dataset, catalogue, recipe, teacher_of(catalogue))
    assert without.config.num_sequence_layers == 0
    assert without.sequence_encoder is None
