"""One exported decoder for every catalogue of these vocabulary sizes, and exhaustive scoring in torch beside it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.beam_decoder import BeamDecoder as TorchBeamDecoder
from model.generator import Generator, GeneratorConfig
from offline.export import export_decoder
from offline.trie_tensors import trie_levels
from service.contract.dead_nodes import DeadNodeFinder, pad_dead_nodes
from service.contract.manifest import ModelSettings
from service.contract.trie import build_trie
from service.decoder import BeamDecoder, Decoded

Rows = npt.NDArray[np.int64]

DENSE_WEIGHT = 0.5
SETTINGS = ModelSettings(
    codebook_sizes=(8, 16),
    popularity_size=64,
    max_history=6,
    vector_dim=5,
    beam_widths=(10,),
    dense_weight=DENSE_WEIGHT,
    ordered_history=True,
)


class Exhaustive(NamedTuple):
    """Both scores of every item, by leaf position."""

    log_prob: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]


def unit_rows(count: int, seed: int) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, SETTINGS.vector_dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class World:
    """One catalogue, decoded by ONNX, by the same search in torch, and by looking at every item."""

    settings = SETTINGS

    def __init__(self, generator: Generator, onnx: bytes, rec_ids: npt.NDArray[np.int32], seed: int = 0) -> None:
        self.generator = generator
        self.onnx = onnx
        self.trie = build_trie(rec_ids, SETTINGS.space)
        self.vectors = unit_rows(len(rec_ids), seed)
        self.num_items = len(rec_ids)
        order = sorted(range(self.num_items), key=lambda row: rec_ids[row].tolist())
        self.leaf_to_row = order
        self.leaf_of = {row: leaf for leaf, row in enumerate(order)}
        self._rec_ids = [tuple(rec_ids[row].tolist()) for row in order]
        self.decoder = self.decoder_of(onnx)

    def decoder_of(self, onnx: bytes) -> BeamDecoder:
        return BeamDecoder(onnx, trie=self.trie, item_vectors=self.vectors, settings=SETTINGS, device="cpu")

    def decode(self, histories: Sequence[Any], excluded: Sequence[Any], beam_width: int) -> Decoded:
        to_rows = [[np.array(rows, np.int64) for rows in lists] for lists in (histories, excluded)]
        return self.decoder.decode(*to_rows, beam_width=beam_width)

    @torch.no_grad()
    def exhaustive(self, history: Sequence[int], dense_weight: float = DENSE_WEIGHT) -> Exhaustive:
        """Every item, token by token: a softmax over the tokens that some item has behind the same prefix."""
        newest = np.array(history, np.int64)[::-1][: SETTINGS.max_history]
        vectors = torch.from_numpy(self.vectors[newest]).unsqueeze(0)
        memory = self.generator.encode(vectors, torch.ones(1, len(newest), dtype=torch.bool))
        log_prob, tokens, cache = torch.zeros(self.num_items), None, None
        for level in range(3):
            logits, cache = self.generator.step(level, tokens, memory, cache)
            if level == 0:
                cache = tuple(tuple(part.expand(-1, self.num_items, -1, -1, -1) for part in layer) for layer in cache)
                logits = logits.expand(-1, self.num_items, -1)
            following: dict[tuple[int, ...], set[int]] = {}
            for rec_id in self._rec_ids:
                following.setdefault(rec_id[:level], set()).add(rec_id[level])
            for leaf, rec_id in enumerate(self._rec_ids):
                siblings = sorted(following[rec_id[:level]])
                log_prob[leaf] += logits[0, leaf, siblings].log_softmax(-1)[siblings.index(rec_id[level])]
            tokens = torch.tensor([[rec_id[level] for rec_id in self._rec_ids]])
        keys = self.generator.item_keys(torch.from_numpy(self.vectors[self.leaf_to_row]))
        dense = self.generator.dense_logits(memory.state, keys)[0]
        return Exhaustive(log_prob.numpy(), (log_prob + dense_weight * dense).numpy())

    @torch.no_grad()
    def torch_decode(
        self, histories: Sequence[Any], excluded: Sequence[Any], beam_width: int, dense_weight: float = DENSE_WEIGHT
    ) -> Decoded:
        """The same search by the torch module that was exported."""
        newest = [np.array(rows, np.int64)[::-1][: SETTINGS.max_history] for rows in histories]
        padded = torch.full((len(newest), max(map(len, newest))), -1)
        for row, items in enumerate(newest):
            padded[row, : len(items)] = torch.from_numpy(items.copy())
        finder = DeadNodeFinder(self.trie)
        dead = [finder.find(np.array(sorted({self.leaf_of[row] for row in rows}), np.int64)) for rows in excluded]
        answer = TorchBeamDecoder(self.generator, dense_weight).eval()(
            padded,
            torch.arange(beam_width),
            torch.from_numpy(self.vectors),
            torch.from_numpy(self.trie.leaf_to_row),
            tuple(map(torch.from_numpy, pad_dead_nodes(dead, 3))),
            trie_levels(self.trie),
        )
        return Decoded(*(part.numpy() for part in answer))


@pytest.fixture(scope="session")
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(
        GeneratorConfig(
            vocabulary_sizes=SETTINGS.space.vocabulary_sizes,
            vector_dim=SETTINGS.vector_dim,
            max_history=SETTINGS.max_history,
            ordered_history=SETTINGS.ordered_history,
            dim=16,
            num_heads=2,
            num_encoder_layers=1,
            num_decoder_layers=1,
            feedforward_dim=24,
        )
    ).eval()
    for weight in generator.parameters():  # as opinionated as a trained one
        torch.nn.init.normal_(weight, std=0.4)
    return generator


@pytest.fixture(scope="session")
def onnx_bytes(generator: Generator) -> bytes:
    """The one export; it takes long."""
    rec_ids = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 1]], np.int32)
    items = torch.from_numpy(unit_rows(3, seed=0))
    return export_decoder(generator, build_trie(rec_ids, SETTINGS.space), items, DENSE_WEIGHT)


@pytest.fixture(scope="session")
def make_world(generator: Generator, onnx_bytes: bytes) -> Callable[..., World]:
    def make(rec_ids: npt.NDArray[np.int32], seed: int = 0) -> World:
        return World(generator, onnx_bytes, rec_ids, seed)

    return make
