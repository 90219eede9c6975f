"""The manifest survives JSON, and one that this version cannot read says why and what to do."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from service.contract.blobs import ArraySpec
from service.contract.manifest import FORMAT_VERSION, Manifest, ModelSettings

MODEL = ModelSettings(
    codebook_sizes=(32, 16),
    popularity_size=9,
    max_history=64,
    vector_dim=128,
    beam_widths=(50, 10),
    dense_weight=0.5,
    ordered_history=True,
)
MANIFEST = Manifest(
    version="20261121T000000Z-abc",
    created="2026-11-21T00:00:00Z",
    parent="20261120T000000Z-def",
    dataset="shop",
    model=MODEL,
    arrays={"trie.tokens.0": ArraySpec(dtype="int32", shape=(4, 2), chunks=("bb", "cc"))},
    metrics={"recall@20": 0.25},
    gate={"passed": True},
    item_encoder_config={"dim": 64},
    encoders={"image": "siglip-9f"},
)


def test_json_and_back() -> None:
    again = Manifest.from_json(MANIFEST.to_json())
    assert again == MANIFEST
    assert Manifest.from_json(MANIFEST.to_json().encode()) == MANIFEST
    assert isinstance(again.model.codebook_sizes, tuple)
    assert isinstance(again.model.beam_widths, tuple)
    assert isinstance(again.arrays["trie.tokens.0"].shape, tuple)
    assert isinstance(again.arrays["trie.tokens.0"].chunks, tuple)


def test_equal_manifests_have_equal_bytes() -> None:
    assert Manifest.from_json(MANIFEST.to_json()).to_json() == MANIFEST.to_json()
    assert json.loads(MANIFEST.to_json())["format_version"] == FORMAT_VERSION


def test_the_previous_format_is_read() -> None:
    """It had the configuration of a module that nobody reads any more, and said nothing of encoders."""
    raw = json.loads(MANIFEST.to_json()) | {"format_version": 3, "graph_rqvae_config": {"dim": 64}}
    del raw["item_encoder_config"], raw["encoders"]
    assert Manifest.from_json(json.dumps(raw)) == replace(
        MANIFEST, format_version=3, item_encoder_config={}, encoders={}
    )
    with pytest.raises(ValueError, match=r"lacks a field or has one too many: .*graph_rqvae_config"):
        Manifest.from_json(json.dumps(raw | {"format_version": 4}))


def test_the_space_of_the_settings() -> None:
    assert MODEL.space.vocabulary_sizes == (32, 16, 9)


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        for key in path[:-1]:
            raw = raw[key]
        del raw[path[-1]]

    return change


def put(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        for key in path[:-1]:
            raw = raw[key]
        raw[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("version"), "lacks a field or has one too many: .*version"),
        (drop("arrays"), "lacks a field or has one too many: 'arrays'"),
        (drop("model"), "lacks a field or has one too many: 'model'"),
        (drop("model", "max_history"), "lacks a field or has one too many: .*max_history"),
        (drop("arrays", "trie.tokens.0", "chunks"), "lacks a field or has one too many: .*chunks"),
        (put("aa", "arrays", "trie.tokens.0", "sha256"), "lacks a field or has one too many: .*sha256"),
        (put(1, "later"), "lacks a field or has one too many: .*later.*publish again"),
        (put(1, "model", "later"), "lacks a field or has one too many: .*later"),
        (put(None, "model"), "lacks a field or has one too many"),
        (put([], "arrays"), "lacks a field or has one too many"),
        (put(1, "format_version"), f"has format_version 1; this service reads 3 and {FORMAT_VERSION}: publish the run"),
        (put(2, "format_version"), "has format_version 2; this service reads 3 and 4: publish the run again"),
        (put([2], "format_version"), r"has format_version \[2\]; this service reads"),
        (put(FORMAT_VERSION + 1, "format_version"), f"has format_version {FORMAT_VERSION + 1}; this service reads"),
        (drop("format_version"), "has format_version None"),
    ],
)
def test_another_manifest_is_refused(change: Callable[[dict[str, Any]], None], message: str) -> None:
    raw = json.loads(MANIFEST.to_json())
    change(raw)
    with pytest.raises(ValueError, match=message):
        Manifest.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the manifest is not JSON"),
        ('{"format_version": 1', "the manifest is not JSON .*; publish the run again"),
        (b"\xff\xfe\x00", "the manifest is not JSON"),
        ("[1, 2]", "has format_version None"),
        ("null", "has format_version None"),
        ("[" * 100_000, "the manifest is not JSON"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Manifest.from_json(text)
