"""What the recipes make of a dataset's size, from one user and item to ten million items."""

from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest

from offline.recipes import RECIPES, paper, standard, tiny


def dataset(num_items: int = 100, num_users: int = 50, num_pairs: int = 500, **changes: Any) -> Any:
    """All that a recipe looks at."""
    train = SimpleNamespace(users=range(num_pairs))
    known = {"num_items": num_items, "num_users": num_users, "train": train, "has_time": False, "features": {}}
    return SimpleNamespace(**(known | changes))


SIZES = [(1, 1, 1), (10, 3, 12), (7000, 10_000, 70_000), (17_632, 1_892, 74_000), (10_000_000, 5_000_000, 10**9)]


@pytest.mark.parametrize("has_time", [False, True])
@pytest.mark.parametrize(("num_items", "num_users", "num_pairs"), SIZES)
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_work_to_do_at_every_size(
    name: str, num_items: int, num_users: int, num_pairs: int, has_time: bool
) -> None:
    recipe = RECIPES[name](dataset(num_items, num_users, num_pairs, has_time=has_time), 7)
    assert (recipe.name, recipe.seed) == (name, 7)
    sizes = ("num_steps", "num_quantizer_steps", "batch_users", "dim", "num_layers", "latent_dim")
    assert all(asdict(recipe.graph)[size] >= 1 for size in sizes)
    assert recipe.generator.num_steps >= 1
    assert recipe.generator.dim % recipe.generator.num_heads == 0
    assert recipe.dense_weights
    assert recipe.beam_widths[0] >= 20  # the metrics' longest list


@pytest.mark.parametrize("num_items", [1, 9, 64, 65, 4096, 16_384, 16_385, 10_000_000])
def test_standard_rec_ids_have_room_for_every_item(num_items: int) -> None:
    rec_ids = standard(dataset(num_items), 0).rec_ids
    assert rec_ids.codebook_size**rec_ids.num_levels * rec_ids.bucket_bound >= num_items
    # No more than 32 items per first code with two levels, so that the second can tell them apart.
    assert rec_ids.num_levels == 3 or num_items <= 32 * rec_ids.codebook_size


def test_standard_rec_ids_by_eye() -> None:
    sizes = {1: (8, 2), 64: (8, 2), 65: (16, 2), 2049: (512, 2), 16_384: (512, 2), 16_385: (512, 3)}
    found = {items: standard(dataset(items), 0).rec_ids for items in sizes}
    assert {items: (each.codebook_size, each.num_levels) for items, each in found.items()} == sizes


def test_standard_has_room_for_the_histories_of_sets() -> None:
    """Training interactions a user to slots: lastfm-2k has 24, tiktok 6."""
    slots = {6: 64, 24: 64, 32: 64, 33: 128, 64: 128, 65: 256, 1000: 256}
    found = {mean: standard(dataset(num_users=10, num_pairs=10 * mean), 0).generator.max_history for mean in slots}
    assert found == slots


def test_long_sets_share_a_step_with_fewer_others_and_are_seen_as_often() -> None:
    for mean, users in {24: 64, 33: 32, 1000: 16}.items():
        few, many = (
            standard(dataset(num_users=count, num_pairs=mean * count), 0).generator for count in (300, 100_000)
        )
        assert (few.batch_users, few.batch_users * few.max_history) == (users, 64 * 64)
        assert few.num_steps == 800
        assert many.num_steps * many.batch_users == pytest.approx(8 * 100_000, rel=0.001)


def test_of_long_sequences_the_newest_items_do() -> None:
    assert standard(dataset(num_users=10, num_pairs=10_000, has_time=True), 0).generator.max_history == 64


@pytest.mark.parametrize("name", ["tiny", "standard"])
def test_a_large_catalogue_is_never_compared_whole(name: str) -> None:
    """The softmax runs over a sample from here on: memory follows the batch and not ten million items."""
    recipe = RECIPES[name](dataset(10_000_000, 5_000_000, 10**9, has_time=True), 0)
    assert recipe.graph.max_candidates <= 100_000


