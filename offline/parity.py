"""ONNX against torch: the same histories through both, on the dataset's own users."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.beam_decoder import BeamDecoder as TorchBeamDecoder
from offline.artefacts import Catalogue
from offline.dataset import Dataset
from offline.errors import JobError
from offline.trie_tensors import trie_levels
from service.contract.dead_nodes import DeadNodeFinder, pad_dead_nodes
from service.decoder import BeamDecoder, pad_histories

MAX_SCORE_DIFFERENCE = 1e-4
MIN_SAME_LISTS = 0.999
TIE = 1e-5
"""Candidates this close may change places (design, section 4, invariant 4)."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How close the two are, over `users` users; a list is the same when it differs in the order of ties at most."""

    users: int
    same_lists: float
    max_score_difference: float


def check_parity(
    torch_decoder: TorchBeamDecoder, decoder: BeamDecoder, catalogue: Catalogue, dataset: Dataset, max_users: int = 512
) -> Parity:
    """Decode the same users with both, their histories excluded.

    Raises:
        JobError: scores differ by more than 1e-4, or more than 0.1 % of the lists differ.
    """
    histories = dataset.histories("test")
    users = np.unique(np.linspace(0, dataset.num_users - 1, max_users).astype(np.int64))
    batch = [histories.of(int(user)) for user in users]
    beam_width = decoder.settings.beam_widths[0]
    served = decoder.decode(batch, batch, beam_width=beam_width)
    leaves, score = decode_with_torch(torch_decoder, catalogue, batch, beam_width)
    parity = compare(served.leaves, served.score, leaves, score)
    if parity.max_score_difference > MAX_SCORE_DIFFERENCE or parity.same_lists < MIN_SAME_LISTS:
        raise JobError(
            f"the exported decoder does not answer like torch: {parity}; the limits are {MAX_SCORE_DIFFERENCE} and "
            f"{MIN_SAME_LISTS}. Check the versions of torch, onnx and onnxruntime against constraints.txt"
        )
    return parity


def compare(
    leaves: npt.NDArray[np.int64],
    score: npt.NDArray[np.float32],
    other_leaves: npt.NDArray[np.int64],
    other_score: npt.NDArray[np.float32],
) -> Parity:
    """Compare two answers [B, W] to the same requests, the scores item by item."""
    same, difference = 0, 0.0
    for mine, my_score, others, their_score in zip(leaves, score, other_leaves, other_score, strict=True):
        theirs = dict(zip(others.tolist(), their_score.tolist(), strict=True))
        gaps = [
            abs(value - theirs[leaf]) for leaf, value in zip(mine.tolist(), my_score, strict=True) if leaf in theirs
        ]
        gap = max(gaps, default=0.0)
        moved = mine != others
        tied = gap <= MAX_SCORE_DIFFERENCE and bool((np.abs(my_score - their_score)[moved] <= TIE).all())
        same += set(mine.tolist()) == theirs.keys() and tied
        difference = max(difference, float(gap))
    return Parity(users=len(leaves), same_lists=same / len(leaves), max_score_difference=difference)


@torch.no_grad()
def decode_with_torch(
    decoder: TorchBeamDecoder, catalogue: Catalogue, histories: list[np.ndarray], beam_width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The slow way: leaf positions and scores [B, W] from the torch module, each history's own items excluded."""
    trie = catalogue.trie
    row_to_leaf = trie.row_to_leaf()
    finder = DeadNodeFinder(trie)
    dead = pad_dead_nodes([finder.find(np.unique(row_to_leaf[rows])) for rows in histories], trie.num_levels)
    leaves, _, score = decoder(
        torch.from_numpy(pad_histories(histories, decoder.generator.config.max_history)),
        torch.arange(beam_width),
        catalogue.items,
        torch.from_numpy(trie.leaf_to_row),
        tuple(map(torch.from_numpy, dead)),
        trie_levels(trie),
    )
    return leaves.numpy(), score.numpy()
