"""Made-up catalogues: skewed Rec-IDs with bounded buckets, and item vectors that belong to them.

Items fall from the root to the buckets. At every node its items are split among the 256 codes with Zipf weights that
start at another code in each node, so a few subtrees hold most of the catalogue. A node with at least 256 items uses
all 256 codes, a bucket takes at most `BUCKET_BOUND` items (what balanced assignment guarantees), and what does not fit
falls to the siblings.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.decoding.subject import SETTINGS
from service.contract.rec_id import Int32Array
from service.contract.trie import Trie, build_trie

ZIPF = 0.8
BUCKET_BOUND = 8
CODES = SETTINGS.codebook_sizes[0]
VECTOR_CHUNK = 8_192
CODE_SCALES = (0.7, 0.5, 0.35)
"""Length of the code vectors of each semantic level, beside noise of 0.3."""

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Items of one catalogue, by item row.

    Attributes:
        rec_ids: int32 [N, levels].
        item_vectors: float32 [N, vector_dim].
        trie: made of the Rec-IDs.
        build_seconds: what making the trie took.
    """

    rec_ids: Int32Array
    item_vectors: npt.NDArray[np.float32]
    trie: Trie
    build_seconds: float

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.rec_ids)

    def facts(self) -> dict[str, Any]:
        """What a reader of the figures must know of the catalogue."""
        return {
            "items": self.num_items,
            "nodes": [len(tokens) for tokens in self.trie.tokens],
            "widest_node": list(self.trie.widths),
            "codes_in_use": [len(np.unique(column)) for column in self.rec_ids.T],
        }


def make_catalogue(num_items: int, seed: int) -> Catalogue:
    """A catalogue of 1 thousand to 10 million items."""
    rng = np.random.default_rng((seed, num_items))
    rec_ids = clustered_rec_ids(num_items, rng)
    item_vectors = vectors_of(rec_ids, rng)
    started = time.perf_counter()
    trie = build_trie(rec_ids, SETTINGS.space)
    seconds = time.perf_counter() - started
    return Catalogue(rec_ids=rec_ids, item_vectors=item_vectors, trie=trie, build_seconds=seconds)


def clustered_rec_ids(num_items: int, rng: np.random.Generator) -> Int32Array:
    """Rec-IDs in random order: int32 [num_items, levels]."""
    num_codebooks = len(SETTINGS.codebook_sizes)
    prefixes, counts = np.zeros((1, 0), np.int32), np.array([num_items])
    for level in range(num_codebooks):
        below = _split(counts, BUCKET_BOUND * CODES ** (num_codebooks - 1 - level), rng)
        parents, codes = below.nonzero()
        prefixes = np.column_stack([prefixes[parents], codes.astype(np.int32)])
        counts = below[parents, codes]
    popularity = np.arange(num_items) - np.repeat(counts.cumsum() - counts, counts)
    rec_ids = np.column_stack([np.repeat(prefixes, counts, axis=0), popularity.astype(np.int32)])
    return rec_ids[rng.permutation(num_items)]


def _split(counts: Int64Array, capacity: int, rng: np.random.Generator) -> Int64Array:
    """How many of each node's items go to each of its codes, `capacity` at most: [nodes, CODES]."""
    weights = np.arange(1, CODES + 1) ** -ZIPF
    start = rng.integers(CODES, size=(len(counts), 1))
    shares = (weights / weights.sum())[(np.arange(CODES) - start) % CODES]
    one_each = (counts >= CODES).astype(np.int64)
    below: Int64Array = one_each[:, None] + rng.multinomial(counts - one_each * CODES, shares)
    while len(over := np.flatnonzero((below > capacity).any(axis=1))):
        kept = np.minimum(below[over], capacity)
        free = capacity - kept
        spilled = (below[over] - kept).sum(axis=1)
        below[over] = kept + rng.multinomial(spilled, free / free.sum(axis=1, keepdims=True))
    return below


def vectors_of(rec_ids: Int32Array, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """What a residual quantiser with these codes would have seen: a sum of ever smaller code vectors, and noise.

    The noise is the same for every chunk of items, since drawing it would take most of the time.
    """
    vectors = np.empty((len(rec_ids), SETTINGS.vector_dim), np.float32)
    noise = np.float32(0.3) * rng.standard_normal((VECTOR_CHUNK, SETTINGS.vector_dim), np.float32)
    codebooks = [
        np.float32(scale) * rng.standard_normal((CODES, SETTINGS.vector_dim), np.float32) for scale in CODE_SCALES
    ]
    for first in range(0, len(rec_ids), VECTOR_CHUNK):
        chunk, ids = vectors[first : first + VECTOR_CHUNK], rec_ids[first : first + VECTOR_CHUNK]
        chunk[:] = noise[: len(chunk)]
        for level, codebook in enumerate(codebooks):
            chunk += codebook[ids[:, level]]
    return vectors
