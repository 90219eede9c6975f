"""Which teacher is chosen: what may teach beside the graph encoder, and with what share."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.graph_encoder import ItemVectors
from model.history_state import HistoryState
from offline import co_teacher
from offline import teacher_choice as module
from offline.artefacts import Catalogue
from offline.baselines.ease import Ease
from offline.baselines.transitions import Transitions
from offline.co_teacher import fit_transitions
from offline.dataset import Dataset, Interactions
from offline.metrics import ranking_metrics
from offline.teacher import Teacher
from offline.teacher_choice import choose_teacher, teacher_quality
from tests.offline.conftest import dataset_of
from tests.offline.eleven_items import MAX_HISTORY, NUM_ITEMS, SETTINGS, cyclic, eleven_items


@pytest.fixture
def catalogue() -> Catalogue:
    return eleven_items()


def knowing_keys(catalogue: Catalogue) -> Catalogue:
    """Keys and contexts with which the state of items i to i + 3 points to item i + 4 alone."""
    at = torch.arange(NUM_ITEMS) * 2 * torch.pi / NUM_ITEMS
    turned = at + 2 * torch.pi / NUM_ITEMS
    keys = torch.stack([at.cos(), at.sin(), torch.zeros(NUM_ITEMS)], dim=1)
    contexts = torch.stack([turned.cos(), turned.sin(), torch.zeros(NUM_ITEMS)], dim=1)
    history_state = HistoryState(3, MAX_HISTORY)
    history_state.fit(torch.tensor([1.0, 1e-3]), torch.ones(3))
    return replace(catalogue, vectors=ItemVectors(keys, contexts), history_state=history_state)


def choose(dataset: Dataset, catalogue: Catalogue, *weights: float) -> float:
    settings = replace(SETTINGS, transition_weights=weights, ease_weights=weights, teacher_temperature=0.25)
    return choose_teacher(dataset, catalogue, settings, seed=0).teacher.share


def test_transitions_teach_where_validation_likes_them(catalogue: Catalogue) -> None:
    away = replace(catalogue, vectors=catalogue.vectors._replace(keys=-knowing_keys(catalogue).vectors.keys))
    assert choose(cyclic(), away, 0.0, 0.9) == 0.9


def test_equal_qualities_take_the_first_weight(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph encoder alone, which costs no counts."""
    monkeypatch.setattr(module, "teacher_quality", lambda *_: np.full(30, 0.5))
    assert choose(cyclic(), catalogue, 0.0, 0.3, 0.5) == 0.0


def test_the_best_of_all_weights_is_taken(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    given = [np.full(30, quality) for quality in (0.1, 0.4, 0.2)]
    monkeypatch.setattr(module, "teacher_quality", lambda *_: given.pop(0))
    assert choose(cyclic(), catalogue, 0.0, 0.3, 0.5) == 0.3
    said = "by validation recall@20 + ndcg@20: 0: 0.1000, 0.3: 0.4000, 0.5: 0.2000; taken 0.3\n"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "expected"), [((0.0,), 0.0), ((0.4,), 0.4), ((0.0, 0.3, 0.5), 0.0), ((0.5, 0.0, 0.7), 0.5)]
)
def test_without_validation_the_first_weight_is_taken(
    catalogue: Catalogue, weights: tuple[float, ...], expected: float
) -> None:
    train = [[0, 1, 2], [1, 2, 3]]
    made = dataset_of(train, [[], []], [[], []], num_items=NUM_ITEMS, has_time=True)
    assert choose(made, catalogue, *weights) == expected


