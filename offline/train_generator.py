"""Train the generator: held-out items and the teachers' distribution, as tokens along the trie."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.generator import Generator, GeneratorConfig
from model.trie_softmax import child_log_probs
from offline import progress
from offline.artefacts import Catalogue
from offline.baselines.transitions import Transitions
from offline.dataset import MOST_VALIDATION_USERS, Dataset, held_out_users
from offline.dense_search import exhaustive_ranking
from offline.metrics import FloatArray, described, preferred, quality_by_user
from offline.optimise import optimise
from offline.recipe_settings import GeneratorSettings, Recipe
from offline.teacher import Teacher
from offline.training_batches import Batch, BatchSampler
from offline.trie_tensors import trie_levels
from offline.warm_generator import GeneratorStart


def generator_config(dataset: Dataset, catalogue: Catalogue, settings: GeneratorSettings) -> GeneratorConfig:
    """The sizes of a catalogue's generator."""
    return GeneratorConfig(
        vocabulary_sizes=catalogue.space.vocabulary_sizes,
        vector_dim=catalogue.items.shape[1],
        max_history=settings.max_history,
        ordered_history=dataset.has_time,
        dim=settings.dim,
        num_heads=settings.num_heads,
        num_encoder_layers=settings.num_layers,
        num_decoder_layers=settings.num_layers,
        feedforward_dim=settings.feedforward_dim,
        dropout=settings.dropout,
        attention=settings.attention,
    )


def train_generator(
    dataset: Dataset, catalogue: Catalogue, recipe: Recipe, teacher: Teacher, start: GeneratorStart | None = None
) -> Generator:
    """Train on the training interactions; item vectors and history state stay as they are.

    Args:
        dataset: validated dataset.
        catalogue: its Rec-IDs and vectors.
        recipe: sizes and steps.
        teacher: see `choose_teacher`.
        start: weights of a previous run; they are taken over, the steps are the recipe's.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    settings = recipe.generator
    torch.manual_seed(recipe.seed)
    generator = Generator(generator_config(dataset, catalogue, settings))
    generator.history_state.load_state_dict(catalogue.history_state.state_dict())
    rec_ids = torch.from_numpy(catalogue.trie.rec_ids()[catalogue.trie.row_to_leaf()]).long()
    generator.start_token_keys(rec_ids, catalogue.vectors.keys, 1 / catalogue.temperature)
    if start is not None:
        start.take_over(generator)
    losses = GeneratorLosses(generator, catalogue, teacher, settings)
    optimiser = torch.optim.AdamW(generator.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    warmup = min(100, settings.num_steps // 10 + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.num_steps + 1, pct_start=warmup / settings.num_steps
    )
    batches = iter(
        BatchSampler(
            dataset.histories("valid"),
            ordered=dataset.has_time,
            batch_users=settings.batch_users,
            max_history=settings.max_history,
            num_targets=settings.num_targets,
            seed=recipe.seed,
        )
    )
    generator.train()
    with progress.task("generator", settings.num_steps) as task:
        for _ in range(settings.num_steps):
            loss = losses(next(batches))
            optimise(optimiser, loss, "generator")
            schedule.step()
            task.advance(loss=loss.item())
    return generator.eval()


class GeneratorLosses:
    """The token loss of a batch."""

    def __init__(
        self, generator: Generator, catalogue: Catalogue, teacher: Teacher, settings: GeneratorSettings
    ) -> None:
        self._generator = generator
        self._settings = settings
        self._items = catalogue.items
        self._levels = trie_levels(catalogue.trie)
        self._teacher = teacher
        self._row_to_leaf = torch.from_numpy(catalogue.trie.row_to_leaf())
        # Ancestor of every leaf at every depth: which child of which node a target takes.
        starts = catalogue.trie.leaf_starts()[1:]
        leaves = np.arange(catalogue.trie.num_items)
        self._ancestors = tuple(torch.from_numpy(np.searchsorted(at, leaves, side="right") - 1) for at in starts)

    def __call__(self, batch: Batch) -> Tensor:
        """Cross-entropy summed over the levels, a scalar.

        The teacher is asked about the very history that the generator sees, so it cannot give away what is held out.
        """
        history, targets = torch.from_numpy(batch.history), torch.from_numpy(batch.targets)
        memory = self._generator.encode(self._items[history.clamp(min=0)], history >= 0)
        drawn = self._teacher.draw(
            self._teacher.probabilities(memory.state, history), self._settings.num_teacher_targets
        )
        leaves = torch.cat([self._row_to_leaf[targets.clamp(min=0)], drawn.leaves], dim=1)  # (B, T)
        held_out = F.pad(targets >= 0, (0, drawn.leaves.shape[1]))  # (B, T)
        counted = F.pad(targets >= 0, (0, drawn.leaves.shape[1]), value=True)
        nodes, tokens, cache, loss = torch.zeros_like(leaves), None, None, torch.zeros(())
        for level, arrays in enumerate(self._levels):
            logits, cache = self._generator.step(level, tokens, memory, cache)
            if level == 0:  # one prefix, the start, for all targets of a user
                logits = logits.expand(-1, leaves.shape[1], -1)
            children = child_log_probs(logits, nodes, arrays)
            goal = self._teacher.child_probabilities(level, drawn.running, children)
            taken = self._ancestors[level][leaves]
            chosen = (taken - arrays.child_start[nodes].long()).unsqueeze(-1)
            found = children.log_probs.gather(-1, chosen).squeeze(-1)
            loss = loss + self._blend((goal * children.log_probs).sum(-1)[counted], found[held_out])
            nodes, tokens = taken, arrays.tokens[taken]
        return loss

    def _blend(self, distilled: Tensor, held_out: Tensor) -> Tensor:
        """Cross-entropy from log-likelihoods under the teacher and of held-out items; a batch may lack either."""
        weight = self._settings.teacher_weight
        return -weight * _mean(distilled) - (1 - weight) * _mean(held_out)


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(len(values), 1)


def choose_teacher(dataset: Dataset, catalogue: Catalogue, settings: GeneratorSettings, seed: int) -> Teacher:
    """The graph encoder; where the data has time, with transition counts.

    Their share is the first of the recipe's, unless another is clearly better on validation.
    """
    keys, trie = catalogue.vectors.keys, catalogue.trie
    temperature = settings.teacher_temperature * catalogue.temperature
    weights = settings.transition_weights if dataset.has_time and len(dataset.train.users) > 1 else (0.0,)
    if max(weights) == 0:
        return Teacher(keys, trie, temperature)
    transitions = Transitions()
    transitions.fit(dataset, seed=seed)
    teachers = {weight: Teacher(keys, trie, temperature, transitions, weight) for weight in weights}
    if len(weights) == 1 or not len(dataset.valid.users):
        return teachers[weights[0]]
    qualities = {weight: teacher_quality(teacher, catalogue, dataset) for weight, teacher in teachers.items()}
    best = preferred(qualities)
    found = f"by validation recall@20 + ndcg@20: {described(qualities)}; taken {best:g}"
    progress.say(f"share of transition counts in the teacher, {found}")
    return teachers[best]


def teacher_quality(teacher: Teacher, catalogue: Catalogue, dataset: Dataset) -> FloatArray:
    """Validation recall@20 + ndcg@20 of the teacher's own ranking, of each user (`held_out_users`)."""
    users = held_out_users(dataset, "valid", MOST_VALIDATION_USERS)
    history_state, vectors = catalogue.history_state, catalogue.vectors
    ranking = exhaustive_ranking(teacher.probabilities, history_state, vectors, dataset, users, "valid")
    return quality_by_user(ranking, users, dataset.targets("valid"))
