"""Train the sequence encoder: what follows every prefix of a sequence, by held-out items and by a teacher.

Item vectors stay as they are, and they have seen what follows; left to the interactions alone it learns them by heart
and finds less. So most of its loss comes from a teacher, who is asked about one prefix of each user
(docs/experiments.md).
"""

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from model.collaborative import prefix_states, softmax_loss
from model.generator import GeneratorConfig, sequence_encoder
from model.sequence_encoder import SequenceEncoder
from offline import progress
from offline.artefacts import Catalogue
from offline.collaborative_batches import CollaborativeBatches, SequenceBatch, part_of
from offline.dataset import Dataset
from offline.dense_search import dense_quality, moved_by
from offline.devices import CPU, moved
from offline.metrics import LEAST_USERS, can_choose, described, preferred
from offline.optimise import Learner, one_cycle
from offline.processes import current, require_enough, share
from offline.recipe_settings import GeneratorSettings, Recipe
from offline.teacher import Teacher

FEWEST_PREFIXES = 2
"""Of a user: with one there is no order to learn from. And of users with so many, as many as validation needs."""


class ChosenSequenceEncoder(NamedTuple):
    """A sequence encoder that moves states by `share` of the way.

    The encoder is None where states stay as they are. The share is None where it was not decided, by validation or by
    a recipe that leaves no choice; then a run that starts from this one chooses again.
    """

    encoder: SequenceEncoder | None
    share: float | None


def choose_sequence_encoder(
    dataset: Dataset,
    catalogue: Catalogue,
    config: GeneratorConfig,
    recipe: Recipe,
    teacher: Teacher,
    weights: Mapping[str, Tensor] | None = None,
) -> ChosenSequenceEncoder:
    """Train a sequence encoder, and let validation say how far it moves states.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    shares = recipe.generator.sequence_shares
    if not any(shares):
        return ChosenSequenceEncoder(None, 0.0)
    if not config.num_sequence_layers:
        return ChosenSequenceEncoder(None, None)
    num_ordered = int((np.diff(dataset.histories("valid").offsets) > FEWEST_PREFIXES).sum())
    if num_ordered < LEAST_USERS:
        progress.say(
            f"sequence encoder: none, because {num_ordered} users have more than {FEWEST_PREFIXES} items to learn an "
            f"order from, and {LEAST_USERS} are needed"
        )
        return ChosenSequenceEncoder(None, None)
    encoder = train_sequence_encoder(dataset, catalogue, config, recipe, teacher, weights)
    taken = _best_share(dataset, catalogue, encoder, shares)
    encoder.share.fill_(taken)
    is_decided = len(shares) == 1 or can_choose(dataset)
    return ChosenSequenceEncoder(encoder if taken else None, taken if is_decided else None)


def _best_share(dataset: Dataset, catalogue: Catalogue, encoder: SequenceEncoder, shares: tuple[float, ...]) -> float:
    """The first of the shares, unless another is clearly better on validation."""
    if len(shares) == 1 or not can_choose(dataset):
        return shares[0]
    qualities = {}
    for share_of_move in shares:
        encoder.share.fill_(share_of_move)
        qualities[share_of_move] = dense_quality(
            catalogue.history_state, catalogue.vectors, dataset, moved_by(encoder, catalogue.items)
        )
    taken = current().agree(preferred(qualities))
    found = f"by validation recall@20 + ndcg@20 of the dense term: {described(qualities)}"
    progress.say(f"how far the sequence encoder moves history states, {found}; taken {taken:g}")
    return taken


def train_sequence_encoder(
    dataset: Dataset,
    catalogue: Catalogue,
    config: GeneratorConfig,
    recipe: Recipe,
    teacher: Teacher,
    weights: Mapping[str, Tensor] | None = None,
) -> SequenceEncoder:
    """Train on the training sequences, from a start that the recipe's seed decides, or from given weights.

    Args:
        dataset: validated dataset, with time.
        catalogue: item vectors and history state.
        config: sizes.
        recipe: steps.
        teacher: what goes with a prefix, beside what was held out; it knows the history state as it is.
        weights: of a previous run's, of the same sizes.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    settings = recipe.generator
    require_enough("sequence encoder", settings.batch_users)
    torch.manual_seed(recipe.seed)
    encoder = sequence_encoder(config)
    if weights is not None:
        encoder.load_state_dict(dict(weights))
        encoder.share.fill_(1.0)
    encoder = encoder.to(current().device)
    batches = iter(
        CollaborativeBatches(
            dataset.histories("valid"),
            num_items=dataset.num_items,
            ordered=True,
            batch_users=settings.batch_users,
            max_history=settings.max_history,
            max_candidates=recipe.graph.max_candidates,
            seed=recipe.seed,
        )
    )
    num_steps, rate = settings.num_sequence_steps, settings.sequence_learning_rate
    optimiser, schedule = one_cycle(encoder, rate, settings.weight_decay, num_steps)
    learner = Learner(SequenceLoss(encoder, catalogue, teacher, recipe), optimiser, "sequence encoder")
    encoder.train()
    with progress.task("sequence encoder", num_steps) as task:
        for step in range(num_steps):
            batch = next(batches)
            assert isinstance(batch, SequenceBatch)
            loss = learner.step([SequenceStep(step, batch, part) for part in current().parts])
            schedule.step()
            task.advance(loss=loss)
    return encoder.to(CPU).eval()


