"""Scoring: rankings of the decoder and what stands beside them, the predictions, and counts that really count."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from offline.dataset import Dataset, item_table
from offline.evaluate import Rankings, evaluate, popular_ranking, rank_users, served_rankings, write_predictions
from offline.run_folder import RunFolder
from offline.train import evaluate_run
from service.decoder import Decoded
from service.serving.recommender import Prepared, popular

NUM_ITEMS = 30


class LastItemDecoder:
    """Ranks what is near the last item of the history, keeps its promises, and writes down what it was asked."""

    num_items = NUM_ITEMS

    def __init__(self) -> None:
        self.row_to_leaf = np.random.default_rng(0).permutation(NUM_ITEMS)
        self.asked: list[tuple[list[int], list[int], int]] = []

    def decode(self, histories, filters, *, beam_width: int) -> Decoded:
        leaves = np.full((len(histories), beam_width), -1)
        score = np.full((len(histories), beam_width), -np.inf, np.float32)
        for at, (history, (left_out, *more)) in enumerate(zip(histories, filters, strict=True)):
            assert more == [None, None]  # neither candidates nor a category filter
            self.asked.append((history.tolist(), left_out.tolist(), beam_width))
            rows = [row for row in range(NUM_ITEMS) if row not in left_out]
            rows = sorted(rows, key=lambda row: abs(row - history[-1]))[:beam_width]
            leaves[at, : len(rows)] = self.row_to_leaf[rows]
            score[at, : len(rows)] = [-abs(row - history[-1]) for row in rows]
        return Decoded(leaves, 2 * score, score)


@pytest.fixture
def small(make_dataset) -> Dataset:
    """Two users with test items and one without."""
    return make_dataset(
        [[0, 1, 2], [9, 8], [5, 5, 5]], [[3], [], []], [[4], [], [6, 20]], num_items=NUM_ITEMS, has_time=True
    )


def rankings_of(items: list[list[int]], users: list[int] | None = None) -> Rankings:
    padded = np.array([row + [-1] * (20 - len(row)) for row in items])
    score = np.where(padded >= 0, -np.arange(20), -np.inf).astype(np.float32)
    return Rankings(users=np.array(users or range(len(items))), items=padded, log_prob=score, score=score)


def test_users_with_held_out_items_are_ranked_by_the_protocol(small: Dataset) -> None:
    decoder = LastItemDecoder()
    found = rank_users(decoder, small, "test", beam_width=25)
    assert found.users.tolist() == [0, 2]
    assert decoder.asked == [([0, 1, 2, 3], [0, 1, 2, 3], 25), ([5], [5], 25)]  # train + valid, left out
    assert found.items[0, :4].tolist() == [4, 5, 6, 7]
    assert found.items[1, :3].tolist() == [4, 6, 3]
    rank_users(decoder, small, "valid", beam_width=25)
    assert decoder.asked[2:] == [([0, 1, 2], [0, 1, 2], 25)]


def test_batches_change_nothing_and_users_can_be_sampled(make_dataset) -> None:
    lists = [[row % NUM_ITEMS] for row in range(150)]
    many = make_dataset(lists, [[]] * 150, [[(row + 1) % NUM_ITEMS] for row in range(150)], num_items=NUM_ITEMS)
    found = rank_users(LastItemDecoder(), many, "test", beam_width=20)
    assert found.users.tolist() == list(range(150))
    for user in (0, 63, 64, 149):
        nearest = min((row for row in range(NUM_ITEMS) if row != user % 30), key=lambda row: abs(row - user % 30))
        assert found.items[user, 0] == nearest
    sampled = rank_users(LastItemDecoder(), many, "test", beam_width=20, max_users=4)
    assert sampled.users.tolist() == [0, 49, 99, 149]
    np.testing.assert_array_equal(sampled.items, found.items[sampled.users])


def test_nothing_held_out_leaves_the_counts_alone(make_dataset) -> None:
    made = make_dataset([[0], [1]], [[], []], [[], []], num_items=NUM_ITEMS)
    found = rank_users(LastItemDecoder(), made, "test", beam_width=20)
    assert (found.users.shape, found.items.shape, found.score.shape) == ((0,), (0, 20), (0, 20))
    counts = {"illegal": 0, "duplicates": 0, "seen": 0, "users": 0, "users_without_history": 0}
    assert evaluate(found, made, "test") == counts


def test_a_leaf_that_is_no_item_counts_as_illegal(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = LastItemDecoder()
    monkeypatch.setattr(decoder, "row_to_leaf", np.arange(NUM_ITEMS))
    nonsense = Decoded(np.array([[34, 2] + [-1] * 18]), np.zeros((1, 20)), np.zeros((1, 20)))
    monkeypatch.setattr(decoder, "decode", lambda *_, **__: nonsense)
    found = rank_users(decoder, small, "test", beam_width=20, max_users=1)
    assert found.items[0, :3].tolist() == [2, NUM_ITEMS, -1]  # equal scores: what is no item stands behind
    assert evaluate(found, small, "test")["illegal"] == 1


def test_a_good_list_counts_nothing_bad(small: Dataset) -> None:
    metrics = evaluate(rankings_of([[4, 7], [6, 7, 20]], [0, 2]), small, "test")
    assert (metrics["illegal"], metrics["duplicates"], metrics["seen"], metrics["users"]) == (0, 0, 0, 2)
    assert metrics["recall@20"] == metrics["recall@5"] == metrics["beam_recall"] == 1
    assert metrics["coverage@20"] == pytest.approx(4 / NUM_ITEMS)  # dead slots are no items


def test_bad_lists_are_counted(small: Dataset) -> None:
    """Two that do not exist, one repeated twice, one repeated once, three seen (two of train, one of valid)."""
    bad = rankings_of([[30, 4, 7, 7, 7, 0, 3], [99, 8, 8, 5]], [0, 2])
    metrics = evaluate(bad, small, "test")
    assert (metrics["illegal"], metrics["duplicates"], metrics["seen"]) == (2, 3, 3)


def test_the_generator_alone_is_the_same_list_by_log_prob(small: Dataset) -> None:
    items = list(range(9, 29))
    served = rankings_of([items], [2])
    upside_down = np.arange(20, dtype=np.float32)[None]
    turned = Rankings(users=served.users, items=served.items, log_prob=upside_down, score=served.score)
    assert turned.reordered(turned.log_prob)[0].tolist() == items[::-1]
    metrics = evaluate(turned, small, "test")
    assert metrics["recall@20"] == metrics["generator_recall@20"] == 0.5
    assert metrics["ndcg@20"] < metrics["generator_ndcg@20"]  # item 20 is the 12th of one list, the 9th of the other


def test_dead_slots_stay_last_in_any_order() -> None:
    key = np.linspace(0, 1, 20, dtype=np.float32)[None]
    assert rankings_of([[5, 3, 9]]).reordered(key)[0].tolist() == [9, 3, 5] + [-1] * 17


def test_popularity_counts_training_alone_and_leaves_out_the_history(make_dataset) -> None:
    made = make_dataset([[2, 1], [2, 0], [2, 1], []], [[3]] * 4, [[3], [0], [3], [4]], num_items=5, has_time=True)
    found = popular_ranking(made, np.arange(4), "test", num_items=4)
    assert found.tolist() == [[0, 4, -1, -1], [1, 4, -1, -1], [0, 4, -1, -1], [2, 1, 0, 4]]


@pytest.fixture
def half_cold(make_dataset) -> Dataset:
    """User 0 has a history of validation alone, user 2 has none; item 5 is the most popular, then 9."""
    return make_dataset(
        [[], [5, 9], [], [5]], [[1], [], [], []], [[4], [], [9], []], num_items=NUM_ITEMS, has_time=True
    )


def test_users_without_a_history_are_judged_by_what_they_are_served(half_cold: Dataset) -> None:
    rankings = rankings_of([[4, 7], [11, 12]], [0, 2])
    served = served_rankings(rankings, half_cold, "test")
    assert served.items[0].tolist() == rankings.items[0].tolist()
    assert served.items[1].tolist() == [5, 9, *[row for row in range(20) if row not in (5, 9)]]
    assert np.isnan(served.score[1]).all()
    assert served.score[0, 0] == rankings.score[0, 0]

    metrics = evaluate(rankings, half_cold, "test")
    assert (metrics["users"], metrics["users_without_history"]) == (2, 1)
    assert metrics["recall@5"] == 1.0  # item 9 stands in the popular list, not in the model's answer
    assert metrics["ndcg@5"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert metrics["generator_recall@20"] == metrics["beam_recall"] == 0.5
    assert metrics["coverage@20"] == pytest.approx(20 / NUM_ITEMS)  # 4 and 7 are among the popular ones


def test_users_without_a_history_are_ranked_as_the_service_does_it(half_cold: Dataset) -> None:
    order = item_table(half_cold).popular_rows()
    release: Any = SimpleNamespace(popular_rows=order, popular_place=np.argsort(order))
    nothing = np.empty(0, np.int64)
    answer = popular(release, Prepared(nothing, nothing, None, None, 0, 0), 20)
    served = served_rankings(rankings_of([[11, 12]], [2]), half_cold, "test")
    assert served.items[0].tolist() == [pick.row for pick in answer]
    assert {pick.score for pick in answer} == {None}


def test_without_time_what_is_held_out_for_validation_is_no_history(make_dataset) -> None:
    made = make_dataset([[], [5]], [[1], []], [[4], []], num_items=NUM_ITEMS)
    assert evaluate(rankings_of([[4]]), made, "test")["users_without_history"] == 1


def test_predictions_of_popular_items_have_no_score(half_cold: Dataset, tmp_path: Path) -> None:
    served = served_rankings(rankings_of([[4, 7], [11, 12]], [0, 2]), half_cold, "test")
    write_predictions(served, half_cold, tmp_path / "predictions.parquet")
    table = pl.read_parquet(tmp_path / "predictions.parquet")
    assert table.filter(user_id="user-00")["score"].to_list() == [0.0, -1.0]
    popular = table.filter(user_id="user-02")
    assert popular["item_id"].to_list()[:3] == ["item-05", "item-09", "item-00"]
    assert popular["rank"].to_list() == list(range(1, 21))
    assert popular["score"].null_count() == 20


def test_the_predictions_are_the_rankings(dataset: Dataset, run: RunFolder, tmp_path: Path) -> None:
    _, rankings = evaluate_run(dataset, run, "test")
    path = tmp_path / "new" / "predictions.parquet"
    write_predictions(rankings, dataset, path)
    table = pl.read_parquet(path)
    assert dict(table.schema) == {
        "user_id": pl.String,
        "rank": pl.Int32,
        "item_id": pl.String,
        "score": pl.Float32,
    }
    assert table["user_id"].n_unique() == dataset.num_users
    for row, user in enumerate(rankings.users):
        mine = table.filter(pl.col("user_id") == dataset.user_ids[user])
        live = rankings.items[row] >= 0
        assert mine["rank"].to_list() == list(range(1, live.sum() + 1))
        assert mine["item_id"].to_list() == [dataset.item_ids[item] for item in rankings.items[row][live]]
        assert mine["score"].to_list() == rankings.score[row][live].tolist()
        assert mine["score"].is_sorted(descending=True)
        assert len(mine) == dataset.num_items - len(dataset.histories("test").of(int(user)))  # fewer than 50: all


def test_at_most_fifty_predictions_a_user(make_dataset, tmp_path: Path) -> None:
    made = make_dataset([[]], [[]], [[0]], num_items=80)
    score = -np.arange(60, dtype=np.float32)[None]
    wide = Rankings(users=np.array([0]), items=np.arange(60)[None] + 7, log_prob=score, score=score)
    write_predictions(wide, made, tmp_path / "predictions.parquet")
    table = pl.read_parquet(tmp_path / "predictions.parquet")
    assert table["rank"].to_list() == list(range(1, 51))
    assert table["item_id"].to_list() == [f"item-{row:02d}" for row in range(7, 57)]


def test_predictions_are_written_whole_or_not_at_all(
    make_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = np.zeros((1, 1), np.float32)
    one = Rankings(users=np.array([0]), items=np.array([[1]]), log_prob=score, score=score)
    made, path = make_dataset([[]], [[]], [[0]], num_items=2), tmp_path / "predictions.parquet"
    (tmp_path / "link").symlink_to(path)
    write_predictions(one, made, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    whole = path.read_bytes()

    def die(frame: pl.DataFrame, file: Path) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pl.DataFrame, "write_parquet", die)
    with pytest.raises(KeyboardInterrupt):
        write_predictions(one, made, path)
    assert path.read_bytes() == whole
    assert sorted(found.name for found in tmp_path.iterdir()) == ["link", "predictions.parquet"]


def test_the_trained_run_knows_the_two_tastes(dataset: Dataset, run: RunFolder) -> None:
    metrics, rankings = evaluate_run(dataset, run, "test")
    assert (metrics["illegal"], metrics["duplicates"], metrics["seen"]) == (0, 0, 0)
    assert metrics["recall@20"] == metrics["generator_recall@20"] == metrics["dense_recall@20"] == 1
    assert metrics["popularity_recall@20"] < 0.7
    for row, user in enumerate(rankings.users):
        remaining = 30 - len(dataset.histories("test").of(int(user)))
        assert (rankings.items[row, :remaining] % 2 == user % 2).all()
        assert user in rankings.items[row, :remaining]  # the withheld diagonal


def test_equal_scores_are_ordered_by_item_id(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = LastItemDecoder()
    rows = np.array([[7, 3, 12, 9] + [-1] * 16])
    leaves = np.where(rows >= 0, decoder.row_to_leaf[rows], -1)
    score = np.array([[2, 1, 1, 1] + [-9] * 16], np.float32)
    monkeypatch.setattr(decoder, "decode", lambda *_, **__: Decoded(leaves, 10 * score, score))
    found = rank_users(decoder, small, "test", beam_width=20, max_users=1)
    by_id = sorted((3, 9, 12), key=lambda row: small.item_ids[row])
    assert found.items[0, :5].tolist() == [7, *by_id, -1]
    assert found.log_prob[0, :5].tolist() == [20, 10, 10, 10, -90]
