"""Which peers there are, the settings that validation chooses among, and what data each needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from offline.available_memory import available_bytes
from offline.baselines import ease, lightgcn, sasrec
from offline.baselines.ease import Ease
from offline.baselines.item_knn import ItemKnn
from offline.baselines.lightgcn import LightGcn
from offline.baselines.peer import Peer
from offline.baselines.popularity import Popularity
from offline.baselines.sasrec import SasRec
from offline.baselines.transitions import Transitions
from offline.dataset import Dataset


def _fits(_dataset: Dataset) -> str | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A peer of the registry.

    Attributes:
        peer: with the settings that are taken where there is no validation.
        grid: values to try, setting by setting: each with the best of the settings before it. What needs no new fit
            (the recency) is not listed here: `Peer.variants` has it.
        further: values of a setting beyond the last of its grid, tried one by one while each is the best so far.
        unfit: why the peer cannot run on a dataset, None where it can.
    """

    peer: Callable[[], Peer]
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    further: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    unfit: Callable[[Dataset], str | None] = _fits


def _too_many_items(dataset: Dataset, limit: int, why: str) -> str | None:
    if dataset.num_items <= limit:
        return None
    return f"the catalogue has {dataset.num_items} items, more than {limit}: {why}"


def _unfit_ease(dataset: Dataset) -> str | None:
    needed, available = ease.needed_bytes(dataset.num_items), available_bytes()
    if needed > available and dataset.num_items <= ease.MOST_ITEMS:
        return (
            f"the weights of {dataset.num_items} items are a dense square of them and take {needed / 2**30:.1f} GiB of "
            f"memory to fit, and this machine has {available / 2**30:.1f} GiB to give: take a machine with more memory"
        )
    return _too_many_items(dataset, ease.MOST_ITEMS, "its weights are a dense square of them")


def _needs_order(dataset: Dataset) -> str | None:
    if not dataset.has_time:
        return "the dataset has no timestamp, so nothing follows anything; item-knn counts what occurs together"
    return None


def _unfit_sasrec(dataset: Dataset) -> str | None:
    if not dataset.has_time:
        return "the dataset has no timestamp, so a history has no order"
    return _too_many_items(dataset, sasrec.MOST_ITEMS, "a softmax over all of them would take days on a CPU")


def _unfit_lightgcn(dataset: Dataset) -> str | None:
    edges = len(dataset.train.users)
    if edges <= lightgcn.MOST_EDGES:
        return None
    return f"{edges} training interactions, more than {lightgcn.MOST_EDGES}: every step propagates over all of them"


REGISTRY: dict[str, Entry] = {
    "popularity": Entry(peer=Popularity),
    "item-knn": Entry(
        peer=ItemKnn,
        grid={"asymmetry": (0.5, 0.6, 0.3, 0.1), "shrinkage": (0.0, 3.0, 10.0), "user_damping": (1.0, 0.5)},
    ),
    "ease": Entry(
        peer=Ease,
        grid={"regularisation": (100.0, 20.0, 300.0)},
        further={"regularisation": (1000.0, 3000.0)},  # small catalogues want them; every value is an inverse more
        unfit=_unfit_ease,
    ),
    "transitions": Entry(peer=Transitions, grid={"num_hops": (2, 1, 3)}, unfit=_needs_order),
    "lightgcn": Entry(peer=LightGcn, grid={"initial_scale": (0.1, 0.01)}, unfit=_unfit_lightgcn),
    "sasrec": Entry(peer=SasRec, unfit=_unfit_sasrec),
}
