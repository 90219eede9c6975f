"""The Rec-ID: what it is made of and when it is legal.

Glossary (design, section 1; one word per idea, everywhere):
    level             position in a Rec-ID, 0-based
    code              index into the codebook of one semantic level
    popularity token  last part: 0 = the most interacted item among those with equal codes
    token             a code or a popularity token: what one decoding step writes
    Rec-ID            (code, ..., code, popularity token), unique for every item
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class RecIdSpace:
    """How many tokens each level of a Rec-ID may take.

    Args:
        codebook_sizes: number of codes of each semantic level.
        popularity_size: vocabulary of the popularity token, headroom for later items included.

    Raises:
        ValueError: no semantic level, a size below 1, or Rec-IDs that need more than 62 bits.
    """

    codebook_sizes: tuple[int, ...]
    popularity_size: int

    def __post_init__(self) -> None:
        if not self.codebook_sizes:
            raise ValueError("codebook_sizes is empty; a Rec-ID needs at least one semantic level")
        for level, size in enumerate(self.vocabulary_sizes):
            if size < 1:
                raise ValueError(f"level {level} has a vocabulary of {size} tokens; it must be at least 1")
        if sum(self.token_bits) > 62:
            raise ValueError(f"a Rec-ID of {self.vocabulary_sizes} needs over 62 bits; use fewer levels or codes")

    @property
    def vocabulary_sizes(self) -> tuple[int, ...]:
        """Tokens of every level, the popularity level last."""
        return (*self.codebook_sizes, self.popularity_size)

    @property
    def num_levels(self) -> int:
        """Length of a Rec-ID: semantic levels plus one."""
        return len(self.codebook_sizes) + 1

    @property
    def token_bits(self) -> tuple[int, ...]:
        """Bits that a token of each level takes in a packed key."""
        return tuple(max(1, (size - 1).bit_length()) for size in self.vocabulary_sizes)


def popularity_tokens(codes: Int32Array, counts: npt.NDArray[np.integer], item_ids: Sequence[str]) -> Int32Array:
    """Rank items with equal codes by training interactions, most first, ties by item id (MMGRec, section on Rec-ID).

    Args:
        codes: int32 [num_items, num_semantic_levels].
        counts: [num_items], number of training interactions.
        item_ids: num_items strings.

    Returns:
        int32 [num_items], 0 for the most interacted item of each bucket.
    """
    num_items = len(codes)
    id_order = np.empty(num_items, np.int64)
    id_order[np.argsort(np.asarray(item_ids, dtype=object), kind="stable")] = np.arange(num_items)
    order = np.lexsort((id_order, -counts.astype(np.int64), *codes.T[::-1]))
    ordered = codes[order]
    starts = np.ones(num_items, bool)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    positions = np.arange(num_items)
    bucket_start = np.maximum.accumulate(np.where(starts, positions, 0))
    tokens = np.empty(num_items, np.int32)
    tokens[order] = positions - bucket_start
    return tokens


def pack_rec_ids(rec_ids: Int32Array, space: RecIdSpace) -> npt.NDArray[np.int64]:
    """Pack each Rec-ID into one integer whose order is the order of Rec-IDs.

    Args:
        rec_ids: int32 [num_items, num_levels].
        space: the sizes that the tokens must respect.

    Returns:
        int64 [num_items].

    Raises:
        ValueError: wrong number of levels, or a token outside its level's vocabulary.
    """
    if rec_ids.ndim != 2 or rec_ids.shape[1] != space.num_levels:
        raise ValueError(f"Rec-IDs have shape {rec_ids.shape}; expected [num_items, {space.num_levels}] for {space}")
    keys = np.zeros(len(rec_ids), np.int64)
    for level, (size, bits) in enumerate(zip(space.vocabulary_sizes, space.token_bits, strict=True)):
        tokens = rec_ids[:, level]
        if len(tokens) and (tokens.min() < 0 or tokens.max() >= size):
            row = int(np.flatnonzero((tokens < 0) | (tokens >= size))[0])
            raise ValueError(
                f"Rec-ID of row {row} has token {tokens[row]} at level {level}; the limit is 0..{size - 1}"
            )
        keys = (keys << bits) | tokens
    return keys
