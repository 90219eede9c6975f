"""Train the generator: held-out items and the teachers' distribution, as tokens along the trie."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.generator import Generator, GeneratorConfig, Memory
from model.sequence_encoder import SequenceEncoder
from model.trie_softmax import child_log_probs
from offline import progress
from offline.artefacts import Catalogue
from offline.dataset import Dataset
from offline.devices import CPU, moved
from offline.optimise import Learner, one_cycle
from offline.processes import current, require_enough, share
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
        num_sequence_layers=settings.num_sequence_layers if dataset.has_time else 0,
    )


def train_generator(
    dataset: Dataset,
    catalogue: Catalogue,
    recipe: Recipe,
    teacher: Teacher,
    start: GeneratorStart | None = None,
    encoder: SequenceEncoder | None = None,
) -> Generator:
    """Train on the training interactions; item vectors, history state and sequence encoder stay as they are.

    Args:
        dataset: validated dataset.
        catalogue: its Rec-IDs and vectors.
        recipe: sizes and steps.
        teacher: see `offline.teacher_choice`.
        start: weights of a previous run; they are taken over, the steps are the recipe's.
        encoder: trained sequence encoder, or None.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    settings = recipe.generator
    require_enough("generator", settings.batch_users)
    torch.manual_seed(recipe.seed)
    generator = _untrained(generator_config(dataset, catalogue, settings), catalogue, encoder)
    if start is not None:
        start.take_over(generator)
    device = current().device
    generator, teacher = generator.to(device), teacher.to(device)
    optimiser, schedule = one_cycle(generator, settings.learning_rate, settings.weight_decay, settings.num_steps)
    batches = iter(
        BatchSampler(
            dataset.histories("valid"),
            ordered=dataset.has_time,
            batch_users=settings.batch_users,
            max_history=settings.max_history,
            num_targets=settings.num_targets,
            seed=recipe.seed,
            num_teacher_targets=settings.num_teacher_targets,
        )
    )
    learner = Learner(GeneratorLoss(generator, catalogue, teacher, settings), optimiser, "generator")
    generator.train()
    if generator.sequence_encoder is not None:
        generator.sequence_encoder.eval()  # its states are the teacher's, too
    with progress.task("generator", settings.num_steps) as task:
        for _ in range(settings.num_steps):
            loss = learner.step(parts_of(next(batches)))
            schedule.step()
            task.advance(loss=loss)
    return generator.to(CPU).eval()


def _untrained(config: GeneratorConfig, catalogue: Catalogue, encoder: SequenceEncoder | None) -> Generator:
    """The generator with all that it does not learn, and its token keys started as what tokens say of items."""
    generator = Generator(replace(config, num_sequence_layers=config.num_sequence_layers if encoder else 0))
    generator.history_state.load_state_dict(catalogue.history_state.state_dict())
    if generator.sequence_encoder is not None and encoder is not None:
        generator.sequence_encoder.load_state_dict(encoder.state_dict())
        generator.sequence_encoder.requires_grad_(False)
    rec_ids = torch.from_numpy(catalogue.trie.rec_ids()[catalogue.trie.row_to_leaf()]).long()
    generator.start_token_keys(rec_ids, catalogue.vectors.keys, 1 / catalogue.temperature)
    return generator


class GeneratorPart(NamedTuple):
    """A part of a batch, and how many targets the whole has: the means are over those.

    Attributes:
        batch: some of its users.
        held_out: targets of the whole that are held-out items.
        counted: those, and the teacher's.
        weight: 1; 0 where the part is empty and somebody else's user stands in it.
    """

    batch: Batch
    held_out: int
    counted: int
    weight: float = 1.0


def parts_of(batch: Batch) -> list[GeneratorPart]:
    """This process's parts of a batch."""
    held_out, processes, parts = int((batch.targets >= 0).sum()), current(), []
    for part in processes.parts:
        users = share(len(batch.users), part, processes.num_parts)
        is_empty = users.start == users.stop
        # Whoever has nothing to do computes for nothing, so that everybody does the same.
        some = batch.of(slice(0, 1) if is_empty else users)
        parts.append(GeneratorPart(some, held_out, held_out + batch.draws.size, 0.0 if is_empty else 1.0))
    return parts