def test_the_paper_as_published() -> None:
    """arXiv 2404.16555 and its code: BPR on two layers, content alone, 3 × 128 codes of width 4, two stages."""
    recipe = paper(dataset(features={"image": None}), 0)
    assert (recipe.graph.collaborative_loss, recipe.graph.num_layers, recipe.graph.dim) == ("bpr", 2, 64)
    assert (recipe.graph.members, recipe.graph.embedding_dropout) == (("fused",), 1.0)
    assert (recipe.graph.quantization, recipe.graph.latent_dim) == ("two_stage", 4)
    assert (recipe.rec_ids.num_levels, recipe.rec_ids.codebook_size, recipe.rec_ids.source) == (3, 128, "graph")
    assert (recipe.generator.teacher_weight, recipe.generator.num_teacher_targets) == (0.0, 0)
    assert recipe.generator.transition_weights == recipe.dense_weights == (0.0,)


def test_the_paper_needs_embeddings_where_there_is_no_content() -> None:
    assert paper(dataset(), 0).graph.embedding_dropout == 0.0


def test_the_steps_of_standard_follow_the_users() -> None:
    few, many = (standard(dataset(num_users=users), 0) for users in (1_000, 200_000))
    assert many.graph.num_steps * many.graph.batch_users > few.graph.num_steps * few.graph.batch_users
    assert many.generator.num_steps > few.generator.num_steps


def test_tiny_is_the_same_for_every_dataset() -> None:
    assert tiny(dataset(5), 3) == tiny(dataset(10**6, has_time=True), 3)


@pytest.mark.parametrize(
    ("part", "switch"),
    [
        ("graph", "quantization"),
        ("graph", "collaborative_loss"),
        ("rec_ids", "source"),
        ("generator", "attention"),
    ],
)
def test_a_switch_on_no_position_is_refused(part: str, switch: str) -> None:
    settings = getattr(standard(dataset(), 0), part)
    with pytest.raises(ValueError, match=f"{switch}='typo' is none of"):
        replace(settings, **{switch: "typo"})


def test_members_on_no_position_are_refused() -> None:
    graph = standard(dataset(), 0).graph
    with pytest.raises(ValueError, match=r"members=\('fused', 'typo'\) is none of"):
        replace(graph, members=("fused", "typo"))


@pytest.mark.parametrize(("num_pairs", "num_members"), [(500, 8), (2**17, 4), (10**9, 2)])
def test_more_members_where_interactions_are_few(num_pairs: int, num_members: int) -> None:
    members = standard(dataset(num_pairs=num_pairs), 0).graph.members
    assert len(members) == num_members
    assert members.count("fused") == members.count("aligned")


@pytest.mark.parametrize(
    ("num_items", "num_pairs", "num_members"),
    [
        (1_425, 44_327, 8),  # lastfm-2k
        (6_710, 59_541, 8),  # tiktok
        (12_101, 153_776, 4),  # amazon-beauty
        (2**17, 1_800, 8),
        (2**18, 1_800, 4),
        (1_000_000, 1_800, 2),
        (1_000_000, 200_000, 2),
        (10_000_000, 1_800, 2),
    ],
)
def test_no_more_members_than_the_items_leave_room_for(num_items: int, num_pairs: int, num_members: int) -> None:
    assert len(standard(dataset(num_items, num_pairs=num_pairs), 0).graph.members) == num_members


def test_a_step_looks_at_few_neighbours_where_the_graph_is_large() -> None:
    assert standard(dataset(num_pairs=2**21 - 1), 0).graph.fan_out == 0
    assert standard(dataset(num_pairs=2**21), 0).graph.fan_out == 8


def test_joint_quantisation_needs_keys_without_a_projection() -> None:
    graph = standard(dataset(), 0).graph
    with pytest.raises(ValueError, match="one member of dim=128 columns, and not 8 of 64"):
        replace(graph, quantization="joint")
    assert replace(graph, quantization="joint", members=("fused",), member_dim=128).dim == 128
