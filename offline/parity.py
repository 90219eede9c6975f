"""ONNX against torch: the same histories through both, on the dataset's own users."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.beam_decoder import BeamDecoder as TorchBeamDecoder
from model.beam_decoder import Constraints
from offline.artefacts import Catalogue
from offline.dataset import Dataset
from offline.errors import JobError
from offline.splits import HeldOutSplit
from offline.trie_tensors import trie_levels
from service.constraints import ItemFilter
from service.contract.decoder_graph import (
    BEAM_SLOTS,
    FILTER_SLOTS,
    HISTORY,
    ONLY_LISTED,
    allowed_name,
    listed_name,
)
from service.decoder import BeamDecoder

MAX_SCORE_DIFFERENCE = 1e-4
MIN_SAME_LISTS = 0.999
BATCH_USERS = 256
TIE = 1e-5
"""Candidates this close may change places (design, section 4, invariant 4)."""
RELATIVE_TIE = 1e-6
"""Beside it: eight steps of float32. A dense weight of 80 makes scores of 30, where a step is 2e-6."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How close the two are, over `users` users; a list is the same when it differs in the order of ties at most."""

    users: int
    same_lists: float
    max_score_difference: float


def check_parity(
    torch_decoder: TorchBeamDecoder, decoder: BeamDecoder, catalogue: Catalogue, dataset: Dataset, max_users: int = 3000
) -> Parity:
    """Decode the same users with both, their histories excluded.

    Raises:
        JobError: scores differ by more than 1e-4, or more than 0.1 % of the lists differ.
    """
    histories = some_histories(dataset, "test", max_users)
    beam_width = decoder.settings.beam_widths[0]
    parts = []
    for start in range(0, len(histories), BATCH_USERS):
        batch = histories[start : start + BATCH_USERS]
        filters = [ItemFilter(excluded=rows) for rows in batch]
        served = decoder.decode(batch, filters, beam_width=beam_width)
        leaves, _, score = decode_with_torch(torch_decoder, decoder, catalogue, batch, filters, beam_width)
        parts.append((served.leaves, served.score, leaves, score))
    # A float32 has 24 bits: a cosine that is weighted a hundredfold cannot be as near as one that is not.
    limit = MAX_SCORE_DIFFERENCE * max(1.0, decoder.settings.dense_weight / 20)
    leaves, score, other_leaves, other_score = map(np.concatenate, zip(*parts, strict=True))
    parity = compare(leaves, score, other_leaves, other_score, limit)
    if parity.max_score_difference > limit or parity.same_lists < MIN_SAME_LISTS:
        raise JobError(
            f"the exported decoder does not answer like torch: {parity}; the limits are {limit:g} and "
            f"{MIN_SAME_LISTS}. Check the versions of torch, onnx and onnxruntime against constraints.txt"
        )
    return parity


def some_histories(dataset: Dataset, split: HeldOutSplit, count: int) -> list[npt.NDArray[np.int64]]:
    """Histories of up to `count` users, evenly over the dataset."""
    histories = dataset.histories(split)
    users = np.unique(np.linspace(0, dataset.num_users - 1, count).astype(np.int64))
    return [histories.of(int(user)) for user in users]


def compare(
    leaves: npt.NDArray[np.int64],
    score: npt.NDArray[np.float32],
    other_leaves: npt.NDArray[np.int64],
    other_score: npt.NDArray[np.float32],
    limit: float = MAX_SCORE_DIFFERENCE,
) -> Parity:
    """Compare two answers [B, W] to the same requests, the scores item by item; `limit` is how much they may differ."""
    same, difference = 0, 0.0
    for mine, my_score, others, their_score in zip(leaves, score, other_leaves, other_score, strict=True):
        theirs = dict(zip(others.tolist(), their_score.tolist(), strict=True))
        gaps = [
            abs(value - theirs[leaf]) for leaf, value in zip(mine.tolist(), my_score, strict=True) if leaf in theirs
        ]
        gap = max(gaps, default=0.0)
        moved = mine != others
        close = np.isclose(my_score, their_score, rtol=RELATIVE_TIE, atol=TIE)
        same += set(mine.tolist()) == theirs.keys() and gap <= limit and bool(close[moved].all())
        difference = max(difference, float(gap))
    return Parity(users=len(leaves), same_lists=same / len(leaves), max_score_difference=difference)


@torch.no_grad()
def decode_with_torch(
    torch_decoder: TorchBeamDecoder,
    decoder: BeamDecoder,
    catalogue: Catalogue,
    histories: list[np.ndarray],
    filters: list[ItemFilter],
    beam_width: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The slow way: leaf positions, `log_prob` and `score` [B, W] by torch, from the arrays that `decoder` makes."""
    arrays = decoder.inputs(histories, filters, beam_width) | decoder.constraints.static_inputs()
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    levels = range(catalogue.trie.num_levels)
    answer = torch_decoder(
        tensors[HISTORY],
        tensors[BEAM_SLOTS],
        Constraints(
            tensors[FILTER_SLOTS],
            tensors[ONLY_LISTED],
            tuple(tensors[listed_name(level)] for level in levels),
            tuple(tensors[allowed_name(level)] for level in levels),
        ),
        catalogue.items,
        torch.from_numpy(catalogue.trie.leaf_to_row),
        trie_levels(catalogue.trie),
    )
    leaves, log_prob, score = (part.numpy() for part in answer)
    return leaves, log_prob, score
