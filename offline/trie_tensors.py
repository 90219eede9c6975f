"""The trie's arrays as the tensors that the model's functions take."""

import torch

from model.trie_softmax import TrieLevel
from service.contract.trie import Trie


def trie_levels(trie: Trie) -> tuple[TrieLevel, ...]:
    """One `TrieLevel` per level of the Rec-ID."""
    return tuple(
        TrieLevel(torch.from_numpy(starts), torch.from_numpy(tokens), torch.arange(width))
        for starts, tokens, width in zip(trie.child_start, trie.padded_tokens(), trie.widths, strict=True)
    )
