"""The codes of a previous run as the start of the next: the same codebooks, and items that stay where they were.

Letters: N = items, L = semantic levels, V = codebook size, Z = latent width.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from offline import progress
from offline.dataset import Dataset
from offline.previous_run import PreviousRun, misfit
from offline.recipe_settings import Recipe
from service.contract.rec_id import Int32Array

SHAPE = ("num_levels", "codebook_size", "dim", "latent_dim")
PARTS = ("encoder.", "quantizer.", "decoder.")

MIN_KEY_COSINE: Final = 0.5
"""Mean cosine of an item's key with its previous one below which codebooks and generator start cold: they know keys by
their coordinates (docs/experiments.md)."""


@dataclass(frozen=True, eq=False)
class CodesStart:
    """What the codes start from.

    Attributes:
        weights: of the previous quantizer and of what is around it.
        codes: int32 [N, L], -1 where an item is new.
    """

    weights: Mapping[str, Tensor]
    codes: Int32Array

    def shortened(self, recipe: Recipe) -> Recipe:
        """The recipe with what is left to do."""
        steps = round(recipe.graph.num_quantizer_steps * recipe.warm.quantizer_steps)
        return replace(recipe, graph=replace(recipe.graph, num_quantizer_steps=steps))

    @torch.no_grad()
    def take_over(self, model: GraphRQVAE) -> None:
        """Copy codebooks, encoder and decoder."""
        for name, tensor in model.state_dict().items():
            if name.startswith(PARTS):
                tensor.copy_(self.weights[name])

    @property
    def in_use(self) -> Tensor:
        """Which codes of each level have an item of the previous run: bool [L, V]."""
        used = torch.zeros(self.weights["quantizer.codebooks"].shape[:2], dtype=torch.bool)
        for level, codes in enumerate(self.codes.T):
            used[level, torch.from_numpy(codes[codes >= 0]).long()] = True
        return used


def key_cosine(previous: PreviousRun, dataset: Dataset, keys: Tensor) -> float:
    """Mean cosine of keys [N, D] with those of the previous run, over the items of both; 0 where nothing compares."""
    rows, before = torch.from_numpy(previous.rows_of(dataset.item_ids)), previous.keys()
    shared = rows >= 0
    if not shared.any() or before.shape[1] != keys.shape[1]:
        return 0.0
    return float((keys[shared] * before[rows[shared]]).sum(-1).mean())


def codes_start(
    previous: PreviousRun, dataset: Dataset, keys: Tensor, config: GraphRQVAEConfig, recipe: Recipe
) -> CodesStart | None:
    """What the codes of a graph encoder with these keys [N, D] start from; says in one line where they start cold.

    Raises:
        BadInputError: a file of the previous run is damaged.
    """
    there, weights = previous.graph_rqvae()
    here = {**asdict(config), **asdict(recipe.rec_ids)}
    reason = misfit(there, here, SHAPE) or misfit(previous.recipe["rec_ids"], here, ("source",))
    if recipe.graph.quantization == "joint" or recipe.rec_ids.source != "graph":
        reason = "they are not made of finished keys"
    elif reason is None and (cosine := key_cosine(previous, dataset, keys)) < MIN_KEY_COSINE:
        reason = f"keys are not where they were (mean cosine {cosine:.2f}, at least {MIN_KEY_COSINE} is needed)"
    if reason is not None:
        progress.say(f"codes: start cold, because {reason}")
        return None
    rows = previous.rows_of(dataset.item_ids)
    codes = np.where(rows[:, None] >= 0, previous.rec_ids()[rows.clip(min=0), :-1], -1).astype(np.int32)
    progress.say("codes: start from the codebooks of the previous run")
    return CodesStart({name: weights[name] for name in weights if name.startswith(PARTS)}, codes)


def kept_shares(previous: PreviousRun, dataset: Dataset, rec_ids: Int32Array) -> tuple[float, float] | None:
    """Shares of the items of both runs that kept their codes, and their whole Rec-IDs [N, L + 1]; None without any."""
    rows, before = previous.rows_of(dataset.item_ids), previous.rec_ids()
    shared = rows >= 0
    if not shared.any():
        return None
    if before.shape[1] != rec_ids.shape[1]:
        return 0.0, 0.0
    same = before[rows[shared]] == rec_ids[shared]
    return float(same[:, :-1].all(axis=1).mean()), float(same.all(axis=1).mean())
