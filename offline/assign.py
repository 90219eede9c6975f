"""Rec-IDs from the trained quantizer: codes with bounded buckets, then popularity tokens."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.graph_rqvae import GraphRQVAE
from offline.dataset import Dataset
from offline.rec_id_report import RecIdReport, check, report_of
from offline.recipe_settings import RecIdSettings
from service.contract.rec_id import Int32Array, RecIdSpace, popularity_tokens


class KnownCodes(NamedTuple):
    """Codes that items had in a previous run, by the same codebooks: they keep them unless others are clearly better.

    Attributes:
        codes: int32 [N, L], -1 where an item is new.
        margin: see `offline.recipe_settings.WarmSettings.code_margin`.
    """

    codes: Int32Array
    margin: float


@torch.no_grad()
def assign_rec_ids(
    model: GraphRQVAE, items: Tensor, dataset: Dataset, settings: RecIdSettings, known: KnownCodes | None = None
) -> tuple[Int32Array, RecIdSpace, RecIdReport]:
    """Rec-IDs of every item.

    Popularity tokens are counted anew, whoever kept their codes: 0 is the most interacted item of a bucket, always.

    Args:
        model: trained Graph RQ-VAE.
        items: unit item vectors [num_items, D].
        dataset: for ids and training counts.
        settings: bucket bound, headroom and floors; with a `min_code_usage` of 0 there are no floors at all, so that
            an ablation can show what collapsed Rec-IDs come to.
        known: codes of a previous run.

    Returns:
        int32 [num_items, num_levels + 1] in item-row order, their space, and the report.

    Raises:
        CollapsedRecIdsError: a floor is not met.
    """
    latent = model.latent(items)
    codes = _nearest_codes(model, latent)
    held = np.zeros(len(items), bool)
    if known is not None:
        held = _held(model, latent, codes, known, settings.bucket_bound)
        codes = np.where(held[:, None], known.codes, codes)
    residual = latent - _embedding(model, codes[:, :-1])
    distances = model.quantizer.distances(residual, settings.num_levels - 1).numpy()
    last, moved = balance_last_level(codes[:, :-1], distances, settings.bucket_bound, np.where(held, codes[:, -1], -1))
    codes = np.concatenate([codes[:, :-1], last[:, None]], axis=1).astype(np.int32)
    popularity = popularity_tokens(codes, dataset.train_counts(), dataset.item_ids)
    space = RecIdSpace(
        codebook_sizes=(settings.codebook_size,) * settings.num_levels,
        popularity_size=int(popularity.max()) + 1 + settings.popularity_headroom,
    )
    report = report_of(codes, popularity, settings.codebook_size, moved)
    check(report, codes, items.numpy(), settings)
    return np.concatenate([codes, popularity[:, None]], axis=1), space, report


def _nearest_codes(model: GraphRQVAE, latent: Tensor) -> Int32Array:
    """At every level the code nearest to what the levels above left of latent vectors [N, Z]: int32 [N, L]."""
    residual, codes = latent, []
    for level in range(model.config.num_levels):
        chosen = model.quantizer.distances(residual, level).argmin(dim=1)
        residual = residual - model.quantizer.codebooks[level][chosen]
        codes.append(chosen.numpy())
    return np.stack(codes, axis=1).astype(np.int32)


def _embedding(model: GraphRQVAE, codes: Int32Array) -> Tensor:
    """Sum of the vectors of codes [N, at most L], from the first level on: [N, Z]."""
    total = torch.zeros(len(codes), model.config.latent_dim)
    for level, column in enumerate(codes.T):
        total = total + model.quantizer.codebooks[level][torch.from_numpy(column).long()]
    return total


def _held(
    model: GraphRQVAE, latent: Tensor, nearest: Int32Array, known: KnownCodes, bucket_bound: int
) -> npt.NDArray[np.bool_]:
    """Which items keep the codes that they had: bool [N].

    Those that are not much farther from them than from the nearest, where the bound of the buckets has room for them.
    How much is a share of the variance of all latent vectors: beside the error of the nearest codes, which is close to
    none in a small catalogue, every move would be a long one.
    """
    is_known = (known.codes >= 0).all(axis=1)
    before, now = (
        (latent - _embedding(model, codes)).square().sum(-1).numpy() for codes in (known.codes.clip(min=0), nearest)
    )
    variance = float(latent.var(dim=0, correction=0).sum())
    held: npt.NDArray[np.bool_] = is_known & (before - now <= known.margin * variance)
    rows = np.flatnonzero(held)
    rows = rows[np.argsort(before[rows], kind="stable")]  # the nearest keep theirs first
    held[rows[_place_within(_groups(known.codes[rows])) >= bucket_bound]] = False
    return held


def _groups(codes: Int32Array) -> npt.NDArray[np.int64]:
    """Rows with equal codes [M, any number of levels] have equal numbers: int64 [M], from 0 on."""
    if not codes.shape[1]:
        return np.zeros(len(codes), np.int64)
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _place_within(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many of the same group stand before each: int64 [M] of group numbers [M]."""
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], groups[order])
    place = np.empty(len(groups), np.int64)
    place[order] = np.arange(len(groups)) - starts
    return place


