"""How well Rec-IDs spread over their codes, and the floors below which a run fails rather than serve them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offline import progress
from offline.errors import CollapsedRecIdsError
from offline.recipe_settings import RecIdSettings
from service.contract.rec_id import Int32Array

ITEMS_PER_CODE = 4
"""A floor holds where there are so many items per code to tell apart: with fewer, low figures are natural."""

MIN_PERPLEXITY = 0.1
"""Least perplexity of a level beside its codes in use: all of them in use says little where dead codes were revived on
outliers and one code holds the rest. Runs of `standard` and `tiny` on three real and some twenty generated datasets had
.52 to .96; below .1 is a level of 512 codes of which one holds half of the items."""

MIN_UNIQUE_SHARE = 0.15
"""Least share of items alone in their bucket, beside the share if codes were drawn at random. The same runs had .50 to
1; a prototype whose codes sat on outliers had .12 at full usage (reference/quality.md)."""


@dataclass(frozen=True, kw_only=True)
class RecIdReport:
    """How well the Rec-IDs spread.

    Attributes:
        usage: share of the codes in use, per level.
        perplexity: exp of the entropy of the code frequencies, per level (at most the codebook size).
        unique_share: share of items that share their codes with nobody.
        largest_bucket: most items with equal codes.
        moved: items given another last code than their nearest because its bucket was full.
        kept_codes_share: share of the items of this and the previous run that kept their codes; None without one.
        kept_rec_ids_share: the same of whole Rec-IDs: the popularity token follows the counts, and they change.
    """

    usage: tuple[float, ...]
    perplexity: tuple[float, ...]
    unique_share: float
    largest_bucket: int
    moved: int
    kept_codes_share: float | None = None
    kept_rec_ids_share: float | None = None


def report_of(codes: Int32Array, popularity: Int32Array, codebook_size: int, moved: int) -> RecIdReport:
    """The report of codes [N, L] and popularity tokens [N]."""
    _, sizes = np.unique(codes, axis=0, return_counts=True)
    return RecIdReport(
        usage=tuple(len(np.unique(level)) / codebook_size for level in codes.T),
        perplexity=tuple(_perplexity(level) for level in codes.T),
        unique_share=float((sizes == 1).sum() / len(codes)),
        largest_bucket=int(popularity.max()) + 1,
        moved=moved,
    )


def _perplexity(codes: Int32Array) -> float:
    """The exponential of the entropy of the codes: as many codes, all equally frequent, would be as uneven."""
    shares = np.unique(codes, return_counts=True)[1] / len(codes)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def check(report: RecIdReport, codes: Int32Array, items: npt.NDArray[np.float32], settings: RecIdSettings) -> None:
    """Refuse Rec-IDs that collapsed, and say where the bound of the buckets could not be kept.

    Args:
        report: of the codes.
        codes: [N, L].
        items: the vectors [N, D] that were quantised.
        settings: bucket bound and `min_code_usage`; where that is 0 there are no floors.

    Raises:
        CollapsedRecIdsError: a floor is not met.
    """
    _check_buckets(report, codes, settings)
    if settings.min_code_usage > 0:
        _check_usage(report, settings, codes)
        _check_spread(codes, items, settings.codebook_size)


def _check_buckets(report: RecIdReport, codes: Int32Array, settings: RecIdSettings) -> None:
    """Hold the largest bucket against its bound: what `balance_last_level` promises, and what the settings ask for."""
    num_levels = codes.shape[1]
    crowd = int(np.unique(codes[:, :-1], axis=0, return_counts=True)[1].max()) if num_levels > 1 else len(codes)
    promised = max(settings.bucket_bound, -(-crowd // settings.codebook_size))
    assert report.largest_bucket <= promised, f"a bucket of {report.largest_bucket} items, at most {promised} fit"
    if report.largest_bucket > settings.bucket_bound:
        progress.say(
            f"warning: {report.largest_bucket} items share all their codes, the bound is {settings.bucket_bound}: "
            f"{crowd} have equal codes at all levels but the last, which has {settings.codebook_size}. Every request "
            "will take longer; leave out items without interactions and content, or take a recipe with more codes or "
            "levels"
        )


def _check_usage(report: RecIdReport, settings: RecIdSettings, codes: Int32Array) -> None:
    """Refuse codebooks of which most codes are idle.

    A level has work to do for the items that share all codes above it; where these are few, low usage is natural (the
    levels above have told the items apart already) and no floor holds.
    """
    for level, usage in enumerate(report.usage):
        num_undecided = _num_undecided(codes, level)
        if num_undecided >= ITEMS_PER_CODE * settings.codebook_size and usage < settings.min_code_usage:
            raise CollapsedRecIdsError(
                f"level {level} uses {usage:.0%} of its {settings.codebook_size} codes for {num_undecided} items that "
                f"the levels above leave together; the floor is {settings.min_code_usage:.0%}: take a recipe with "
                "fewer codes, or train the quantizer longer"
            )


def _check_spread(codes: Int32Array, items: npt.NDArray[np.float32], codebook_size: int) -> None:
    """Refuse codebooks that crowd items together although their vectors [N, D] differ.

    Items with equal vectors count once: a catalogue may hold many of which nothing is known.
    """
    _, first, copies = np.unique(items, axis=0, return_index=True, return_counts=True)
    fewest = ITEMS_PER_CODE * codebook_size
    distinct = codes[first]
    for level in range(codes.shape[1]):
        num_used, perplexity = len(np.unique(distinct[:, level])), _perplexity(distinct[:, level])
        if _num_undecided(distinct, level) >= fewest and perplexity < MIN_PERPLEXITY * num_used:
            raise CollapsedRecIdsError(
                f"level {level} has a perplexity of {perplexity:.1f} with {num_used} codes in use: a few codes hold "
                f"nearly all items; the floor is {MIN_PERPLEXITY * num_used:.1f}: train the quantizer longer, or look "
                "for features with outliers"
            )
    _, bucket, sizes = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    alone = (sizes[bucket.reshape(-1)] == 1)[first[copies == 1]]
    at_random = (1 - float(codebook_size) ** -codes.shape[1]) ** (len(codes) - 1)
    if len(alone) >= fewest and alone.mean() < MIN_UNIQUE_SHARE * at_random:
        raise CollapsedRecIdsError(
            f"{alone.mean():.1%} of the {len(alone)} items whose vectors differ from all others have their codes to "
            f"themselves, {at_random:.1%} would if codes were drawn at random; the floor is {MIN_UNIQUE_SHARE:.0%} of "
            "that: train the quantizer longer, or take a recipe with more codes or levels"
        )


def _num_undecided(codes: Int32Array, level: int) -> int:
    """How many items share all codes above a level with another item."""
    if level == 0:
        return len(codes)
    _, bucket, sizes = np.unique(codes[:, :level], axis=0, return_inverse=True, return_counts=True)
    return int((sizes[bucket.reshape(-1)] > 1).sum())
