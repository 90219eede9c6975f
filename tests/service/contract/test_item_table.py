"""The item table and its flat arrays."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.item_table import ItemTable

TABLE = ItemTable(
    item_ids=("b", "é☃", "a"),
    titles=("Bread", "", "Ähre"),
    categories=(("food", "baked"), (), ("food",)),
    train_counts=np.array([3, 8, 3]),
)


def column(table: ItemTable) -> tuple[Any, ...]:
    return table.item_ids, table.titles, table.categories, table.train_counts.tolist()


def test_rows_and_popularity() -> None:
    assert len(TABLE) == 3
    assert TABLE.row_of() == {"b": 0, "é☃": 1, "a": 2}
    assert TABLE.popular_rows().tolist() == [1, 2, 0]  # 8 first, then the tie at 3 by id: a before b


def test_the_arrays_by_eye() -> None:
    arrays = TABLE.arrays()
    assert arrays["items.id.bytes"].tobytes() == "bé☃a".encode()
    assert arrays["items.id.start"].tolist() == [0, 1, 6, 7]
    assert arrays["items.category.bytes"].tobytes() == b"foodbakedfood"
    assert arrays["items.category_start"].tolist() == [0, 2, 2, 3]
    assert arrays["items.train_count"].tolist() == [3, 8, 3]


def test_new_items_append_to_the_arrays() -> None:
    """So that an array of a later release shares its full chunks with its parent."""
    grown = ItemTable(
        item_ids=(*TABLE.item_ids, "new"),
        titles=(*TABLE.titles, "New"),
        categories=(*TABLE.categories, ("food",)),
        train_counts=np.append(TABLE.train_counts, 0),
    ).arrays()
    for name, array in TABLE.arrays().items():
        assert np.array_equal(grown[name][: len(array)], array), name


rows = st.lists(
    st.tuples(st.text(max_size=4), st.text(max_size=4), st.lists(st.text(max_size=3), max_size=3), st.integers(0, 5)),
    max_size=12,
    unique_by=lambda row: row[0],
)


@given(rows)
def test_the_arrays_make_the_same_table_again(drawn: list[Any]) -> None:
    table = ItemTable(
        item_ids=tuple(row[0] for row in drawn),
        titles=tuple(row[1] for row in drawn),
        categories=tuple(tuple(row[2]) for row in drawn),
        train_counts=np.array([row[3] for row in drawn], np.int64),
    )
    assert column(ItemTable.from_arrays(table.arrays())) == column(table)
    by_count_then_id = sorted(range(len(drawn)), key=lambda row: (-drawn[row][3], drawn[row][0]))
    assert table.popular_rows().tolist() == by_count_then_id


def test_an_id_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="an item id occurs twice"):
        ItemTable(("a", "b", "a"), ("", "", ""), ((), (), ()), np.zeros(3, np.int64))


@pytest.mark.parametrize("short", ["item_ids", "titles", "categories", "train_counts"])
def test_columns_of_different_lengths_are_refused(short: str) -> None:
    columns: dict[str, Any] = {
        "item_ids": ("a", "b"),
        "titles": ("", ""),
        "categories": ((), ()),
        "train_counts": np.zeros(2, np.int64),
    }
    columns[short] = columns[short][:1]
    with pytest.raises(ValueError, match=rf"differ in length: .*'{short}': 1"):
        ItemTable(**columns)


@pytest.mark.parametrize("name", sorted(TABLE.arrays()))
def test_a_missing_array_is_named(name: str) -> None:
    arrays = TABLE.arrays()
    del arrays[name]
    with pytest.raises(ValueError, match=rf"{name}.*is missing; republish"):
        ItemTable.from_arrays(arrays)
