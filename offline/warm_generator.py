"""The generator of a previous run as the start of the next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from model.generator import Generator, GeneratorConfig
from offline import progress
from offline.artefacts import Catalogue
from offline.dataset import Dataset
from offline.previous_run import PreviousRun, misfit
from offline.recipe_settings import Recipe
from offline.warm_codes import MIN_KEY_COSINE, key_cosine
from offline.warm_graph import share_of

SHAPE = (
    "vector_dim",
    "max_history",
    "ordered_history",
    "dim",
    "num_heads",
    "num_encoder_layers",
    "num_decoder_layers",
    "feedforward_dim",
    "attention",
)
SEQUENCE_ENCODER = "sequence_encoder."
OF_TOKENS = ("embeddings.", "heads.", "token_keys.")
"""Weights with a row for every token of a level."""


@dataclass(frozen=True, eq=False)
class GeneratorStart:
    """What the generator starts from.

    Attributes:
        weights: of the previous generator.
        same_tokens: whether the tokens mean what they meant there; if not, what is known of them starts cold.
        co_teacher_share: of what teaches beside the graph encoder; None where that is to be chosen.
        sequence_weights: of the previous sequence encoder; None where there was none of this shape.
        sequence_share: how far it moved history states, 0 where it was left out; None where that is to be chosen.
    """

    weights: Mapping[str, Tensor]
    same_tokens: bool
    co_teacher_share: float | None = None
    sequence_weights: Mapping[str, Tensor] | None = None
    sequence_share: float | None = None

    def shortened(self, recipe: Recipe) -> Recipe:
        """The recipe with what is left to do; what validation chose there is not chosen again."""
        warm, generator = recipe.warm, recipe.generator
        generator = replace(
            generator,
            num_steps=share_of(generator.num_steps, warm.generator_steps),
            learning_rate=generator.learning_rate * warm.generator_learning_rate,
        )
        if self.co_teacher_share is not None:
            shares = (self.co_teacher_share,)
            generator = replace(generator, transition_weights=shares, ease_weights=shares)
        if self.sequence_share is not None:
            generator = replace(generator, sequence_shares=(self.sequence_share,))
        if self.sequence_weights is not None:
            generator = replace(
                generator,
                num_sequence_steps=share_of(generator.num_sequence_steps, warm.generator_steps),
                sequence_learning_rate=generator.sequence_learning_rate * warm.generator_learning_rate,
            )
        return replace(recipe, generator=generator)

    @torch.no_grad()
    def take_over(self, generator: Generator) -> None:
        """Copy the weights; of a vocabulary that has another size, the tokens that both have.

        History state and sequence encoder are no weights of the generator's: they stay as they were made for it.
        """
        for name, tensor in generator.state_dict().items():
            if name.startswith(("history_state.", SEQUENCE_ENCODER)) or (
                name.startswith(OF_TOKENS) and not self.same_tokens
            ):
                continue
            before = self.weights[name]
            common = min(len(before), len(tensor))
            tensor[:common] = before[:common]


def generator_start(
    previous: PreviousRun, dataset: Dataset, catalogue: Catalogue, config: GeneratorConfig, codebooks: str
) -> GeneratorStart | None:
    """What a generator of that configuration starts from; says in one line where it starts cold.

    Args:
        previous: the previous run.
        dataset: of the new one.
        catalogue: of the new one.
        config: of the new generator.
        codebooks: "kept" or "new", as `rec_ids.json` of the new run has it.

    Raises:
        BadInputError: a file of the previous run is damaged.
    """
    there, weights = previous.generator()
    reason = misfit(there, asdict(config), SHAPE)
    if reason is None and (cosine := key_cosine(previous, dataset, catalogue.vectors.keys)) < MIN_KEY_COSINE:
        reason = f"keys are not where they were (mean cosine {cosine:.2f}, at least {MIN_KEY_COSINE} is needed)"
    if reason is not None:
        progress.say(f"generator: starts cold, because {reason}")
        return None
    same_tokens = codebooks == "kept"
    progress.say(
        f"generator: starts from the previous one{'' if same_tokens else ', but for its tokens, which are new'}"
    )
    share = previous.sequence_share()
    sequence_weights = _sequence_weights(there, weights, config, left_out=share == 0)
    if share and sequence_weights is None:
        share = None  # it was chosen for another encoder
    return GeneratorStart(weights, same_tokens, previous.co_teacher_share(), sequence_weights, share)


def _sequence_weights(
    there: Mapping[str, Any], weights: Mapping[str, Tensor], config: GeneratorConfig, *, left_out: bool
) -> dict[str, Tensor] | None:
    """Those of the previous sequence encoder; says in one line where there are none to go on from."""
    before = there.get("num_sequence_layers", 0)
    if not config.num_sequence_layers:
        return None
    if left_out:
        progress.say("sequence encoder: left out, as it was there")
        return None
    if before != config.num_sequence_layers:
        progress.say(f"sequence encoder: cannot go on from {before} layers with {config.num_sequence_layers}")
        return None
    return {
        name.removeprefix(SEQUENCE_ENCODER): weight
        for name, weight in weights.items()
        if name.startswith(SEQUENCE_ENCODER)
    }
