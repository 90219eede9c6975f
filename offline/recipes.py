"""Recipes: a Python function from a dataset's size to one complete, frozen configuration of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from offline.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class GraphSettings:
    """How the Graph RQ-VAE is trained.

    Attributes:
        num_steps: optimiser steps on the collaborative loss; the quantizer takes part in the last half ("joint").
        num_quantizer_steps: steps of the quantizer on frozen item vectors afterwards.
        quantization: "joint" trains graph and quantizer together, "two_stage" one after the other.
        quantization_weight: weight of the RQ-VAE losses beside the collaborative one when joint.
        text_dim: columns of the text vectors that are made when a dataset brings no features.
    """

    dim: int
    num_layers: int
    latent_dim: int
    num_steps: int
    num_quantizer_steps: int
    batch_users: int
    learning_rate: float = 0.005
    temperature: float = 0.2
    embedding_dropout: float = 0.1
    collaborative_loss: Literal["softmax", "bpr"] = "softmax"
    quantization: Literal["joint", "two_stage"] = "joint"
    quantization_weight: float = 0.1
    text_dim: int = 64


@dataclass(frozen=True, kw_only=True)
class RecIdSettings:
    """What Rec-IDs look like, and the floors below which a run fails.

    Attributes:
        num_levels: semantic levels.
        codebook_size: codes per level.
        bucket_bound: most items that may share all codes.
        popularity_headroom: popularity tokens kept free for items that come later.
        min_code_usage: smallest share of codes in use at any level that has enough items to tell apart.
    """

    num_levels: int
    codebook_size: int
    bucket_bound: int
    popularity_headroom: int
    min_code_usage: float = 0.5


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings:
    """How the generator is trained.

    Attributes:
        num_targets: held-out items per user and step.
        num_teacher_targets: items per user and step drawn from the graph encoder's distribution.
        teacher_weight: share of the distillation in both losses; the rest is the held-out items.
        teacher_temperature: of the cosine in the teacher's distribution; below the graph encoder's own it sharpens it.
    """

    dim: int
    num_heads: int
    num_layers: int
    feedforward_dim: int
    dropout: float
    max_history: int
    num_steps: int
    batch_users: int
    num_targets: int
    num_teacher_targets: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    teacher_weight: float = 0.7
    teacher_temperature: float = 0.12


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run; written into its folder."""

    name: str
    seed: int
    graph: GraphSettings
    rec_ids: RecIdSettings
    generator: GeneratorSettings
    beam_widths: tuple[int, ...] = (50, 10, 200)
    dense_weights: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def tiny(_dataset: Dataset, seed: int) -> Recipe:
    """For the built-in shop and for tests: small sizes, a minute of training."""
    return Recipe(
        name="tiny",
        seed=seed,
        graph=GraphSettings(
            dim=64,
            num_layers=2,
            latent_dim=32,
            num_steps=300,
            num_quantizer_steps=200,
            batch_users=128,
            temperature=0.3,
            embedding_dropout=0.9,
        ),
        rec_ids=RecIdSettings(num_levels=3, codebook_size=16, bucket_bound=8, popularity_headroom=8),
        generator=GeneratorSettings(
            dim=64,
            num_heads=4,
            num_layers=1,
            feedforward_dim=128,
            dropout=0.1,
            max_history=32,
            num_steps=500,
            batch_users=64,
            num_targets=4,
            num_teacher_targets=4,
            teacher_temperature=0.2,
        ),
    )


def standard(dataset: Dataset, seed: int) -> Recipe:
    """For any dataset folder: sizes follow the counts, order matters when there is time."""
    batch_users = min(1024, max(256, dataset.num_users // 16))
    rounds = 6 * (dataset.num_users // batch_users + 1)
    return Recipe(
        name="standard",
        seed=seed,
        graph=GraphSettings(
            dim=128,
            num_layers=2,
            latent_dim=64,
            num_steps=max(320, rounds),
            num_quantizer_steps=400,
            batch_users=batch_users,
        ),
        rec_ids=RecIdSettings(
            num_levels=3,
            codebook_size=_codebook_size(dataset.num_items),
            bucket_bound=8,
            popularity_headroom=8,
        ),
        generator=GeneratorSettings(
            dim=128,
            num_heads=4,
            num_layers=2,
            feedforward_dim=256,
            dropout=0.2,
            max_history=64,
            num_steps=max(1200, 8 * (dataset.num_users // 64 + 1)),
            batch_users=64,
            num_targets=4,
            num_teacher_targets=4,
        ),
    )


def _codebook_size(num_items: int) -> int:
    """The power of two at or above the square root of the item count, 8 to 512: `size³` then far exceeds the items."""
    size = 8
    while size < 512 and size * size < num_items:
        size *= 2
    return size


RECIPES: dict[str, Callable[[Dataset, int], Recipe]] = {"tiny": tiny, "standard": standard}
