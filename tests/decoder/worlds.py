"""One catalogue, decoded by ONNX, by the same search in torch, and by looking at every item; and requests for it."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import settings
from hypothesis import strategies as st

from model.beam_decoder import BeamDecoder as TorchBeamDecoder
from model.generator import Generator
from model.graph_encoder import ItemVectors
from offline.artefacts import Catalogue
from offline.parity import decode_with_torch
from service.constraints import ItemFilter
from service.contract.allowed_nodes import AllowedNodes
from service.contract.manifest import ModelSettings
from service.contract.trie import build_trie
from service.decoder import BeamDecoder, Decoded

RecIds = npt.NDArray[np.int32]

DENSE_WEIGHT = 5.0
SETTINGS = ModelSettings(
    codebook_sizes=(8, 16),
    popularity_size=64,
    max_history=6,
    vector_dim=6,
    beam_widths=(10,),
    dense_weight=DENSE_WEIGHT,
    ordered_history=True,
)
VOCABULARIES = SETTINGS.space.vocabulary_sizes
MAX_HISTORY = SETTINGS.max_history
CLOSE = 1e-4
"""Two runs of the same sums differ by less; lists may differ only between candidates nearer than that."""

few_examples = settings(max_examples=50, deadline=None, derandomize=True)


class Request(NamedTuple):
    """One request in plain item rows; `allowed` is what a category filter would leave."""

    history: list[int]
    excluded: Sequence[int] = ()
    candidates: Sequence[int] | None = None
    allowed: frozenset[int] | None = None


class Exhaustive(NamedTuple):
    """Both scores of every item, by leaf position, and the log-probability of each of its tokens: [items, levels]."""

    log_prob: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]
    by_level: npt.NDArray[np.float32]


def as_rows(numbers: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.array([*numbers], np.int64)


def unit_rows(count: int, seed: int) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, SETTINGS.vector_dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class World:
    """A catalogue and its decoder; legality and scores of every item by slow means beside it."""

    settings = SETTINGS

    def __init__(self, generator: Generator, onnx: bytes, rec_ids: RecIds, seed: int = 0) -> None:
        self.generator = generator
        self.onnx = onnx
        self.trie = build_trie(rec_ids, SETTINGS.space)
        self.vectors = unit_rows(len(rec_ids), seed)
        self.num_items = len(rec_ids)
        order = sorted(range(self.num_items), key=lambda row: rec_ids[row].tolist())
        self.leaf_to_row = order
        self.leaf_of = {row: leaf for leaf, row in enumerate(order)}
        self.rec_ids = [tuple(rec_ids[row].tolist()) for row in order]
        self._filters: dict[frozenset[int], AllowedNodes] = {}
        self.decoder = self.decoder_of(onnx)

    def decoder_of(self, onnx: bytes, **options: Any) -> BeamDecoder:
        arrays = {"trie": self.trie, "item_vectors": self.vectors, "settings": SETTINGS}
        return BeamDecoder(onnx, **arrays, **{"device": "cpu"} | options)

    def item_filter(self, request: Request) -> ItemFilter:
        """The request as the decoder takes it; equal category filters are one object, as the service keeps them."""
        candidates = None if request.candidates is None else as_rows(request.candidates)
        allowed = None
        if request.allowed is not None:
            if request.allowed not in self._filters:
                leaves = np.array([row in request.allowed for row in self.leaf_to_row])
                self._filters[request.allowed] = AllowedNodes.of(self.trie, leaves)
            allowed = self._filters[request.allowed]
        return ItemFilter(as_rows(request.excluded), candidates, allowed)

    def decode(self, requests: Sequence[Request], beam_width: int, decoder: BeamDecoder | None = None) -> Decoded:
        histories = [as_rows(request.history) for request in requests]
        filters = [self.item_filter(request) for request in requests]
        return (decoder or self.decoder).decode(histories, filters, beam_width=beam_width)

    def torch_decode(self, requests: Sequence[Request], beam_width: int, dense_weight: float = DENSE_WEIGHT) -> Decoded:
        """The same search by the torch module that was exported."""
        keys, contexts = torch.from_numpy(self.vectors).chunk(2, dim=1)
        vectors = ItemVectors(keys, contexts)
        found = decode_with_torch(
            TorchBeamDecoder(self.generator, dense_weight).eval(),
            self.decoder,
            Catalogue(self.trie, SETTINGS.space, vectors, self.generator.history_state, 0.2),
            [as_rows(request.history) for request in requests],
            [self.item_filter(request) for request in requests],
            beam_width,
        )
        return Decoded(*found)

    def legal(self, request: Request) -> set[int]:
        """Leaf positions that may be returned."""
        rows = set(range(self.num_items)) - set(request.excluded)
        for kept in (request.candidates, request.allowed):
            if kept is not None:
                rows &= set(kept)
        return {self.leaf_of[row] for row in rows}

    @torch.no_grad()
    def exhaustive(self, history: Sequence[int], dense_weight: float = DENSE_WEIGHT) -> Exhaustive:
        """Every item, token by token: a softmax over the tokens that some item has behind the same prefix."""
        newest = as_rows(history)[::-1][: SETTINGS.max_history]
        vectors = torch.from_numpy(self.vectors[newest]).unsqueeze(0)
        memory = self.generator.encode(vectors, torch.ones(1, len(newest), dtype=torch.bool))
        by_level, tokens, cache = torch.zeros(self.num_items, 3), None, None
        for level in range(3):
            logits, cache = self.generator.step(level, tokens, memory, cache)
            logits = logits.expand(-1, self.num_items, -1)  # at level 0 there is one prefix for all
            following: dict[tuple[int, ...], set[int]] = {}
            for rec_id in self.rec_ids:
                following.setdefault(rec_id[:level], set()).add(rec_id[level])
            for leaf, rec_id in enumerate(self.rec_ids):
                siblings = sorted(following[rec_id[:level]])
                by_level[leaf, level] = logits[0, leaf, siblings].log_softmax(-1)[siblings.index(rec_id[level])]
            tokens = torch.tensor([[rec_id[level] for rec_id in self.rec_ids]])
        keys = torch.from_numpy(self.vectors[self.leaf_to_row, : SETTINGS.vector_dim // 2])
        dense = torch.cosine_similarity(keys, memory.state)
        log_prob = by_level.sum(dim=1)
        return Exhaustive(log_prob.numpy(), (log_prob + dense_weight * dense).numpy(), by_level.numpy())


def draw_rec_ids(random: np.random.Generator, tokens: tuple[int, ...], num_items: int) -> RecIds:
    """Distinct Rec-IDs over the first tokens of each level, in random row order."""
    flat = random.choice(int(np.prod(tokens)), size=min(num_items, int(np.prod(tokens))), replace=False)
    return np.stack(np.unravel_index(flat, tokens), axis=1).astype(np.int32)


@st.composite
def catalogues(draw: st.DrawFn, largest: int = 60) -> tuple[RecIds, int]:
    """Rec-IDs and a seed; every level branches not at all, a little, or as widely as its vocabulary allows."""
    tokens = tuple(draw(st.sampled_from([1, 2, size])) for size in VOCABULARIES)
    seed = draw(st.integers(0, 10_000))
    return draw_rec_ids(np.random.default_rng(seed), tokens, draw(st.integers(1, largest))), seed


def draw_part(random: np.random.Generator, world: World) -> list[int]:
    """Item rows: none, one, all but one, all, a half, most, a whole subtree, all but that."""
    rows = random.permutation(world.num_items).tolist()
    subtree = [row for row in rows if world.rec_ids[world.leaf_of[row]][0] == 0]
    rest = [row for row in rows if row not in subtree]
    kinds = [[], rows[:1], rows[1:], rows, rows[: len(rows) // 2], rows[: 9 * len(rows) // 10], subtree, rest]
    return kinds[random.integers(len(kinds))]


def draw_request(random: np.random.Generator, world: World) -> Request:
    """Any history, empty, of the maximum and beyond, with repeats; any of exclusions, candidates and a filter, or none.

    Exclusions are often what the filter forbids anyway, or the very items that it leaves.
    """
    lengths = [0, MAX_HISTORY, MAX_HISTORY + 3, random.integers(1, MAX_HISTORY)]
    history = random.integers(0, world.num_items, lengths[random.integers(4)]).tolist()
    allowed = frozenset(draw_part(random, world)) if random.random() < 0.6 else None
    candidates = [*draw_part(random, world), *draw_part(random, world)] if random.random() < 0.3 else None
    inside = sorted(range(world.num_items) if allowed is None else allowed)
    outside = [row for row in range(world.num_items) if row not in inside]
    excluded = [[], history, draw_part(random, world), outside, inside, [*outside, *inside[1:]]]
    return Request(history, excluded[random.integers(len(excluded))], candidates, allowed)


def answer(decoded: Decoded, row: int) -> Decoded:
    return Decoded(*(part[row] for part in decoded))


def check_invariants(world: World, request: Request, found: Decoded, beam_width: int) -> None:
    """1, 2 and 3 of the design, and that every score is the item's own, whatever the request leaves out."""
    legal = world.legal(request)
    count = min(beam_width, len(legal))
    alive, dead = found.leaves[:count].tolist(), found.leaves[count:]
    assert len(found.leaves) == beam_width
    assert set(alive) <= legal, "an excluded item, or none of the catalogue"
    assert len(set(alive)) == count, "an item twice, or a dead slot among the living"
    assert (dead == -1).all(), "an answer that is longer than there are legal items"
    assert found.alive.tolist() == [True] * count + [False] * (beam_width - count)
    expected = world.exhaustive(request.history)
    assert np.allclose(found.score[:count], expected.score[alive], atol=CLOSE)
    assert np.allclose(found.log_prob[:count], expected.log_prob[alive], atol=CLOSE)
    assert (np.diff(found.score[:count]) <= 0).all()


def check_exhaustive(world: World, request: Request, found: Decoded) -> None:
    """5 of the design: all legal items, best first."""
    legal = sorted(world.legal(request))
    assert sorted(found.leaves[found.alive].tolist()) == legal
    best_first = np.sort(world.exhaustive(request.history).score[legal])[::-1]
    assert np.allclose(found.score[: len(legal)], best_first, atol=CLOSE)


def same_lists(one: Decoded, other: Decoded) -> bool:
    """Equal but for swaps of candidates whose scores are closer than float32 can tell."""
    alive = one.leaves >= 0
    if not np.array_equal(alive, other.leaves >= 0) or not np.allclose(one.score[alive], other.score[alive], atol=1e-5):
        return False
    # Dead slots repeat one score, but there both lists hold -1.
    to_next = np.abs(np.diff(one.score, axis=-1))
    far = np.full((*one.score.shape[:-1], 1), np.inf)
    to_nearest = np.minimum(np.concatenate([far, to_next], axis=-1), np.concatenate([to_next, far], axis=-1))
    return bool((to_nearest[one.leaves != other.leaves] < 1e-5).all())
