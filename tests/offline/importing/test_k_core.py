"""The k-core beside an obvious one, in stretches of a few rows."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.importing import row_codes
from offline.importing.k_core import k_core
from offline.importing.row_codes import encode_rows
from offline.importing.spool import Spool
from tests.offline.importing.sources import log_of, text_file

Pairs = list[tuple[str, str]]


def slow_core(pairs: Pairs, of_user: int, of_item: int) -> Pairs:
    """Take away one bad row after the other until there is none."""
    pairs = list(pairs)
    while True:
        bad = [
            pair
            for pair in pairs
            if sum(user == pair[0] for user, _ in pairs) < of_user
            or sum(item == pair[1] for _, item in pairs) < of_item
        ]
        if not bad:
            return pairs
        pairs.remove(bad[0])


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("uvwxyz"), st.sampled_from("abcdef")), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_the_core_is_what_is_left_in_the_end(tmp_path_factory, pairs: Pairs, of_user: int, of_item: int) -> None:
    folder = tmp_path_factory.mktemp("core")
    spool = Spool(folder / "spool")
    for start in range(0, len(pairs), 7):
        part = pairs[start : start + 7]
        spool.append(pl.DataFrame(part, schema=["user_id", "item_id"], orient="row"))
    codes = encode_rows(spool, folder / "codes", with_time=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_codes, "STRETCH_ROWS", 5)
        core = k_core(codes, least_of_user=of_user, least_of_item=of_item)
        inside = [bool(kept) for part in codes.stretches() for kept in core.has(part)]
    assert [pair for pair, kept in zip(pairs, inside, strict=True) if kept] == slow_core(pairs, of_user, of_item)


def test_a_core_that_falls_apart_step_by_step(job, tmp_path: Path) -> None:
    """A chain u0-a-u1-b-u2-...: every round takes its ends; the square of x, y and p, q stays."""
    chain = [("u0", "a"), ("u1", "a"), ("u1", "b"), ("u2", "b"), ("u2", "c"), ("u3", "c")]
    square = [("x", "p"), ("x", "q"), ("y", "p"), ("y", "q")]
    text = "user_id,item_id\n" + "".join(f"{user},{item}\n" for user, item in chain + square)
    ended = job("import", text_file(tmp_path / "log.csv", text), "--data", tmp_path / "shop", "--k-core", "2")
    assert log_of(tmp_path / "shop") == square
    assert (ended.result["items"], ended.result["dropped"]) == (2, {"below --k-core": 6})
    assert "k-core: 4 of 10 interactions after" in ended.err


def test_users_and_items_may_need_different_numbers(job, tmp_path: Path) -> None:
    text = "user_id,item_id\nu,a\nv,a\nw,a\nw,b\n"
    job("import", text_file(tmp_path / "log.csv", text), "--data", tmp_path / "shop", "--k-core", "1,2").result  # noqa: B018
    assert log_of(tmp_path / "shop") == [("u", "a"), ("v", "a"), ("w", "a")]
