"""Candidate and served release on the same held-out interactions: the same users, histories, targets and choices.

Where the catalogues differ, both may answer with the items that both know, and only such held-out items count: a
release cannot be blamed for an item that came after it, nor the candidate for one that has gone. Items of a history
that a release does not know are left out of it, as the service does. Users who are left without a history or a held-out
item are skipped. Where the split has moved since (a base that was written anew), the served release may have learned
from what is held out now: then it looks better than it is, never worse.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from offline import progress
from offline.beyond_accuracy import catalogue_coverage
from offline.dataset import Dataset, Histories, held_out_users
from offline.metrics import metrics_by_user
from offline.retraining.served_release import OpenDecoder, UnusableReleaseError
from service.constraints import ItemFilter
from service.contract.allowed_nodes import AllowedNodes
from service.onnx_session import DecoderError

IntArray = npt.NDArray[np.int64]
MOST_USERS = 10_000
"""Users that are compared, evenly spread: by then the standard error is far below any tolerance."""
BATCH_USERS = 64
TOP = 20
QUALITIES = ("recall@20", "ndcg@20")
COVERAGE = "coverage@20"


def compare(candidate: OpenDecoder, served: OpenDecoder, dataset: Dataset) -> dict[str, Any]:
    """Qualities of both, and of each the mean and standard error of the paired difference.

    Returns:
        `users` compared; `new` and `served` with `recall@20`, `ndcg@20` and `coverage@20`; `difference` and
        `standard_error` of the first two (candidate minus served); `common_items` that both know. Without a user that
        can be compared, `users` is 0 and only `common_items` is beside it.

    Raises:
        UnusableReleaseError: the served release gives no answer.
        DecoderError: the candidate gives none.
    """
    rows = rows_of(served.item_ids, dataset.item_ids)  # [N] row in the served release, -1 where it does not know it
    known = rows >= 0
    users, histories, targets = _comparable(dataset, known)
    found: dict[str, Any] = {"users": len(users), "common_items": int(known.sum())}
    if not len(users):
        return found
    back = rows_of(dataset.item_ids, served.item_ids)
    rankings = {"new": _rank(candidate, histories, known, "new")}
    try:
        theirs = _rank(served, [rows[history[known[history]]] for history in histories], back >= 0, "served")
    except DecoderError as error:
        raise UnusableReleaseError(f"the served release does not answer ({error})") from error
    rankings["served"] = np.where(theirs >= 0, back[theirs], -1)
    by_user = {name: metrics_by_user(ranking, users, targets, (TOP,)) for name, ranking in rankings.items()}
    for name, ranking in rankings.items():
        found[name] = {each: float(by_user[name][each].mean()) for each in QUALITIES}
        found[name][COVERAGE] = catalogue_coverage(ranking, int(known.sum()))
    gains = {each: by_user["new"][each] - by_user["served"][each] for each in QUALITIES}
    found["difference"] = {each: float(gain.mean()) for each, gain in gains.items()}
    found["standard_error"] = {each: float(gain.std() / len(gain) ** 0.5) for each, gain in gains.items()}
    return found


def rows_of(item_ids: Sequence[str], wanted: Sequence[str]) -> IntArray:
    """For each wanted id its row among `item_ids`, -1 where it is none of them: int64 [len(wanted)]."""
    row_of = {item_id: row for row, item_id in enumerate(item_ids)}
    return np.array([row_of.get(item_id, -1) for item_id in wanted], np.int64)


def _comparable(dataset: Dataset, known: npt.NDArray[np.bool_]) -> tuple[IntArray, list[IntArray], Histories]:
    """Users with a known item in the history and held out, their whole histories, and the known held-out items."""
    all_targets, all_histories = dataset.targets("test"), dataset.histories("test")
    owners = np.repeat(np.arange(dataset.num_users), np.diff(all_targets.offsets))
    kept = known[all_targets.items]
    sizes = np.bincount(owners[kept], minlength=dataset.num_users)
    targets = Histories(np.concatenate([[0], np.cumsum(sizes)]), all_targets.items[kept])
    users = [
        int(user)
        for user in held_out_users(dataset, "test", MOST_USERS)
        if sizes[user] and known[all_histories.of(int(user))].any()
    ]
    return np.array(users, np.int64), [all_histories.of(user) for user in users], targets


def _rank(one: OpenDecoder, histories: Sequence[IntArray], common: npt.NDArray[np.bool_], name: str) -> IntArray:
    """The best `TOP` of the common items for each history, which is left out: item rows [U, TOP], -1 where none is."""
    allowed = None if common.all() else AllowedNodes.of(one.trie, common[one.trie.leaf_to_row])
    width = one.decoder.settings.beam_widths[0]
    ranking = np.full((len(histories), TOP), -1, np.int64)
    with progress.task(f"compare: rank with the {name} release", len(histories)) as task:
        for start in range(0, len(histories), BATCH_USERS):
            batch = histories[start : start + BATCH_USERS]
            filters = [ItemFilter(excluded=rows, allowed=allowed) for rows in batch]
            leaves = one.decoder.decode(batch, filters, beam_width=width).leaves[:, :TOP]
            rows = np.where(leaves >= 0, one.trie.leaf_to_row[leaves], -1)
            ranking[start : start + len(batch), : rows.shape[1]] = rows
            task.advance(steps=len(batch))
    return ranking
