"""Settings are chosen on validation, training ends where it stops improving; nothing looks at the test split."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from offline.baselines import choice, lightgcn
from offline.baselines.choice import choose
from offline.baselines.early_stopping import Stopping, train_in_rounds
from offline.baselines.ease import Ease
from offline.baselines.lightgcn import LightGcn
from offline.baselines.peer import RECENCIES, FloatArray, IntArray, Peer, RecencyPeer
from offline.baselines.registry import REGISTRY, Entry
from offline.dataset import Dataset, Histories

MakeDataset = Callable[..., Dataset]


@dataclass(kw_only=True)
class Tuned(RecencyPeer):
    first: int = 0
    second: int = 0
    recency: float = 1.0
    fits = 0

    def fit(self, dataset: Dataset, *, seed: int) -> None:
        self.has_time = dataset.has_time
        type(self).fits += 1

    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        raise AssertionError("never ranked here")


def quality(peer: Peer, _dataset: Dataset) -> float:
    assert isinstance(peer, Tuned)
    return -((peer.first - 2) ** 2) - (peer.second - peer.first) ** 2 - (peer.recency - 0.5) ** 2


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Entry:
    monkeypatch.setattr(choice, "validation_quality", quality)
    monkeypatch.setattr(Tuned, "fits", 0)
    return Entry(peer=Tuned, grid={"first": (0, 1, 2, 3), "second": (0, 1, 2)})


def test_one_setting_after_another(entry: Entry, make_dataset: MakeDataset) -> None:
    """first alone is best at 1, then second at 1: coordinate by coordinate, and not the best of all pairs."""
    made = make_dataset([[0]], [[1]], [[2]], num_items=3, has_time=True)
    peer, found = choose("tuned", entry, made, seed=0)
    assert peer.settings() == {"first": 1, "second": 1, "recency": 0.5}
    assert found == -1.0
    assert Tuned.fits == 1 + 3 + 2


@pytest.mark.parametrize(
    ("grid", "further", "taken", "fits"),
    [
        ((5, 9, 4), (3, 2, 1, 0, 1), 1, 7),  # to the best and one beyond it
        ((5, 9, 4), (7, 2), 4, 4),  # the first of the further ones is worse
        ((4, 3, 5), (2,), 3, 3),  # the last of the grid is not the best
        ((4,), (3,), 3, 2),
    ],
)
def test_further_values_are_tried_while_they_are_the_best(
    entry: Entry,
    make_dataset: MakeDataset,
    grid: tuple[int, ...],
    further: tuple[int, ...],
    taken: int,
    fits: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = make_dataset([[0]], [[1]], [[2]], num_items=3)
    longer = replace(entry, peer=lambda: Tuned(first=grid[0]), grid={"first": grid}, further={"first": further})
    peer, _ = choose("tuned", longer, made, seed=0)
    assert (peer.settings()["first"], Tuned.fits) == (taken, fits)
    total = len(grid) - 1 + len(further)
    assert f"settings of tuned: {total}/{total} best" in capsys.readouterr().err


def test_ease_goes_on_to_where_it_is_best(monkeypatch: pytest.MonkeyPatch, make_dataset: MakeDataset) -> None:
    """A catalogue of 200 wanted 300, the end of the grid; nothing else of the registry goes further."""
    made, fits = make_dataset([[0, 1]], [[2]], [[3]], num_items=4), []
    monkeypatch.setattr(choice, "validation_quality", lambda peer, _: peer.settings()["regularisation"])
    own = Ease.fit

    def noted(self: Ease, dataset: Dataset, *, seed: int) -> None:
        fits.append(self.regularisation)
        own(self, dataset, seed=seed)

    monkeypatch.setattr(Ease, "fit", noted)
    assert choose("ease", REGISTRY["ease"], made, seed=0).quality == 3000.0
    assert fits == [100.0, 20.0, 300.0, 1000.0, 3000.0]
    monkeypatch.setattr(choice, "validation_quality", lambda peer, _: -abs(peer.settings()["regularisation"] - 100))
    fits.clear()
    choose("ease", REGISTRY["ease"], made, seed=0)
    assert fits == [100.0, 20.0, 300.0]
    assert [name for name, each in REGISTRY.items() if each.further] == ["ease"]


def test_the_recency_is_left_alone_without_time(entry: Entry, make_dataset: MakeDataset) -> None:
    made = make_dataset([[0]], [[1]], [[2]], num_items=3)
    assert choose("tuned", entry, made, seed=0).peer.settings()["recency"] == 1.0


def test_without_validation_the_own_settings_stand(entry: Entry, make_dataset: MakeDataset) -> None:
    made = make_dataset([[0]], [[]], [[2]], num_items=3, has_time=True)
    peer, found = choose("tuned", entry, made, seed=0)
    assert (peer.settings(), found, Tuned.fits) == ({"first": 0, "second": 0, "recency": 1.0}, None, 1)


@pytest.mark.parametrize("name", ["item-knn", "ease", "transitions"])
def test_the_test_split_decides_nothing(name: str, make_dataset: MakeDataset) -> None:
    random = np.random.default_rng(0)
    lists = [random.permutation(30)[:8].tolist() for _ in range(40)]
    parts = [[items[:6] for items in lists], [items[6:7] for items in lists], [items[7:] for items in lists]]
    made = make_dataset(*parts, num_items=30, has_time=True)
    peer, found = choose(name, REGISTRY[name], made, seed=0)
    again, same = choose(name, REGISTRY[name], replace(made, test=made.valid), seed=0)
    assert (peer.settings(), found) == (again.settings(), same)
    assert found is not None
    assert peer.settings()["recency"] in RECENCIES


class Counter(nn.Module):
    """Its only parameter counts the rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = nn.Parameter(torch.zeros(()))

    def one_round(self) -> float:
        self.rounds.data += 1
        return 0.5


