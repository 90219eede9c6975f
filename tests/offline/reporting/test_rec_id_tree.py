"""The tree: every item has its share of the circle at every level, colours say what is inside."""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from offline.reporting.facts import Facts, read_facts
from offline.reporting.rec_id_tree import THINNEST, branches_of, colouring_of
from offline.reporting.sunburst import RINGS, SIZE, sunburst
from offline.run_folder import RunFolder
from service.contract.item_table import ItemTable

MakeFacts = Callable[..., Facts]


@pytest.fixture
def facts_of(made: RunFolder) -> MakeFacts:
    """The facts of a run with other codes [N, L] and, where given, categories."""

    def make(codes: np.ndarray, categories: tuple[tuple[str, ...], ...] | None = None) -> Facts:
        size = len(codes)
        ids = tuple(f"item-{row}" for row in range(size))
        table = ItemTable(ids, ("",) * size, categories or ((),) * size, np.arange(size)[::-1].copy())
        made.save_arrays("item_table", table.arrays())
        rec_ids = np.column_stack([codes, np.zeros(size, np.int64)]).astype(np.int32)
        made.save_arrays("rec_ids", {"rec_ids": rec_ids})
        (made.folder / "recommended.npz").unlink(missing_ok=True)
        sizes = [int(level.max()) + 1 for level in codes.T]
        made.write_json("rec_ids.json", made.read_json("rec_ids.json") | {"codebook_sizes": sizes})
        return read_facts(made)

    return make


def test_the_made_run_branches_as_its_codes_do(made: RunFolder) -> None:
    facts = read_facts(made)
    branches = branches_of(facts, colouring_of(facts))
    found = {branch.text.partition(":")[0]: (branch.start, branch.stop) for branch in branches}
    assert found == {
        "code 0": (0, 0.5),
        "codes 0, 0": (0, pytest.approx(2 / 6)),
        "codes 0, 1": (pytest.approx(2 / 6), 0.5),
        "code 1": (0.5, 1),
        "codes 1, 1": (0.5, pytest.approx(5 / 6)),
        "codes 1, 0": (pytest.approx(5 / 6), pytest.approx(1)),
    }
    whole = next(branch.text for branch in branches if branch.text.startswith("code 1"))
    # Most interacted first; an item without title by its id.
    assert whole == "code 1: 3 items, 66.7 % land\nRed rose · Oak · f"


def test_categories_colour_the_branches_that_they_fill(made: RunFolder) -> None:
    facts = read_facts(made)
    colouring = colouring_of(facts)
    assert dict(colouring.legend) == {"sea": "s0", "land": "s1", "red": "s2", "other": "rest"}
    branches = {branch.text.partition(":")[0]: branch for branch in branches_of(facts, colouring)}
    assert (branches["code 0"].look, branches["code 1"].look) == ("s0", "s1")
    assert branches["code 0"].opacity == 1 > branches["code 1"].opacity


@pytest.mark.parametrize("kind", ["many", "few"])
def test_items_of_several_categories_have_that_which_follows_the_tree(facts_of: MakeFacts, kind: str) -> None:
    """Four wide categories, four narrow ones, an item has one of each: the codes follow the wide or the narrow."""
    wide, narrow = np.arange(800) % 4, np.arange(800) // 4 % 5
    categories = [
        (f"wide-{one}", *([f"narrow-{two}"] if two < 4 else [])) for one, two in zip(wide, narrow, strict=True)
    ]
    facts = facts_of((wide if kind == "many" else narrow)[:, None], tuple(categories))
    branches = branches_of(facts, colouring_of(facts))
    told = [branch.text.partition("\n")[0].rpartition(" ")[2] for branch in branches]
    assert sorted(told)[:4] == [f"{'wide' if kind == 'many' else 'narrow'}-{number}" for number in range(4)]


