"""Rec-IDs: bounded buckets against a slow reference, what an assignment promises, and floors that fail loudly."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from offline.assign import assign_rec_ids, balance_last_level
from offline.dataset import Dataset
from offline.errors import CollapsedRecIdsError
from offline.recipe_settings import RecIdSettings

SETTINGS = RecIdSettings(num_levels=3, codebook_size=4, bucket_bound=3, popularity_headroom=5, min_code_usage=0.5)


def slow_balance(upper: list[tuple[int, ...]], distances: list[list[float]], bound: int) -> list[int]:
    """One prefix after the other; where no bucket overflows everybody gets the nearest code."""
    num_codes, chosen = len(distances[0]), [int(np.argmin(row)) for row in distances]
    prefixes = defaultdict(list)
    for item, prefix in enumerate(upper):
        prefixes[prefix].append(item)
    for members in prefixes.values():
        allowed = max(bound, -(-len(members) // num_codes))
        if max(Counter(chosen[item] for item in members).values()) <= allowed:
            continue
        filled: Counter[int] = Counter()
        for item in sorted(members, key=lambda item: min(distances[item])):
            codes = sorted(range(num_codes), key=lambda code: distances[item][code])
            chosen[item] = next(code for code in codes if filled[code] < allowed)
            filled[chosen[item]] += 1
    return chosen


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    num_items, num_levels, num_codes = draw(st.integers(1, 40)), draw(st.integers(0, 2)), draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    upper = random.integers(0, draw(st.integers(1, 3)), (num_items, num_levels)).astype(np.int32)
    # Few distinct distances, so that ties occur; one favourite code, so that buckets overflow.
    distances = random.integers(0, 6, (num_items, num_codes)) + 3 * (np.arange(num_codes) > 0)
    return upper, distances.astype(np.float32), draw(st.integers(1, 6))


@settings(deadline=None, max_examples=200)
@given(catalogue=catalogues())
def test_balancing_equals_the_slow_reference_and_keeps_the_bound(catalogue: tuple[np.ndarray, np.ndarray, int]) -> None:
    upper, distances, bound = catalogue
    chosen, moved = balance_last_level(upper, distances, bound)
    prefixes = [tuple(row) for row in upper.tolist()]
    assert chosen.tolist() == slow_balance(prefixes, distances.tolist(), bound)
    assert moved == sum(code != int(np.argmin(row)) for code, row in zip(chosen, distances, strict=True))
    for (prefix, _), size in Counter(zip(prefixes, chosen.tolist(), strict=True)).items():
        assert size <= max(bound, -(-prefixes.count(prefix) // distances.shape[1]))


def test_the_nearer_item_keeps_its_code() -> None:
    distances = np.array([[0.3, 1.0, 9.0], [0.1, 2.0, 9.0], [0.2, 5.0, 6.0]], np.float32)
    chosen, moved = balance_last_level(np.zeros((3, 1), np.int32), distances, 1)
    assert (chosen.tolist(), moved) == ([2, 0, 1], 2)  # 1 is nearest, then 2 takes its next best, 0 what is left


def test_nobody_is_moved_where_there_is_room() -> None:
    distances = np.array([[0.3, 1.0], [0.1, 2.0], [0.2, 5.0]], np.float32)
    assert balance_last_level(np.zeros((3, 1), np.int32), distances, 3)[1] == 0
    assert balance_last_level(np.arange(3, dtype=np.int32)[:, None], distances, 1)[1] == 0


def quantizing_model(items: torch.Tensor) -> GraphRQVAE:
    torch.manual_seed(0)
    model = GraphRQVAE(
        GraphRQVAEConfig(
            num_items=len(items),
            feature_dims={"text": 3},
            num_levels=SETTINGS.num_levels,
            codebook_size=SETTINGS.codebook_size,
            ordered_history=False,
            max_history=4,
            dim=items.shape[1],
            latent_dim=6,
        )
    ).eval()
    with torch.no_grad():
        model.quantizer.initialise(model.latent(items), torch.Generator().manual_seed(0))
    return model


@pytest.fixture
def items(dataset: Dataset) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), dim=1)


def test_rec_ids_are_unique_legal_and_ranked_by_popularity(dataset: Dataset, items: torch.Tensor) -> None:
    rec_ids, space, report = assign_rec_ids(quantizing_model(items), items, dataset, SETTINGS)
    assert (rec_ids.shape, rec_ids.dtype) == ((60, 4), np.int32)
    assert len({tuple(rec_id) for rec_id in rec_ids.tolist()}) == 60
    assert (rec_ids >= 0).all()
    assert (rec_ids < space.vocabulary_sizes).all()
    counts = dataset.train_counts()
    buckets = defaultdict(list)
    for row in sorted(range(60), key=lambda row: (-counts[row], dataset.item_ids[row])):
        buckets[tuple(rec_ids[row, :3].tolist())].append(int(rec_ids[row, 3]))
    assert all(tokens == list(range(len(tokens))) for tokens in buckets.values())
    assert report.largest_bucket == max(map(len, buckets.values())) <= SETTINGS.bucket_bound
    assert report.unique_share == pytest.approx(sum(len(tokens) == 1 for tokens in buckets.values()) / 60)
    assert space.popularity_size == report.largest_bucket + SETTINGS.popularity_headroom


def test_codes_are_those_of_the_quantizer_but_for_moved_items(dataset: Dataset, items: torch.Tensor) -> None:
    model = quantizing_model(items)
    with torch.no_grad():
        nearest = model.quantize(items).codes.numpy()
    rec_ids, _, report = assign_rec_ids(model, items, dataset, SETTINGS)
    np.testing.assert_array_equal(rec_ids[:, :2], nearest[:, :2])
    assert (rec_ids[:, 2] != nearest[:, 2]).sum() == report.moved
    free = replace(SETTINGS, bucket_bound=60)
    np.testing.assert_array_equal(assign_rec_ids(model, items, dataset, free)[0][:, :3], nearest)


def test_the_report_by_eye(dataset: Dataset, items: torch.Tensor) -> None:
    rec_ids, _, report = assign_rec_ids(quantizing_model(items), items, dataset, SETTINGS)
    for level in range(3):
        shares = np.array([(rec_ids[:, level] == code).mean() for code in range(SETTINGS.codebook_size)])
        used = shares[shares > 0]
        assert report.usage[level] == len(used) / SETTINGS.codebook_size
        assert report.perplexity[level] == pytest.approx(np.prod(used**-used))


def test_items_that_all_look_alike_fail_loudly(dataset: Dataset, items: torch.Tensor) -> None:
    model = quantizing_model(items)
    with pytest.raises(
        CollapsedRecIdsError, match=r"level 0 uses 25% of its 4 codes for 60 items .* the floor is 50%: take a recipe"
    ):
        assign_rec_ids(model, items[:1].repeat(60, 1), dataset, SETTINGS)


def test_a_floor_that_is_met_exactly_passes(dataset: Dataset, items: torch.Tensor) -> None:
    model, alike = quantizing_model(items), items[:1].repeat(60, 1)
    met = replace(SETTINGS, min_code_usage=0.25, bucket_bound=60)
    assert assign_rec_ids(model, alike, dataset, met)[2].usage == (0.25, 0.25, 0.25)


def test_a_handful_of_items_has_no_floor(make_dataset, items: torch.Tensor) -> None:
    """Two items cannot use four codes, and where level 0 tells items apart the other levels have nothing to do."""
    two = make_dataset([[0, 1]], [[]], [[]], num_items=2)
    strict = replace(SETTINGS, min_code_usage=1.0)
    rec_ids, _, report = assign_rec_ids(quantizing_model(items), items[[0, 0]], two, strict)
    assert report.largest_bucket == 2
    assert len({tuple(rec_id) for rec_id in rec_ids.tolist()}) == 2
