"""ONNX against torch: the same histories through both, on the dataset's own users."""

from dataclasses import dataclass

import numpy as np
import torch

from model.beam_decoder import BeamDecoder as TorchBeamDecoder
from offline.artefacts import Catalogue
from offline.dataset import Dataset
from offline.errors import JobError
from offline.trie_tensors import trie_levels
from service.contract.dead_nodes import DeadNodeFinder, pad_dead_nodes
from service.decoder import BeamDecoder, pad_histories

MAX_SCORE_DIFFERENCE = 1e-4
MIN_IDENTICAL_LISTS = 0.99
"""Lists may differ where two candidates are within 1e-5 of each other at some level."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How close the two are, over `users` users."""

    users: int
    identical_lists: float
    max_score_difference: float


def check_parity(
    torch_decoder: TorchBeamDecoder, decoder: BeamDecoder, catalogue: Catalogue, dataset: Dataset, max_users: int = 256
) -> Parity:
    """Decode the same users with both, their histories excluded.

    Raises:
        JobError: scores differ by more than 1e-4, or more than 1 % of the lists differ.
    """
    histories = dataset.histories("test")
    users = np.unique(np.linspace(0, dataset.num_users - 1, max_users).astype(np.int64))
    batch = [histories.of(int(user)) for user in users]
    beam_width = decoder.settings.beam_widths[0]
    served = decoder.decode(batch, batch, beam_width=beam_width)
    leaves, score = decode_with_torch(torch_decoder, catalogue, batch, beam_width)
    parity = Parity(
        users=len(users),
        identical_lists=float((served.leaves == leaves).all(axis=1).mean()),
        max_score_difference=float(np.abs(served.score - score)[served.leaves >= 0].max(initial=0.0)),
    )
    if parity.max_score_difference > MAX_SCORE_DIFFERENCE or parity.identical_lists < MIN_IDENTICAL_LISTS:
        raise JobError(
            f"the exported decoder does not answer like torch: {parity}; the limits are {MAX_SCORE_DIFFERENCE} and "
            f"{MIN_IDENTICAL_LISTS}. Check the versions of torch, onnx and onnxruntime against constraints.txt"
        )
    return parity


@torch.no_grad()
def decode_with_torch(
    decoder: TorchBeamDecoder, catalogue: Catalogue, histories: list[np.ndarray], beam_width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The slow way: leaf positions and scores [B, W] from the torch module, each history's own items excluded."""
    trie = catalogue.trie
    row_to_leaf = np.empty(trie.num_items, np.int64)
    row_to_leaf[trie.leaf_to_row] = np.arange(trie.num_items)
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