def test_without_telling_categories_colours_say_popularity(facts_of: MakeFacts) -> None:
    codes = np.array([[0], [0], [1], [1]])
    for categories in (((),) * 4, (("all",),) * 4, (("one",), (), (), ())):
        facts = facts_of(codes, categories)
        colouring = colouring_of(facts)
        assert "training interactions" in colouring.title
        first, second = branches_of(facts, colouring)
        assert first.opacity > second.opacity  # the counts are 3, 2, 1, 0
        assert [branch.text.partition("\n")[0] for branch in (first, second)] == [
            "code 0: 2 items, 2.5 training interactions an item",
            "code 1: 2 items, 0.5 training interactions an item",
        ]


@pytest.mark.parametrize("num_levels", [1, 2, 3])
def test_every_item_has_its_share_at_every_level(facts_of: MakeFacts, num_levels: int) -> None:
    """A catalogue whose second level is too fine to be drawn branch by branch."""
    codes = np.random.default_rng(0).integers(0, (4, 2000, 3)[:num_levels], (5000, num_levels))
    codes[:1000, 1:] = 7  # but one branch is not
    facts = facts_of(codes)
    branches = branches_of(facts, colouring_of(facts))
    for ring in range(min(num_levels, 2)):
        of_ring = [branch for branch in branches if branch.ring == ring]
        assert sorted(row for branch in of_ring for row in branch.rows) == list(range(5000))
        assert of_ring[0].start == 0
        assert of_ring[-1].stop == pytest.approx(1)
        for branch, following in zip(of_ring, [*of_ring[1:], None], strict=True):
            assert branch.stop - branch.start == pytest.approx(len(branch.rows) / 5000)
            assert following is None or following.start == pytest.approx(branch.stop)
    thick = [branch for branch in branches if branch.ring == 1]
    assert len(thick) < 1 / THINNEST
    assert all(", and any of" in branch.text or len(branch.rows) / 5000 >= THINNEST for branch in thick)


def test_branches_too_thin_to_be_seen_are_joined_by_their_colour(facts_of: MakeFacts) -> None:
    """4000 items, each with a second code of its own: sea, land, and too few of the third kind."""
    codes = np.column_stack([np.zeros(4000, int), np.arange(4000)])
    kinds = [("land",)] * 1850 + [("sea",)] * 1950 + [("sky",)] * 3 + [()] * 197
    facts = facts_of(codes, tuple(kinds))
    outer = [branch for branch in branches_of(facts, colouring_of(facts)) if branch.ring == 1]
    assert [(branch.look, len(branch.rows)) for branch in outer] == [
        ("s0", 1950),
        ("s1", 1850),
        ("rest", 197),
        ("s2", 3),
    ]
    assert outer[0].text.startswith("codes 0, and any of 4000: 1950 items, 100 % sea\n")


def test_arcs_cover_the_area_of_their_ring(made: RunFolder) -> None:
    facts = read_facts(made)
    root = ET.fromstring(sunburst("tree", branches_of(facts, colouring_of(facts)), facts.num_items))
    paths = list(root.iter("path"))
    assert len(paths) == 6
    corners = [float(number) for number in re.findall(r"[\d.]+", paths[0].get("d", ""))[:2]]
    assert corners == [SIZE / 2, pytest.approx(SIZE / 2 - RINGS[0][1])]  # it begins at the top
    titles = [path.findtext("title") or "" for path in paths]
    assert any("Blue <script>x</script>" in title for title in titles)  # as text


def test_one_code_for_everything_is_a_whole_ring(facts_of: MakeFacts, tmp_path: Path) -> None:
    facts = facts_of(np.zeros((3, 1), int))
    (branch,) = branches_of(facts, colouring_of(facts))
    assert (branch.start, branch.stop) == (0, 1)
    path = next(ET.fromstring(sunburst("tree", [branch], 3)).iter("path")).get("d", "")
    start, stop = re.match(r"M(\S+ \S+)A.*? 1 1 (\S+ \S+)L", path).groups()  # type: ignore[union-attr]
    assert start != stop  # an arc that ends where it begins is not drawn at all
    x, y = map(float, stop.split())
    assert math.hypot(x - SIZE / 2, y - (SIZE / 2 - RINGS[0][1])) < 0.5
