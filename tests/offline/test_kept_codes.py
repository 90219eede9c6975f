"""Items that keep the codes of a previous run: who does, against a slow reference, and the room that others get."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.graph_rqvae import GraphRQVAE
from offline.assign import KnownCodes, assign_rec_ids, balance_last_level
from offline.dataset import Dataset
from offline.recipe_settings import RecIdSettings
from tests.offline.test_assign import SETTINGS, quantizing_model

FREE = replace(SETTINGS, bucket_bound=60)


def slow_balance(prefixes: list[int], distances: list[list[float]], bound: int, fixed: list[int]) -> list[int]:
    """One prefix after the other; who is fixed stands first, where a bucket overflows the others choose in turn."""
    num_codes = len(distances[0])
    chosen = [code if code >= 0 else int(np.argmin(row)) for code, row in zip(fixed, distances, strict=True)]
    for prefix in set(prefixes):
        members = [item for item, own in enumerate(prefixes) if own == prefix]
        allowed = max(bound, -(-len(members) // num_codes))
        if max(Counter(chosen[item] for item in members).values()) <= allowed:
            continue
        filled = Counter(fixed[item] for item in members if fixed[item] >= 0)
        for item in sorted((item for item in members if fixed[item] < 0), key=lambda item: min(distances[item])):
            codes = sorted(range(num_codes), key=lambda code: distances[item][code])
            chosen[item] = next(code for code in codes if filled[code] < allowed)
            filled[chosen[item]] += 1
    return chosen


@settings(deadline=None, max_examples=200)
@given(
    num_items=st.integers(1, 40),
    num_codes=st.integers(1, 5),
    bound=st.integers(1, 6),
    share=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    seed=st.integers(0, 10_000),
)
def test_who_is_fixed_stays_and_the_others_share_what_is_left(
    num_items: int, num_codes: int, bound: int, share: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    prefixes = random.integers(0, 3, num_items)
    distances = (random.integers(0, 6, (num_items, num_codes)) + 3 * (np.arange(num_codes) > 0)).astype(np.float32)
    fixed, filled = np.full(num_items, -1), Counter()
    for item in np.flatnonzero(random.random(num_items) < share):
        code = int(random.integers(num_codes))
        if filled[prefixes[item], code] < bound:
            fixed[item] = code
            filled[prefixes[item], code] += 1
    upper = prefixes[:, None].astype(np.int32)
    chosen, moved = balance_last_level(upper, distances, bound, fixed)
    assert chosen.tolist() == slow_balance(prefixes.tolist(), distances.tolist(), bound, fixed.tolist())
    free = fixed < 0
    np.testing.assert_array_equal(chosen[~free], fixed[~free])
    assert moved == (chosen != distances.argmin(1))[free].sum()
    for (prefix, _), size in Counter(zip(prefixes.tolist(), chosen.tolist(), strict=True)).items():
        assert size <= max(bound, -(-int((prefixes == prefix).sum()) // num_codes))


@pytest.fixture
def items() -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), dim=1)


def codes_of(model: GraphRQVAE, items: torch.Tensor, dataset: Dataset, with_settings: RecIdSettings) -> np.ndarray:
    return assign_rec_ids(model, items, dataset, with_settings)[0][:, :3]


@torch.no_grad()
@pytest.mark.parametrize("margin", [0.0, 0.1, 1.0])
def test_an_item_keeps_its_codes_unless_others_are_clearly_better(
    dataset: Dataset, items: torch.Tensor, margin: float
) -> None:
    """The items moved since; every third is new, and must not be asked."""
    model, random = quantizing_model(items), torch.Generator().manual_seed(2)
    before = codes_of(model, items, dataset, FREE)
    moved = torch.nn.functional.normalize(items + 0.2 * torch.randn(items.shape, generator=random), dim=1)
    nearest, latent = codes_of(model, moved, dataset, FREE), model.latent(moved)

    def error(item: int, codes: np.ndarray) -> float:
        rest = latent[item]
        for level, code in enumerate(codes.tolist()):
            rest = rest - model.quantizer.codebooks[level, code]
        return float(rest.square().sum())

    variance = float((latent - latent.mean(0)).square().sum(1).mean())
    wanted = [
        before[item]
        if item % 3 and error(item, before[item]) - error(item, nearest[item]) <= margin * variance
        else nearest[item]
        for item in range(60)
    ]
    known = np.where(np.arange(60)[:, None] % 3 > 0, before, -1).astype(np.int32)
    found = assign_rec_ids(model, moved, dataset, FREE, KnownCodes(known, margin))[0]
    np.testing.assert_array_equal(found[:, :3], wanted)
    assert len({tuple(rec_id) for rec_id in found.tolist()}) == 60
    share = (np.array(wanted) == before).all(1).mean()
    assert share < 1 if margin < 1 else share > 0.5


def test_items_that_did_not_move_keep_their_codes(dataset: Dataset, items: torch.Tensor) -> None:
    """Also those that a full bucket had sent to another code: asking again would send them somewhere else."""
    model = quantizing_model(items)
    before = codes_of(model, items, dataset, SETTINGS)
    again, _, report = assign_rec_ids(model, items, dataset, SETTINGS, KnownCodes(before, 1e9))
    np.testing.assert_array_equal(again[:, :3], before)
    assert report.moved == 0


def test_a_bucket_that_is_too_full_lets_the_farthest_go(dataset: Dataset, items: torch.Tensor) -> None:
    """All claim the codes of item 0; the bound has room for three, and those are the nearest."""
    model = quantizing_model(items)
    target = codes_of(model, items, dataset, FREE)[0]
    claimed = np.repeat(target[None], 60, axis=0)
    found = assign_rec_ids(model, items, dataset, SETTINGS, KnownCodes(claimed, 1e9))[0][:, :3]
    with torch.no_grad():
        embedding = sum(model.quantizer.codebooks[level, code] for level, code in enumerate(target.tolist()))
        nearest = (model.latent(items) - embedding).square().sum(1).argsort()[:3]
    assert set(np.flatnonzero((found == target).all(1)).tolist()) == set(nearest.tolist())


def test_popularity_tokens_are_counted_anew(dataset: Dataset, make_dataset, items: torch.Tensor) -> None:
    """0 is the most interacted item of a bucket today, whoever it was yesterday."""
    model, alike = quantizing_model(items), items[[0, 0]]
    lenient = replace(SETTINGS, min_code_usage=0.0)
    known = KnownCodes(codes_of(model, items, dataset, FREE)[[0, 0]], 1.0)
    for train, tokens in (([[0, 1], [0]], [0, 1]), ([[0, 1], [1]], [1, 0])):
        two = make_dataset(train, [[]] * 2, [[]] * 2, num_items=2)
        found = assign_rec_ids(model, alike, two, lenient, known)[0]
        assert found[:, 3].tolist() == tokens
