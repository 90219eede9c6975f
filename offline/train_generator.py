"""Train the generator: held-out items and the graph encoder's distribution, along the trie and in the dense term."""

import numpy as np
import torch
from torch import Tensor

from model.generator import Generator, GeneratorConfig, Memory
from model.trie_softmax import child_log_probs
from offline import progress
from offline.artefacts import Catalogue
from offline.dataset import Dataset
from offline.recipes import GeneratorSettings, Recipe
from offline.teacher import Teacher
from offline.train_graph_rqvae import optimise
from offline.training_batches import Batch, BatchSampler
from offline.trie_tensors import trie_levels


def train_generator(dataset: Dataset, catalogue: Catalogue, recipe: Recipe) -> Generator:
    """Train on the training interactions; the item vectors stay as they are.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    settings = recipe.generator
    generator = Generator(
        GeneratorConfig(
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
        )
    )
    losses = GeneratorLosses(generator, catalogue, settings)
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
            tokens, dense = losses(next(batches))
            optimise(optimiser, tokens + dense, "generator")
            schedule.step()
            task.advance(f"tokens {tokens.item():.3f} dense {dense.item():.3f}")
    return generator.eval()


class GeneratorLosses:
    """Token loss and dense loss of one batch."""

    def __init__(self, generator: Generator, catalogue: Catalogue, settings: GeneratorSettings) -> None:
        self._generator = generator
        self._settings = settings
        self._items = catalogue.items
        self._levels = trie_levels(catalogue.trie)
        self._teacher = Teacher(catalogue.users, catalogue.items, catalogue.trie, settings.teacher_temperature)
        self._row_to_leaf = torch.from_numpy(catalogue.trie.row_to_leaf())
        # Ancestor of every leaf at every depth: which child of which node a target takes.
        starts = catalogue.trie.leaf_starts()[1:]
        leaves = np.arange(catalogue.trie.num_items)
        self._ancestors = tuple(torch.from_numpy(np.searchsorted(at, leaves, side="right") - 1) for at in starts)

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Token loss and dense loss, both scalars."""
        history = torch.from_numpy(batch.history)
        memory = self._generator.encode(self._items[history.clamp(min=0)], history >= 0)
        teacher = self._teacher.probabilities(torch.from_numpy(batch.users), history)
        targets = torch.from_numpy(batch.targets)
        return self._token_loss(memory, targets, teacher), self._dense_loss(memory, targets, teacher)

    def _dense_loss(self, memory: Memory, targets: Tensor, teacher: Tensor) -> Tensor:
        keys = self._generator.item_keys(self._items)
        log_probs = self._generator.dense_logits(memory.state, keys).log_softmax(dim=-1)
        real = targets >= 0
        held_out = -log_probs.gather(1, targets.clamp(min=0))[real].sum() / real.sum().clamp(min=1)
        distilled = -(teacher * log_probs).sum(-1).mean()
        weight = self._settings.teacher_weight
        return weight * distilled + (1 - weight) * held_out

    def _token_loss(self, memory: Memory, targets: Tensor, teacher: Tensor) -> Tensor:
        drawn = self._teacher.draw(teacher, self._settings.num_teacher_targets)
        leaves = torch.cat([self._row_to_leaf[targets.clamp(min=0)], drawn.leaves], dim=1)  # (B, T)
        real = torch.cat([targets >= 0, torch.zeros_like(drawn.leaves, dtype=torch.bool)], dim=1)
        counted = torch.cat([targets >= 0, torch.ones_like(drawn.leaves, dtype=torch.bool)], dim=1)
        nodes = torch.zeros_like(leaves)
        tokens, cache, loss = None, None, torch.zeros(())
        for level, arrays in enumerate(self._levels):
            logits, cache = self._generator.step(level, tokens, memory, cache)
            if level == 0:  # one prefix, the start, for all targets of a user
                logits = logits.expand(-1, leaves.shape[1], -1)
            children = child_log_probs(logits, nodes, arrays)
            goal = self._teacher.child_probabilities(level, drawn.running, children)
            distilled = -(goal * children.log_probs).sum(-1)[counted].mean()
            taken = self._ancestors[level][leaves]
            chosen = (taken - arrays.child_start[nodes].long()).unsqueeze(-1)
            held_out = -children.log_probs.gather(-1, chosen).squeeze(-1)[real].sum() / real.sum().clamp(min=1)
            weight = self._settings.teacher_weight
            loss = loss + weight * distilled + (1 - weight) * held_out
            nodes, tokens = taken, arrays.tokens[taken]
        return loss