class GeneratorLoss(nn.Module):
    """The token loss of a part of a batch; those of all parts add up to the loss of the batch."""

    def __init__(
        self, generator: Generator, catalogue: Catalogue, teacher: Teacher, settings: GeneratorSettings
    ) -> None:
        super().__init__()
        self.generator = generator
        self._settings = settings
        self._teacher = teacher
        self._device = generator.start.device
        # Ancestor of every leaf at every depth: which child of which node a target takes.
        starts = catalogue.trie.leaf_starts()[1:]
        leaves = np.arange(catalogue.trie.num_items)
        ancestors = tuple(torch.from_numpy(np.searchsorted(at, leaves, side="right") - 1) for at in starts)
        arrays = (
            catalogue.items,
            trie_levels(catalogue.trie),
            torch.from_numpy(catalogue.trie.row_to_leaf()),
            ancestors,
        )
        self._items, self._levels, self._row_to_leaf, self._ancestors = moved(arrays, self._device)

    def forward(self, part: GeneratorPart) -> Tensor:
        """Cross-entropy summed over the levels, a scalar.

        The teacher is asked about the very history that the generator sees, so it cannot give away what is held out.
        """
        history, targets, draws = (torch.from_numpy(each).to(self._device) for each in part.batch[1:])
        with self._rounded():
            memory = self.generator.encode(self._items[history.clamp(min=0)], history >= 0)
        drawn = self._teacher.draw(self._teacher.probabilities(self._state(history, memory), history), draws)
        leaves = torch.cat([self._row_to_leaf[targets.clamp(min=0)], drawn.leaves], dim=1)  # (B, T)
        held_out = F.pad(targets >= 0, (0, drawn.leaves.shape[1]))  # (B, T)
        counted = F.pad(targets >= 0, (0, drawn.leaves.shape[1]), value=True)
        nodes, tokens, cache, loss = torch.zeros_like(leaves), None, None, torch.zeros((), device=self._device)
        for level, arrays in enumerate(self._levels):
            with self._rounded():
                logits, cache = self.generator.step(level, tokens, memory, cache)
            if level == 0:  # one prefix, the start, for all targets of a user
                logits = logits.expand(-1, leaves.shape[1], -1)
            children = child_log_probs(logits.to(self._items.dtype), nodes, arrays)
            goal = self._teacher.child_probabilities(level, drawn.running, children)
            taken = self._ancestors[level][leaves]
            chosen = (taken - arrays.child_start[nodes].long()).unsqueeze(-1)
            found = children.log_probs.gather(-1, chosen).squeeze(-1)
            distilled = (goal * children.log_probs).sum(-1)[counted].sum() / max(part.counted, 1)
            loss = loss + self._blend(distilled, found[held_out].sum() / max(part.held_out, 1))
            nodes, tokens = taken, arrays.tokens[taken]
        return loss * part.weight

    def _rounded(self) -> torch.autocast:
        """On a CUDA device the Transformer multiplies in bfloat16; weights, losses and the teacher stay float32."""
        return torch.autocast("cuda", torch.bfloat16, enabled=self._device.type == "cuda")

    def _state(self, history: Tensor, memory: Memory) -> Tensor:
        """The history states [B, D] as the teacher wants them, which were rounded where the Transformer is."""
        if self._device.type != "cuda":
            return memory.state
        vectors = self._items[history.clamp(min=0)]
        return self.generator.state(vectors, (history >= 0).to(vectors.dtype))

    def _blend(self, distilled: Tensor, held_out: Tensor) -> Tensor:
        """Cross-entropy from mean log-likelihoods under the teacher and of held-out items; a batch may lack either."""
        weight = self._settings.teacher_weight
        return -weight * distilled - (1 - weight) * held_out