def test_the_best_round_is_kept() -> None:
    module, qualities = Counter(), iter([1.0, 3.0, 2.0, 3.0, 2.0, 9.0])
    stopping = Stopping(most_rounds=10, patience=3, rounds_without_validation=2)
    assert train_in_rounds(module, module.one_round, lambda: next(qualities), stopping) == 2
    assert module.rounds.item() == 2
    assert next(qualities) == 9.0  # three rounds without a better one, then the end


@pytest.mark.parametrize(
    ("qualities", "best", "rounds"),
    [([5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 9.0], 1, 5), ([1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 9.0], 4, 6)],
)
def test_short_rounds_cost_no_patience(qualities: list[float], best: int, rounds: int) -> None:
    module, given = Counter(), iter(qualities)
    stopping = Stopping(most_rounds=10, patience=2, rounds_without_validation=2, short_rounds=3)
    assert train_in_rounds(module, module.one_round, lambda: next(given), stopping) == best
    assert module.rounds.item() == best
    assert list(given) == qualities[rounds:]


def test_lightgcn_is_judged_early(monkeypatch: pytest.MonkeyPatch, make_dataset: MakeDataset) -> None:
    """After 5, 10, 20, 40, 80, ... steps: the finer look at the start loses none of the later ones."""
    steps, judged = [], []
    monkeypatch.setattr(LightGcn, "_step", lambda *_: steps.append(1) or 0.5)
    monkeypatch.setattr(lightgcn, "validation_quality", lambda *_: judged.append(len(steps)) or -len(steps))
    peer = LightGcn()
    peer.fit(make_dataset([[0]], [[1]], [[2]], num_items=3), seed=0)
    assert judged == [5, 10, 20, 40, 80, 120, 160, 200]
    assert peer.rounds == 1


def test_rounds_have_a_limit() -> None:
    module = Counter()
    stopping = Stopping(most_rounds=3, patience=9, rounds_without_validation=2)
    assert train_in_rounds(module, module.one_round, lambda: module.rounds.item(), stopping) == 3
    module = Counter()
    assert train_in_rounds(module, module.one_round, None, stopping) == 2
    assert module.rounds.item() == 2


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="the loss of Counter became nan in round 1"):
        train_in_rounds(Counter(), lambda: float("nan"), None, Stopping(3, 3, 3))


def test_only_the_best_fit_is_kept_while_another_is_tried(entry: Entry, make_dataset: MakeDataset) -> None:
    """EASE's weights are a square of the catalogue each."""
    alive: list[int] = []
    fitted: list[weakref.ref[Tuned]] = []

    class Watched(Tuned):
        def fit(self, dataset: Dataset, *, seed: int) -> None:
            alive.append(sum(peer() is not None for peer in fitted))
            fitted.append(weakref.ref(self))
            super().fit(dataset, seed=seed)

    gc.disable()
    try:
        made = make_dataset([[0, 1]] * 3, [[2]] * 3, [[]] * 3, num_items=3)
        choose("watched", replace(entry, peer=Watched), made, seed=0)
    finally:
        gc.enable()
    assert len(alive) > 3
    assert max(alive) == 1
