"""Floors of the Rec-IDs: what has collapsed is refused with its figures, what only looks so is not."""

from dataclasses import replace

import numpy as np
import pytest

from offline.errors import CollapsedRecIdsError
from offline.rec_id_report import check, report_of
from offline.recipe_settings import RecIdSettings

NUM_ITEMS, CODES = 512, 64
SETTINGS = RecIdSettings(num_levels=2, codebook_size=CODES, bucket_bound=8, popularity_headroom=5)
ROWS = np.arange(NUM_ITEMS)
DISTINCT = np.random.default_rng(0).normal(size=(NUM_ITEMS, 4)).astype(np.float32)
SPREAD = np.stack([ROWS % CODES, ROWS // 8], axis=1).astype(np.int32)


def checked(codes: np.ndarray, items: np.ndarray = DISTINCT, settings: RecIdSettings = SETTINGS) -> None:
    order = np.lexsort(codes.T)
    starts = np.flatnonzero(np.append(True, (np.diff(codes[order], axis=0) != 0).any(axis=1)))
    popularity = np.empty(len(codes), np.int32)
    popularity[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    check(report_of(codes, popularity, settings.codebook_size, 0), codes, items, settings)


def crowded(share: float) -> np.ndarray:
    """All codes of level 0 in use, the share of the items in one of them; level 1 tells apart as well as it can."""
    first = np.where(share * NUM_ITEMS > ROWS, 0, ROWS % CODES)
    return np.stack([first, ROWS // 8], axis=1).astype(np.int32)


def test_codes_at_random_and_evenly_spread_ones_pass() -> None:
    checked(SPREAD)
    checked(np.random.default_rng(1).integers(0, CODES, (NUM_ITEMS, 2)).astype(np.int32), settings=SETTINGS)


def test_one_code_that_holds_nearly_all_items_is_refused_although_all_codes_are_in_use() -> None:
    with pytest.raises(
        CollapsedRecIdsError, match=r"level 0 has a perplexity of \d\.\d with 64 codes .* floor is 6\.4"
    ):
        checked(crowded(0.8))
    checked(crowded(0.3))


def test_shared_buckets_of_items_that_differ_are_refused() -> None:
    """Full usage, full perplexity, and yet level 1 says nothing that level 0 has not said: eight items a bucket."""
    same = np.stack([ROWS % CODES, ROWS % CODES], axis=1).astype(np.int32)
    with pytest.raises(CollapsedRecIdsError, match=r"^0\.0% of the 512 items whose vectors differ .* 88\.3% would if"):
        checked(same)


@pytest.mark.parametrize("share", [0.8, 0.3])
def test_items_of_which_nothing_is_known_may_share_everything(share: float) -> None:
    """Equal vectors, as of items without interactions and content: the quantizer cannot tell them apart."""
    items = DISTINCT.copy()
    items[share * NUM_ITEMS > ROWS] = 1.0
    checked(crowded(share), items)


def test_a_handful_of_items_has_no_floor() -> None:
    few = ROWS < 4 * CODES - 1
    checked(np.stack([ROWS % CODES, ROWS % CODES], axis=1).astype(np.int32)[few], DISTINCT[few])


def test_without_a_floor_of_usage_there_is_none() -> None:
    checked(crowded(0.8), settings=replace(SETTINGS, min_code_usage=0.0))


def test_a_bound_that_cannot_be_kept_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    checked(SPREAD)
    assert capsys.readouterr().err == ""
    one_code = np.stack([0 * ROWS, ROWS % CODES], axis=1).astype(np.int32)
    free = replace(SETTINGS, min_code_usage=0.0, bucket_bound=3)
    checked(one_code, settings=free)
    said = capsys.readouterr().err
    assert said.startswith("warning: 8 items share all their codes, the bound is 3: 512 have equal codes at all levels")


def test_a_bound_that_could_be_kept_and_was_not_is_our_own_mistake() -> None:
    """`balance_last_level` has promised it; in one level alone, too."""
    free = replace(SETTINGS, min_code_usage=0.0)
    for codes in (np.zeros((9, 2), np.int32), np.zeros((9, 1), np.int32)):
        with pytest.raises(AssertionError, match="a bucket of 9 items, at most 8 fit"):
            checked(codes, DISTINCT[:9], free)
