"""What a recipe decides: one frozen dataclass for each part of a run."""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from model.graph_encoder import Content


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
        num_alignment_steps: steps in which the content of an aligned member learns to stand in for its keys.
        embedding_dropout: how often an item goes without its free embeddings, where content is fused with them.
        history_dropout: how often an item is left out of a prefix, with time only.
        context_smoothing: share of its nearest items' contexts in an item's own, once the members are joined.
        max_candidates: items that the softmax runs over; a larger catalogue is sampled.
        fan_out: neighbours of a row at every hop through the graph, drawn anew at each step (model.sampled_graph);
            0 = all of them.
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
    num_alignment_steps: int = 300
    learning_rate: float = 0.005
    temperatures: tuple[float, ...] = (0.2,)
    embedding_dropout: float = 0.1
    history_dropout: float = 0.1
    context_smoothing: float = 0.0
    max_candidates: int = 32768
    fan_out: int = 0
    collaborative_loss: Literal["softmax", "bpr"] = "softmax"
    quantization: Literal["joint", "two_stage"] = "two_stage"
    quantization_weight: float = 0.1
    without_modalities: tuple[str, ...] = ()
    text_dim: int = 64

    def __post_init__(self) -> None:
        _require_choices(self)
        if self.fan_out < 0 or (self.fan_out and self.quantization == "joint"):
            raise ValueError(
                f"fan_out={self.fan_out} with quantization={self.quantization!r}: it must be 0 (the whole graph) or "
                "more, and 0 where the codes of all items are trained at every step"
            )
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
        transition_weights: shares of transition counts in the teacher, with time only; the first, unless validation
            clearly prefers another.
        ease_weights: shares of EASE, without time only; likewise.
        attention: of the encoder (model.generator).
        num_sequence_layers: of the sequence encoder, with time only; 0 = there is none.
        num_sequence_steps: of its training.
        sequence_teacher_weight: share of the teacher in its loss; the rest is the held-out items.
        sequence_learning_rate: the highest of its training.
        sequence_shares: how much of the way it moves states when it is trained; the first, unless validation clearly
            prefers another. 0 leaves it out.

    Raises:
        ValueError: a switch on no position, or a sequence encoder without steps.
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
    transition_weights: tuple[float, ...] = (0.2, 0.0, 0.4, 0.6, 0.8, 1.0)
    ease_weights: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    attention: Literal["relation", "absolute", "plain"] = "relation"
    num_sequence_layers: int = 0
    num_sequence_steps: int = 0
    sequence_teacher_weight: float = 0.9
    sequence_learning_rate: float = 1e-3
    sequence_shares: tuple[float, ...] = (0.5, 1.0, 0.0)

    def __post_init__(self) -> None:
        _require_choices(self)
        if self.num_sequence_layers and self.num_sequence_steps < 1:
            raise ValueError(
                f"num_sequence_steps={self.num_sequence_steps} with num_sequence_layers={self.num_sequence_layers}: a "
                "sequence encoder needs at least 1 step; 0 layers leave it out"
            )


@dataclass(frozen=True, kw_only=True)
class WarmSettings:
    """What is left of a training that starts from a previous run, as shares of the recipe's own figures.

    Attributes:
        graph_steps: of the steps of the graph encoder, and of the alignment of its content.
        graph_learning_rate: of its learning rate.
        quantizer_steps: of the steps of the quantizer.
        generator_steps: of the steps of the generator.
        generator_learning_rate: of its highest learning rate.
        code_margin: how much farther an item's latent vector may be from its old codes than from the nearest until it
            moves, in squared distance, as a share of the variance of all latent vectors.

    Raises:
        ValueError: a share outside 0 to 1, or a negative margin.
    """

    graph_steps: float = 0.25
    graph_learning_rate: float = 0.5
    quantizer_steps: float = 0.0
    generator_steps: float = 0.25
    generator_learning_rate: float = 0.3
    code_margin: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0 or (value > 1 and name != "code_margin"):
                raise ValueError(f"{name}={value} is no share; it must be at least 0, and at most 1 but for the margin")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run; written into its folder.

    Attributes:
        beam_widths: tiers of the served decoder; the first is the default.
        dense_weights: of the dense term in the score; the first, unless validation clearly prefers another.
        warm: what changes where a run starts from a previous one.
    """

    name: str
    seed: int
    graph: GraphSettings
    rec_ids: RecIdSettings
    generator: GeneratorSettings
    beam_widths: tuple[int, ...] = (50, 10, 200)
    dense_weights: tuple[float, ...] = (40.0, 0.0, 2.0, 5.0, 10.0, 20.0, 80.0, 160.0)
    warm: WarmSettings = WarmSettings()
