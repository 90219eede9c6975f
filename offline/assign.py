"""Rec-IDs from the trained quantizer: codes with bounded buckets, then popularity tokens."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.graph_rqvae import GraphRQVAE
from offline.dataset import Dataset
from offline.rec_id_report import RecIdReport, check, report_of
from offline.recipe_settings import RecIdSettings
from service.contract.rec_id import Int32Array, RecIdSpace, popularity_tokens


@torch.no_grad()
def assign_rec_ids(
    model: GraphRQVAE, items: Tensor, dataset: Dataset, settings: RecIdSettings
) -> tuple[Int32Array, RecIdSpace, RecIdReport]:
    """Rec-IDs of every item.

    Args:
        model: trained Graph RQ-VAE.
        items: unit item vectors [num_items, D].
        dataset: for ids and training counts.
        settings: bucket bound, headroom and floors; with a `min_code_usage` of 0 there are no floors at all, so that
            an ablation can show what collapsed Rec-IDs come to.

    Returns:
        int32 [num_items, num_levels + 1] in item-row order, their space, and the report.

    Raises:
        CollapsedRecIdsError: a floor is not met.
    """
    codes, residual = _upper_codes(model, items)
    distances = model.quantizer.distances(residual, settings.num_levels - 1).numpy()
    last, moved = balance_last_level(codes, distances, settings.bucket_bound)
    codes = np.concatenate([codes, last[:, None]], axis=1).astype(np.int32)
    popularity = popularity_tokens(codes, dataset.train_counts(), dataset.item_ids)
    space = RecIdSpace(
        codebook_sizes=(settings.codebook_size,) * settings.num_levels,
        popularity_size=int(popularity.max()) + 1 + settings.popularity_headroom,
    )
    report = report_of(codes, popularity, settings.codebook_size, moved)
    check(report, codes, items.numpy(), settings)
    return np.concatenate([codes, popularity[:, None]], axis=1), space, report


def _upper_codes(model: GraphRQVAE, items: Tensor) -> tuple[Int32Array, Tensor]:
    """Codes of all levels but the last, int32 [N, L - 1], and the residual that reaches the last level [N, Z]."""
    residual = model.latent(items)
    codes = [np.zeros((len(items), 0), np.int32)]
    for level in range(model.config.num_levels - 1):
        chosen = model.quantizer.distances(residual, level).argmin(dim=1)
        residual = residual - model.quantizer.codebooks[level][chosen]
        codes.append(chosen.numpy().astype(np.int32)[:, None])
    return np.concatenate(codes, axis=1), residual


def balance_last_level(
    upper: Int32Array, distances: npt.NDArray[np.float32], bucket_bound: int
) -> tuple[Int32Array, int]:
    """Give every item the nearest last code whose bucket has room; the nearer items choose first.

    Args:
        upper: int32 [N, L - 1], codes of the levels above.
        distances: float32 [N, V], to the codes of the last level.
        bucket_bound: most items per bucket. Under a prefix with more than `V · bucket_bound` items no assignment can
            keep it; there the bound becomes the smallest that can.

    Returns:
        int32 [N] and the number of items that did not get their nearest code.
    """
    num_items, num_codes = distances.shape
    _, prefix = np.unique(upper, axis=0, return_inverse=True) if upper.shape[1] else (None, np.zeros(num_items, int))
    prefix = prefix.reshape(-1)
    bound = np.maximum(bucket_bound, -(-np.bincount(prefix) // num_codes))
    nearest = distances.argmin(axis=1)
    chosen = nearest.copy()
    for crowded in np.flatnonzero(_overfull(prefix, nearest, bound, num_codes)):
        members = np.flatnonzero(prefix == crowded)
        chosen[members] = _spread(distances[members], int(bound[crowded]))
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


def _spread(distances: npt.NDArray[np.float32], bound: int) -> npt.NDArray[np.int64]:
    """Codes int64 [M] of the items of one prefix, given distances [M, V]; the item nearest to a code chooses first."""
    room = np.full(distances.shape[1], bound)
    preference = np.argsort(distances, axis=1, kind="stable")
    chosen = np.empty(len(distances), np.int64)
    for item in np.argsort(distances.min(axis=1), kind="stable"):
        chosen[item] = next(code for code in preference[item] if room[code])
        room[chosen[item]] -= 1
    return chosen