class SequenceStep(NamedTuple):
    """A part of a step: its number, the batch, and which part of it (`offline.processes`)."""

    step: int
    batch: SequenceBatch
    part: int


class SequenceLoss(nn.Module):
    """The loss of a part of a step; those of all parts add up to the loss of the step."""

    def __init__(self, encoder: SequenceEncoder, catalogue: Catalogue, teacher: Teacher, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = encoder
        self._settings: GeneratorSettings = recipe.generator
        self._seed = recipe.seed
        self._temperature = catalogue.temperature
        device = current().device
        self._teacher = teacher.to(device)
        self._items, self._recency = moved((catalogue.items, catalogue.history_state.recency), device)

    def forward(self, drawn: SequenceStep) -> Tensor:
        """A scalar."""
        num_users, num_parts = len(drawn.batch.items), current().num_parts
        part = moved(part_of(drawn.batch, drawn.part, num_parts), self._items.device)
        batch = cast(SequenceBatch, part.batch)
        keys, contexts = self._items.chunk(2, dim=-1)
        with torch.no_grad():
            before = prefix_states(contexts, batch.items, self._recency.log(), dropout=0.0)
        behind = self.encoder.of_prefixes(before.flip(1), self._items[batch.items.flip(1)]).flip(1)
        states = behind.flatten(0, 1)
        held_out = softmax_loss(
            states.index_select(0, batch.prefixes),
            keys.index_select(0, batch.candidates.rows),
            batch.candidates.correction,
            batch.targets,
            self._temperature,
        )
        asked = self._asked(drawn.step, num_users, drawn.part, batch)
        taught = self._taught(before.flatten(0, 1)[asked], states[asked], _newest_first(batch.items, asked))
        weight = self._settings.sequence_teacher_weight
        share_of_users = len(batch.items) / num_users if part.weight else 0.0
        return (1 - weight) * part.weight * held_out + weight * share_of_users * taught

    def _asked(self, step: int, num_users: int, part: int, batch: SequenceBatch) -> Tensor:
        """One prefix of each user, int64 [B], drawn for the whole batch so that its parts make no difference."""
        draws = np.random.default_rng((self._seed, step)).random(num_users)
        users = share(num_users, part, current().num_parts)
        own = draws[users] if users.stop > users.start else draws[:1]
        length = batch.items.shape[1]
        counts = torch.bincount(batch.prefixes // length, minlength=len(batch.items))
        places = (torch.from_numpy(own).to(counts.device) * counts).long()  # prefixes are the first of each row
        return torch.arange(len(counts), device=counts.device) * length + places

    def _taught(self, before: Tensor, states: Tensor, history: Tensor) -> Tensor:
        """Mean cross-entropy of states [B, D] under what the teacher says to those before [B, D]."""
        with torch.no_grad():
            probabilities = self._teacher.probabilities(before, history)
        keys = self._items.chunk(2, dim=-1)[0]
        logits = torch.log_softmax(states @ keys.T / self._temperature, dim=1)
        return -(probabilities * logits).sum(1).mean()


def _newest_first(items: Tensor, prefixes: Tensor) -> Tensor:
    """Histories int64 [B, L], newest first, -1 = empty slot, of one prefix (flat position) of each row [B, L]."""
    length = items.shape[1]
    ages = torch.arange(length, device=items.device)
    places = (prefixes % length).unsqueeze(1) - ages
    return torch.where(places >= 0, items.gather(1, places.clamp(min=0)), -1)