def pairs_go_together() -> Dataset:
    """Whoever has one of items 2i and 2i + 1 has the other, and half of the users show the pair only in validation."""
    random = np.random.default_rng(0)
    shown, asked, answers = [], [], []
    for _ in range(40):
        first, second = random.choice(NUM_ITEMS // 2, 2, replace=False) * 2
        shown.append([first, first + 1, second, second + 1])
        asked.append([first, first + 1, second])
        answers.append([second + 1])
    nobody: list[list[int]] = [[]] * 40
    return dataset_of(shown + asked, nobody + answers, nobody * 2, num_items=NUM_ITEMS)


def test_ease_teaches_sets_where_validation_likes_it(catalogue: Catalogue, capsys: pytest.CaptureFixture[str]) -> None:
    assert choose(pairs_go_together(), catalogue, 0.0, 0.9) == 0.9
    assert "share of EASE in the teacher, by validation" in capsys.readouterr().err


def test_what_ease_says_goes_first(catalogue: Catalogue) -> None:
    settings = replace(SETTINGS, ease_weights=(1.0,))
    teacher, _ = choose_teacher(pairs_go_together(), catalogue, settings, seed=0)
    found = teacher.probabilities(torch.zeros(2, 3), torch.tensor([[4, 1, 0], [6, -1, -1]]))
    assert found.argmax(1).tolist() == [5, 7]


def test_sets_have_no_transitions_and_sequences_no_ease(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = dataset_of([[0, 1, 2, 3]] * 5, [[4]] * 5, [[]] * 5, num_items=NUM_ITEMS)
    sequences = dataset_of([[0, 1, 2, 3]] * 5, [[4]] * 5, [[]] * 5, num_items=NUM_ITEMS, has_time=True)
    for dataset, absent in ((sets, Transitions), (sequences, Ease)):
        with monkeypatch.context() as patch:
            patch.setattr(absent, "fit", None)
            assert choose(dataset, catalogue, 0.3) == 0.3


def test_what_has_no_share_is_not_fitted(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ease, "fit", None)
    assert choose(pairs_go_together(), catalogue, 0.0) == 0.0
    unjudged = dataset_of([[0, 1, 2]] * 5, [[]] * 5, [[]] * 5, num_items=NUM_ITEMS)
    assert choose(unjudged, catalogue, 0.0, 0.5) == 0.0  # no validation: the first, which is none


def test_a_catalogue_that_is_too_large_for_ease_is_told(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(co_teacher, "MOST_ITEMS_OF_EASE", NUM_ITEMS - 1)
    assert choose(pairs_go_together(), catalogue, 0.0, 0.5) == 0.0
    assert "EASE does not teach: the catalogue has 11 items, more than 10\n" in capsys.readouterr().err


def judged_by(num_users: int) -> Dataset:
    sets = pairs_go_together()
    held_out = sets.valid.users < 40 + num_users
    return replace(sets, valid=Interactions(*(column[held_out] for column in sets.valid)))


@pytest.mark.parametrize(
    ("num_judges", "most_items", "shares", "taken", "decided"),
    [
        (40, NUM_ITEMS, (0.0, 0.9), 0.9, 0.9),
        (29, NUM_ITEMS, (0.0, 0.9), 0.0, None),
        (29, NUM_ITEMS, (0.3, 0.9), 0.3, None),
        (0, NUM_ITEMS, (0.3, 0.9), 0.3, None),
        (0, NUM_ITEMS, (0.3,), 0.3, 0.3),
        (40, NUM_ITEMS, (0.0,), 0.0, 0.0),
        (40, NUM_ITEMS - 1, (0.0, 0.9), 0.0, None),
        (40, NUM_ITEMS - 1, (0.3,), 0.0, None),
    ],
)
def test_a_share_that_nothing_decided_is_told_from_one_that_was(
    catalogue: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
    num_judges: int,
    most_items: int,
    shares: tuple[float, ...],
    taken: float,
    decided: float | None,
) -> None:
    """Else a young shop's first share would be inherited by every run that starts from the one before."""
    monkeypatch.setattr(co_teacher, "MOST_ITEMS_OF_EASE", most_items)
    settings = replace(SETTINGS, ease_weights=shares)
    teacher, share = choose_teacher(judged_by(num_judges), catalogue, settings, seed=0)
    assert (teacher.share, share) == (taken, decided)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_quality_of_a_teacher_by_loops(catalogue: Catalogue, share: float) -> None:
    random = np.random.default_rng(0)
    lists = [random.permutation(NUM_ITEMS)[: random.integers(1, 8)].tolist() for _ in range(9)]
    valid = [[int(random.choice(np.setdiff1d(np.arange(NUM_ITEMS), items)))] for items in lists]
    made = dataset_of(lists, [*valid[:6], [], [], valid[8]], [[]] * 9, num_items=NUM_ITEMS, has_time=True)
    beside = fit_transitions(made, 0)
    teacher = Teacher(catalogue.vectors.keys, catalogue.trie, 0.3, beside, share)
    users, rankings = np.array([0, 1, 2, 3, 4, 5, 8]), []
    for user in users:
        history = torch.tensor([lists[user][::-1][:MAX_HISTORY]])
        state = catalogue.history_state(catalogue.vectors.contexts[history], torch.ones(history.shape))
        order = teacher.probabilities(state, history)[0].argsort(descending=True).tolist()
        fresh = [item for item in order if item not in lists[user]]
        rankings.append(fresh + [-1] * (20 - len(fresh)))
    metrics = ranking_metrics(np.array(rankings), users, made.targets("valid"), (20,))
    assert teacher_quality(teacher, catalogue, made).mean() == pytest.approx(metrics["recall@20"] + metrics["ndcg@20"])
