"""New items take free Rec-IDs only: the nearest bucket first, then its neighbours at the last level, then above."""

import numpy as np
import pytest
import torch
from torch import Tensor

from model.residual_quantizer import QuantizerConfig, ResidualQuantizer
from offline.catalogue_changes.free_rec_ids import free_rec_ids
from offline.errors import GateRefusedError
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie

SPACE = RecIdSpace(codebook_sizes=(3, 3), popularity_size=2)


def on_a_line() -> ResidualQuantizer:
    """Codes of level 0 stand at 0, 10 and 1000, those of level 1 at -1, 0 and 2 from there."""
    quantizer = ResidualQuantizer(QuantizerConfig(num_levels=2, codebook_size=3, dim=1))
    with torch.no_grad():
        quantizer.codebooks.copy_(torch.tensor([[[0.0], [10.0], [1000.0]], [[-1.0], [0.0], [2.0]]]))
    return quantizer


def trie_of(*rec_ids: tuple[int, int, int]) -> Trie:
    return build_trie(np.array(rec_ids, np.int32), SPACE)


def placed(at: list[float], trie: Trie, order: list[int] | None = None) -> tuple[list[tuple[int, ...]], int]:
    latent: Tensor = torch.tensor(at).unsqueeze(1)
    rec_ids, moved = free_rec_ids(latent, on_a_line(), trie, SPACE, np.array(order or range(len(at))))
    return [tuple(rec_id) for rec_id in rec_ids.tolist()], moved


def test_a_free_bucket_takes_the_item_at_token_0() -> None:
    assert placed([0.1, 12.2], trie_of((0, 0, 0))) == ([(0, 1, 0), (1, 2, 0)], 0)


def test_the_next_popularity_token_of_a_bucket() -> None:
    assert placed([0.1], trie_of((0, 1, 0))) == ([(0, 1, 1)], 0)


def test_a_token_that_a_removed_item_left_free_comes_last() -> None:
    """The bucket holds token 1 alone, and with two tokens there is no next one."""
    assert placed([0.1], trie_of((0, 1, 1))) == ([(0, 1, 0)], 0)


def test_a_full_bucket_sends_items_to_the_next_nearest_code_of_the_last_level() -> None:
    full = trie_of((0, 1, 0), (0, 1, 1))
    assert placed([0.1], full) == ([(0, 0, 0)], 1)
    assert placed([0.999, 0.9], full)[0] == [(0, 2, 0), (0, 2, 1)]


def test_with_the_last_level_full_it_goes_to_the_next_nearest_code_above() -> None:
    full = trie_of(*((0, code, token) for code in range(3) for token in range(2)))
    assert placed([0.1], full) == ([(1, 0, 0)], 1)  # the nearest to 0.1 below 10


def test_new_items_of_one_bucket_choose_in_the_order_that_is_given() -> None:
    trie = trie_of((1, 1, 0))
    assert placed([0.1, 0.0, 0.0], trie, order=[2, 0, 1]) == ([(0, 1, 1), (0, 0, 0), (0, 1, 0)], 1)


def test_nothing_free_within_reason_asks_for_training() -> None:
    everything = trie_of(*((first, code, token) for first in range(3) for code in range(3) for token in range(2)))
    with pytest.raises(GateRefusedError, match=r"no free Rec-ID near one of the 1 new items.*2 items each.*train with"):
        placed([0.1], everything)


def test_many_items_get_unique_rec_ids_beside_the_old_ones() -> None:
    random = np.random.default_rng(0)
    space = RecIdSpace(codebook_sizes=(4, 4, 4), popularity_size=8)
    codes = random.integers(4, size=(120, 3))
    keys, tokens = [tuple(row) for row in codes.tolist()], []
    for at, key in enumerate(keys):
        tokens.append(keys[:at].count(key))
    old = np.column_stack([codes, tokens]).astype(np.int32)
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(QuantizerConfig(num_levels=3, codebook_size=4, dim=5))
    new, _ = free_rec_ids(torch.randn(150, 5) * 0.02, quantizer, build_trie(old, space), space, np.arange(150))
    trie = build_trie(np.concatenate([old, new]), space)  # refuses what is not unique and legal
    np.testing.assert_array_equal(trie.rec_ids()[trie.row_to_leaf()][:120], old)