def balance_last_level(
    upper: Int32Array,
    distances: npt.NDArray[np.float32],
    bucket_bound: int,
    fixed: npt.NDArray[np.integer] | None = None,
) -> tuple[Int32Array, int]:
    """Give every item the nearest last code whose bucket has room; the nearer items choose first.

    Args:
        upper: int32 [N, L - 1], codes of the levels above.
        distances: float32 [N, V], to the codes of the last level.
        bucket_bound: most items per bucket. Under a prefix with more than `V · bucket_bound` items no assignment can
            keep it; there the bound becomes the smallest that can.
        fixed: [N], last codes that items keep before all others choose, -1 where there is none; within the bound.

    Returns:
        int32 [N] and the number of items that had to choose and did not get their nearest code.
    """
    num_items, num_codes = distances.shape
    prefix = _groups(upper)
    bound = np.maximum(bucket_bound, -(-np.bincount(prefix) // num_codes))
    free = np.ones(num_items, bool) if fixed is None else fixed < 0
    nearest = distances.argmin(axis=1) if fixed is None else np.where(free, distances.argmin(axis=1), fixed)
    chosen = nearest.copy()
    by_prefix = np.argsort(prefix, kind="stable")
    ends = np.cumsum(np.bincount(prefix))
    for crowded in np.flatnonzero(_overfull(prefix, nearest, bound, num_codes)):
        members = by_prefix[ends[crowded - 1] if crowded else 0 : ends[crowded]]
        room = bound[crowded] - np.bincount(nearest[members[~free[members]]], minlength=num_codes)
        members = members[free[members]]
        chosen[members] = _spread(distances[members], room)
    return chosen.astype(np.int32), int((chosen != nearest).sum())


def _overfull(
    prefix: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64], bound: npt.NDArray[np.int64], num_codes: int
) -> npt.NDArray[np.bool_]:
    """Per prefix, whether one of its buckets holds more than its bound."""
    buckets, counts = np.unique(prefix * num_codes + chosen, return_counts=True)
    overfull = np.zeros(len(bound), bool)
    owners = buckets // num_codes
    overfull[owners[counts > bound[owners]]] = True
    return overfull


def _spread(distances: npt.NDArray[np.float32], room: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Codes int64 [M] of the items of one prefix, given distances [M, V] and the room [V] that each code has left.

    The item nearest to a code chooses first.
    """
    room = room.copy()
    preference = np.argsort(distances, axis=1, kind="stable")
    chosen = np.empty(len(distances), np.int64)
    for item in np.argsort(distances.min(axis=1), kind="stable"):
        chosen[item] = next(code for code in preference[item] if room[code] > 0)
        room[chosen[item]] -= 1
    return chosen
