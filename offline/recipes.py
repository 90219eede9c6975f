"""Recipes: a Python function from a dataset's size to one complete, frozen configuration of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from model.graph_encoder import Content
from offline.dataset import Dataset


def _require_choices(settings: Any) -> None:
    """Refuse a switch that stands on no position: whoever reads it would take it for one of the others.

    Raises:
        ValueError: a field of a `Literal` type has another value.
    """
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if get_origin(kind) is tuple:  # of any number of switches
            kind, values = get_args(kind)[0], value
        else:
            values = (value,)
        if get_origin(kind) is Literal and not set(values) <= set(get_args(kind)):
            raise ValueError(f"{name}={value!r} is none of {get_args(kind)}")


@dataclass(frozen=True, kw_only=True)
class GraphSettings:
    """How the Graph RQ-VAE is trained.

    Attributes:
        dim: columns of an item's key and of its context.
        members: independent graph encoders, by their use of the content (model.graph_encoder); what they say is joined.
        member_dim: columns of each.
        num_steps: optimiser steps on the collaborative loss; the quantizer takes part in the last half ("joint").
        num_quantizer_steps: steps of the quantizer on frozen keys afterwards.
        embedding_dropout: how often an item goes without its free embeddings, where content is fused with them.
        history_dropout: how often an item is left out of a prefix, with time only.
        max_candidates: items that the softmax runs over; a larger catalogue is sampled.
        temperatures: of the cosine softmax; the first, unless validation clearly prefers another.
        quantization: "joint" trains graph and quantizer together, "two_stage" one after the other.
        quantization_weight: weight of the RQ-VAE losses beside the collaborative one when joint.
        without_modalities: features that are left unused.
        text_dim: columns of the text vectors that are made when a dataset brings no features.
    """

    dim: int
    members: tuple[Content, ...]
    member_dim: int
    num_layers: int
    latent_dim: int
    num_steps: int
    num_quantizer_steps: int
    batch_users: int
    learning_rate: float = 0.005
    temperatures: tuple[float, ...] = (0.2,)
    embedding_dropout: float = 0.1
    history_dropout: float = 0.1
    max_candidates: int = 32768
    collaborative_loss: Literal["softmax", "bpr"] = "softmax"
    quantization: Literal["joint", "two_stage"] = "two_stage"
    quantization_weight: float = 0.1
    without_modalities: tuple[str, ...] = ()
    text_dim: int = 64

    def __post_init__(self) -> None:
        _require_choices(self)
        if self.quantization == "joint" and len(self.members) * self.member_dim != self.dim:
            raise ValueError(
                f"quantization='joint' needs keys that no projection has to wait for: one member of dim={self.dim} "
                f"columns, and not {len(self.members)} of {self.member_dim}"
            )


@dataclass(frozen=True, kw_only=True)
class RecIdSettings:
    """What Rec-IDs look like, and the floors below which a run fails.

    Attributes:
        num_levels: semantic levels.
        codebook_size: codes per level.
        bucket_bound: most items that may share all codes.
        popularity_headroom: popularity tokens kept free for items that come later.
        source: what is quantised: the keys of the graph encoder, or, for ablations, content or noise.
        min_code_usage: smallest share of codes in use at any level that has enough items to tell apart.
    """

    num_levels: int
    codebook_size: int
    bucket_bound: int
    popularity_headroom: int
    min_code_usage: float = 0.5
    source: Literal["graph", "content", "random"] = "graph"

    def __post_init__(self) -> None:
        _require_choices(self)


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings:
    """How the generator is trained.

    Attributes:
        num_targets: held-out items per user and step.
        num_teacher_targets: items per user and step drawn from the teacher's distribution.
        teacher_weight: share of the distillation in the loss; the rest is the held-out items.
        teacher_temperature: of the cosine in the teacher's distribution, as a multiple of the graph encoder's own;
            below 1 it sharpens it.
        transition_weights: shares of transition counts in the teacher that validation chooses from, with time only.
        attention: of the encoder (model.generator).
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
    teacher_weight: float = 0.95
    teacher_temperature: float = 0.6
    transition_weights: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    attention: Literal["relation", "absolute", "plain"] = "relation"

    def __post_init__(self) -> None:
        _require_choices(self)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run; written into its folder."""

    name: str
    seed: int
    graph: GraphSettings
    rec_ids: RecIdSettings
    generator: GeneratorSettings
    beam_widths: tuple[int, ...] = (50, 10, 200)
    dense_weights: tuple[float, ...] = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)


def tiny(_dataset: Dataset, seed: int) -> Recipe:
    """For the built-in shop and for tests: small sizes, a minute of training."""
    return Recipe(
        name="tiny",
        seed=seed,
        graph=GraphSettings(
            dim=64,
            members=("fused",),
            member_dim=64,
            num_layers=2,
            latent_dim=32,
            num_steps=300,
            num_quantizer_steps=200,
            batch_users=128,
            temperatures=(0.3,),
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
            teacher_temperature=0.67,
        ),
    )


def standard(dataset: Dataset, seed: int) -> Recipe:
    """For any dataset folder: sizes follow the counts, order matters when there is time."""
    smallest, largest = (32, 256) if dataset.has_time else (512, 1024)
    batch_users = min(largest, max(smallest, dataset.num_users // 16))
    return Recipe(
        name="standard",
        seed=seed,
        graph=GraphSettings(
            dim=128,
            members=_members(len(dataset.train.users)),
            member_dim=64,
            num_layers=2,
            latent_dim=64,
            num_steps=_graph_steps(dataset, batch_users),
            num_quantizer_steps=400,
            batch_users=batch_users,
            temperatures=(0.1, 0.2) if dataset.has_time else (0.2, 0.1),
            max_candidates=4096 if dataset.has_time else 32768,
        ),
        rec_ids=_rec_ids(dataset.num_items),
        generator=GeneratorSettings(
            dim=128,
            num_heads=4,
            num_layers=2,
            feedforward_dim=256,
            dropout=0.2,
            max_history=64,
            num_steps=max(800, 8 * (dataset.num_users // 64 + 1)),
            # The teacher's distribution is dense in the catalogue: with millions of items fewer users share a batch.
            batch_users=min(64, max(4, 2**26 // dataset.num_items)),
            num_targets=4,
            num_teacher_targets=4,
            learning_rate=3e-3,
        ),
    )


def _graph_steps(dataset: Dataset, batch_users: int) -> int:
    """Five rounds over the users, 320 steps at least; sets go on for as long as the data bears it.

    What bounds them is how often an average item was taken: with 31 interactions an item (`lastfm-2k`) 640 steps are
    better than 320, with 9 (`tiktok`) 320 are better than 640 (docs/experiments.md).
    """
    rounds = max(320, 5 * (dataset.num_users // batch_users + 1))
    if dataset.has_time:
        return rounds
    return max(rounds, min(1280, 20 * len(dataset.train.users) // dataset.num_items))


def _members(num_interactions: int) -> tuple[Content, ...]:
    """As many of each kind. They are worth most where interactions are few, and cost least (docs/experiments.md)."""
    pairs = 4 if num_interactions < 2**17 else 2 if num_interactions < 2**20 else 1
    return ("fused", "aligned") * pairs


def _rec_ids(num_items: int) -> RecIdSettings:
    """Few levels of many codes: what a level's head says of a token is exact, what tokens say together is learned.

    About eight items per first code, 8 to 512 codes; a second level suffices up to 32 items per first code, and three
    levels of 512 name 134 million items.
    """
    size = 8
    while size < 512 and size * 8 < num_items:
        size *= 2
    num_levels = 2 if num_items <= 32 * size else 3
    return RecIdSettings(num_levels=num_levels, codebook_size=size, bucket_bound=8, popularity_headroom=8)


def paper(dataset: Dataset, seed: int) -> Recipe:
    """The settings of MMGRec as published (arXiv 2404.16555 and its code), as far as they are known.

    BPR on two layers, items from content alone (where there is any), 3 × 128 codes, quantised after the graph is
    trained, a generator of width 64 that learns from held-out items only, no dense term. Not reproduced: SGD with
    momentum (AdamW here), free user embeddings (users are sums of contexts), the target inside the encoder's set.
    """
    num_pairs = len(dataset.train.users)
    return Recipe(
        name="paper",
        seed=seed,
        graph=GraphSettings(
            dim=64,
            members=("fused",),
            member_dim=64,
            num_layers=2,
            latent_dim=4,
            num_steps=max(100, 60 * num_pairs // 3000),
            num_quantizer_steps=600,
            batch_users=max(16, 3000 * dataset.num_users // max(num_pairs, 1)),
            learning_rate=1e-3,
            temperatures=(1.0,),
            embedding_dropout=1.0 if dataset.features else 0.0,
            collaborative_loss="bpr",
        ),
        rec_ids=RecIdSettings(
            num_levels=3, codebook_size=128, bucket_bound=64, popularity_headroom=8, min_code_usage=0.0
        ),
        generator=GeneratorSettings(
            dim=64,
            num_heads=4,
            num_layers=2,
            feedforward_dim=64,
            dropout=0.2,
            max_history=32,
            num_steps=max(1200, 20 * num_pairs // 256),
            batch_users=64,
            num_targets=4,
            num_teacher_targets=0,
            teacher_weight=0.0,
            transition_weights=(0.0,),
        ),
        dense_weights=(0.0,),
    )


RECIPES: dict[str, Callable[[Dataset, int], Recipe]] = {"tiny": tiny, "standard": standard, "paper": paper}
