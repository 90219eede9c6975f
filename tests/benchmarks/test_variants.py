"""Every ablation differs from the full recipe in exactly what its name says."""

from dataclasses import replace

import pytest

from benchmarks.ablating.runner import differences
from benchmarks.ablating.variants import BEAM_WIDTHS, FULL, fits, variants_of
from offline.dataset import Dataset
from offline.recipe_settings import Recipe
from offline.recipes import RECIPES

MEMBERS = ("fused", "aligned") * 4
EXPECTED = {
    "without graph": {"graph.num_layers": [2, 0]},
    "BPR for softmax": {"graph.collaborative_loss": ["softmax", "bpr"]},
    "one member": {"graph.members": [MEMBERS, ("fused",)], "graph.member_dim": [64, 128]},
    "joint quantisation": {
        "graph.members": [MEMBERS, ("fused",)],
        "graph.member_dim": [64, 128],
        "graph.quantization": ["two_stage", "joint"],
    },
    "without audio": {"graph.without_modalities": [(), ("audio",)]},
    "without text": {"graph.without_modalities": [(), ("text",)]},
    "without any content": {"graph.without_modalities": [(), ("audio", "text")]},
    "content fused": {"graph.members": [MEMBERS, ("fused",) * 8]},
    "content aligned": {"graph.members": [MEMBERS, ("aligned",) * 8]},
    "absolute positions": {"generator.attention": ["relation", "absolute"]},
    "plain attention": {"generator.attention": ["relation", "plain"]},
    "random Rec-IDs": {"rec_ids.source": ["graph", "random"], "rec_ids.min_code_usage": [0.5, 0.0]},
    "Rec-IDs of content": {"rec_ids.source": ["graph", "content"], "rec_ids.min_code_usage": [0.5, 0.0]},
    "without popularity token": {"rec_ids.bucket_bound": [8, 1]},
    "without held-out items": {"generator.teacher_weight": [0.95, 1.0]},
    "without transition counts": {
        "generator.transition_weights": [(0.2, 0.0, 0.4, 0.6, 0.8, 1.0), (0.0,)],
        "generator.ease_weights": [(0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (0.0,)],
    },
}


@pytest.fixture
def full(small: Dataset) -> Recipe:
    return RECIPES["standard"](small, 0)


def changed(full: Recipe, dataset: Dataset) -> dict[str, dict[str, list[object]]]:
    return {variant.name: differences(full, variant.change(full)) for variant in variants_of(full, dataset)}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_variant_changes_what_it_says(name: str, full: Recipe, small: Dataset) -> None:
    assert changed(full, small)[name] == EXPECTED[name]


def test_the_sequence_encoder_is_a_part_where_there_is_time(full: Recipe, small: Dataset) -> None:
    with_time, without_time = (changed(full, replace(small, has_time=has_time)) for has_time in (True, False))
    assert with_time["without sequence encoder"] == {"generator.num_sequence_layers": [2, 0]}
    assert with_time["sequence encoder untaught"] == {"generator.sequence_teacher_weight": [0.9, 0.0]}
    assert not [name for name in without_time if "sequence encoder" in name]


def test_without_distillation_there_is_no_teacher(full: Recipe, small: Dataset) -> None:
    settings = {name: after for name, (_, after) in changed(full, small)["without distillation"].items()}
    assert settings == {
        "generator.teacher_weight": 0.0,
        "generator.num_teacher_targets": 0,
        "generator.transition_weights": (0.0,),
        "generator.ease_weights": (0.0,),
    }


def test_without_the_dense_term_validation_has_no_choice(full: Recipe, small: Dataset) -> None:
    assert changed(full, small)["without dense term"] == {"dense_weights": [full.dense_weights, (0.0,)]}


def test_every_codebook_variant_fits_and_names_its_sizes(full: Recipe, small: Dataset) -> None:
    large = replace(small, item_ids=tuple(map(str, range(3000))))
    found = [variant for variant in variants_of(full, large) if variant.group == "codebooks"]
    sizes = {(levels, size) for levels in (2, 3, 4) for size in (32, 64, 128, 256, 512)}
    assert {variant.name for variant in found} == {f"{levels}x{size} codes" for levels, size in sizes}
    for variant in found:
        rec_ids = variant.change(full).rec_ids
        assert variant.name == f"{rec_ids.num_levels}x{rec_ids.codebook_size} codes"


@pytest.mark.parametrize(
    ("levels", "size", "num_items", "expected"),
    [
        (2, 32, 1024 * 8, True),
        (2, 32, 1024 * 8 + 1, False),  # no room in buckets of 8
        (3, 512, 1024, True),
        (3, 512, 1023, False),  # not two items per code
    ],
)
def test_codebooks_that_fit(levels: int, size: int, num_items: int, expected: bool) -> None:
    assert fits(levels, size, num_items, 8) is expected


def test_the_full_recipe_comes_first_and_no_other_repeats_it(full: Recipe, small: Dataset) -> None:
    first, *others = variants_of(full, small)
    assert (first.name, first.change(full)) == (FULL, full)
    beams = [variant for variant in others if variant.group == "beam width"]
    assert [variant.beam_width for variant in beams] == list(BEAM_WIDTHS)
    assert all(variant.change(full) == full for variant in beams)
    assert all(variant.change(full) != full for variant in others if variant not in beams)
    names = [variant.name for variant in (first, *others)]
    assert len(names) == len(set(names))


def test_a_dataset_without_time_and_with_one_modality_has_fewer_variants(small: Dataset) -> None:
    plain = replace(small, has_time=False, features={"text": small.features["text"]})
    names = {variant.name for variant in variants_of(RECIPES["standard"](plain, 0), plain)}
    assert {"without any content", "without EASE"} <= names
    assert not names & {"without text", "without transition counts"}


def test_a_dataset_without_features_or_words_has_no_content_to_vary(full: Recipe, small: Dataset) -> None:
    assert not [variant for variant in variants_of(full, replace(small, features={})) if variant.group == "content"]
    titled = replace(small, features={}, titles=("a thing",) * 40)
    assert {variant.name for variant in variants_of(full, titled) if variant.group == "content"} == {
        "content fused",
        "content aligned",
    }
