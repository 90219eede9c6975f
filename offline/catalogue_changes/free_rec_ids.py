"""Rec-IDs for new items in a catalogue that keeps all of its own.

A new item takes the next popularity token of the bucket that the frozen quantizer puts it in. A bucket is full when its
vocabulary of popularity tokens is used up; then the item goes to the next-nearest code of the last level, and when all
of these are full, to next-nearest codes of the levels above.

Letters: M = new items, L = semantic levels, Z = latent width.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.residual_quantizer import ResidualQuantizer
from offline.errors import GateRefusedError
from service.contract.rec_id import Int32Array, RecIdSpace
from service.contract.trie import Trie

_NEAREST_UPPER: Final = 4  # codes of an upper level that are tried; farther ones say nothing of an item


class _Buckets:
    """Which popularity tokens are taken, bucket by bucket."""

    def __init__(self, trie: Trie, space: RecIdSpace) -> None:
        self._bits, self._size = space.token_bits[:-1], space.popularity_size
        rec_ids = trie.rec_ids()  # in the order of the leaves, so the packed codes rise
        self._codes, self._tokens = self._packed(rec_ids[:, :-1].astype(np.int64)), rec_ids[:, -1]
        self._taken: dict[int, set[int]] = {}

    def _packed(self, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        keys = np.zeros(codes.shape[:-1], np.int64)
        for level, bits in enumerate(self._bits):
            keys = (keys << bits) | codes[..., level]
        return keys

    def take(self, codes: Sequence[int]) -> int | None:
        """The next popularity token of a bucket, which is taken then; None when it is full.

        Behind the last that is taken; tokens that removed items have left free come after those, for they say that an
        item is more popular than the rest of its bucket.
        """
        key = int(self._packed(np.array(codes, np.int64)))
        if key not in self._taken:
            first, last = (int(np.searchsorted(self._codes, key, side=side)) for side in ("left", "right"))
            self._taken[key] = set(self._tokens[first:last].tolist())
        taken = self._taken[key]
        behind = max(taken, default=-1) + 1
        free = (token for token in (*range(behind, self._size), *range(behind)) if token not in taken)
        token = next(free, None)
        if token is not None:
            taken.add(token)
        return token


@torch.no_grad()
def free_rec_ids(
    latent: Tensor, quantizer: ResidualQuantizer, trie: Trie, space: RecIdSpace, order: npt.NDArray[np.int64]
) -> tuple[Int32Array, int]:
    """Rec-IDs of new items.

    Args:
        latent: [M, Z], what the quantizer takes.
        quantizer: frozen.
        trie: the catalogue so far.
        space: sizes of the levels.
        order: int64 [M], who chooses first, second, ...; the first in a bucket gets the lowest token.

    Returns:
        int32 [M, L + 1], and how many items did not get their nearest bucket.

    Raises:
        GateRefusedError: an item's nearest buckets are all full.
    """
    buckets, nearest = _Buckets(trie, space), quantizer(latent).codes.numpy()
    rec_ids = np.empty((len(latent), space.num_levels), np.int32)
    num_moved = 0
    for item in order.tolist():
        codes: Sequence[int] = nearest[item].tolist()
        token = buckets.take(codes)
        if token is None:
            num_moved += 1
            for codes in _by_distance(latent[item], quantizer):
                if (token := buckets.take(codes)) is not None:
                    break
            else:
                raise GateRefusedError(
                    f"there is no free Rec-ID near one of the {len(latent)} new items: the buckets around it hold "
                    f"{space.popularity_size} items each, all that their vocabulary has. Nothing was published; train "
                    "with these items (python -m offline train), which makes room"
                )
        rec_ids[item] = (*codes, token)
    return rec_ids, num_moved


def _by_distance(latent: Tensor, quantizer: ResidualQuantizer) -> Iterator[list[int]]:
    """Buckets of an item [Z]: the last level's codes nearest first, then those below the next-nearest upper codes."""
    config = quantizer.config
    choices = min(_NEAREST_UPPER, config.codebook_size)
    for places in product(range(choices), repeat=config.num_levels - 1):
        residual, upper = latent.unsqueeze(0), []
        for level, place in enumerate(places):
            code = int(quantizer.distances(residual, level)[0].argsort(stable=True)[place])
            residual = residual - quantizer.codebooks[level][code]
            upper.append(code)
        for code in quantizer.distances(residual, config.num_levels - 1)[0].argsort(stable=True).tolist():
            yield [*upper, code]
