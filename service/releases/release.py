"""A release in memory: everything that one answer needs, immutable, held by a request from start to end."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import redis

from service.category_filter import CategoryIndex
from service.constraints import ItemFilter
from service.contract.blob_folder import BlobsUnreachableError
from service.contract.item_table import ItemTable
from service.contract.manifest import DECODER_ARRAY, ITEM_VECTORS_ARRAY, Manifest, ModelSettings
from service.contract.release_store import ReleaseMissingError, ReleaseStore
from service.contract.trie import Trie
from service.decoder import BeamDecoder, Decoded
from service.device import Device
from service.onnx_session import DecoderError
from service.settings import Settings

Int64Array = npt.NDArray[np.int64]


class BrokenReleaseError(ValueError):
    """A release cannot be served; the message names the release and what is wrong with it."""

    def __init__(self, version: str, reason: str) -> None:
        super().__init__(f"release {version}: {reason}")
        self.version = version
        self.reason = reason


class Decoder(Protocol):
    """What the service needs of a decoder; `service.decoder.BeamDecoder` is the real one."""

    @property
    def provider(self) -> str:
        """Execution provider that really runs it, such as "CPUExecutionProvider"."""

    @property
    def run_cpu_seconds(self) -> float:
        """CPU time of its runs so far."""

    def decode(self, histories: Sequence[Int64Array], filters: Sequence[ItemFilter], *, beam_width: int) -> Decoded:
        """Decode a batch; see `BeamDecoder.decode`."""

    def level_log_probs(self, history: Int64Array, rows: Int64Array, beam_width: int) -> npt.NDArray[np.float32] | None:
        """Log-probabilities of items' tokens, level by level; see `BeamDecoder.level_log_probs`."""

    @property
    def has_buckets(self) -> bool:
        """Whether there is anything to prepare."""

    def prepare(self) -> None:
        """Called once on the thread that will decode, before it does; see `BeamDecoder.prepare`."""


class DecoderFactory(Protocol):
    """Builds a decoder; `service.decoder.BeamDecoder` is the real one, tests pass their own."""

    def __call__(
        self,
        onnx: bytes,
        *,
        trie: Trie,
        item_vectors: npt.NDArray[np.float32],
        settings: ModelSettings,
        device: Device,
        threads: int,
        max_table_bytes: int,
    ) -> Decoder:
        """Build it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Release:
    """One immutable, versioned set of decoder, trie and item table.

    Attributes:
        manifest: what was published.
        decoder: loaded and warm.
        trie: leaf position to item row, among others.
        items: ids, titles, categories by item row.
        categories: which items a category filter leaves; used by the inference thread alone.
        row_of: item id to item row.
        popular_rows: int64 [num_items], item rows by training interactions, most first.
        popular_place: int32 [num_items], where each item row stands in `popular_rows`.
    """

    manifest: Manifest
    decoder: Decoder
    trie: Trie
    items: ItemTable
    categories: CategoryIndex
    row_of: Mapping[str, int]
    popular_rows: Int64Array
    popular_place: npt.NDArray[np.int32]

    @property
    def version(self) -> str:
        """Version under which it was published."""
        return self.manifest.version

    @property
    def beam_widths(self) -> tuple[int, ...]:
        """The tiers that may be asked for; the first is the default."""
        return self.manifest.model.beam_widths


def load_release(
    store: ReleaseStore, version: str, settings: Settings, *, decoder_factory: DecoderFactory = BeamDecoder
) -> Release:
    """Read a release, verify it, and decode once with every beam width, so that the first request finds it warm.

    Blocks for as long as that takes; never call it on the event loop.

    Raises:
        BrokenReleaseError: there is no such release, or it is not fit to be served.
        redis.RedisError: Redis cannot be reached.
        BlobsUnreachableError: the place of its blobs cannot be reached.
    """
    try:
        manifest = store.read_manifest(version)
        release = _assemble(store, manifest, settings, decoder_factory)
        for beam_width in release.beam_widths:
            _check_decoder(release, beam_width)
    except (redis.RedisError, OSError, BlobsUnreachableError):
        raise
    except (ReleaseMissingError, DecoderError, ValueError) as error:
        raise BrokenReleaseError(version, str(error)) from error
    except Exception as error:  # a runtime may raise anything on a file that it cannot use
        raise BrokenReleaseError(version, f"its decoder does not run ({type(error).__name__}: {error})") from error
    return release


def _assemble(store: ReleaseStore, manifest: Manifest, settings: Settings, decoder_factory: DecoderFactory) -> Release:
    large = (DECODER_ARRAY, ITEM_VECTORS_ARRAY)
    small = sorted(name for name in manifest.arrays if name.startswith(("trie.", "items.")))  # the rest is for the jobs
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="release-vectors") as beside:
        reading = beside.submit(store.read_named, manifest, large)  # they come in while the item table is built
        arrays = store.read_named(manifest, small)
        trie = Trie.from_arrays(arrays, manifest.model.space)
        items = ItemTable.from_arrays(arrays)
        arrays = reading.result()
    vectors = arrays[ITEM_VECTORS_ARRAY]
    expected = (trie.num_items, manifest.model.vector_dim)
    if len(items) != trie.num_items or vectors.shape != expected:
        raise ValueError(
            f"its parts disagree: {trie.num_items} items in the trie, {len(items)} in the item table, "
            f"vectors {vectors.shape}, expected {expected}"
        )
    if not manifest.model.beam_widths:
        raise ValueError("beam_widths is empty; at least one beam width is needed")
    decoder = decoder_factory(
        arrays[DECODER_ARRAY].tobytes(),
        trie=trie,
        item_vectors=vectors.astype(np.float32, copy=False),
        settings=manifest.model,
        device=settings.device,
        threads=settings.inference_threads,
        max_table_bytes=settings.filter_table_bytes,
    )
    popular_rows = items.popular_rows()
    popular_place = np.empty(len(popular_rows), np.int32)
    popular_place[popular_rows] = np.arange(len(popular_rows), dtype=np.int32)
    return Release(
        manifest=manifest,
        decoder=decoder,
        trie=trie,
        items=items,
        categories=CategoryIndex(trie, items.categories, settings.filter_cache_bytes),
        row_of=items.row_of(),
        popular_rows=popular_rows,
        popular_place=popular_place,
    )


def _check_decoder(release: Release, beam_width: int) -> None:
    """Decode three histories and hold the answers against what every answer promises (design, section 4).

    None, the most popular item, and as many random ones as the model looks at, which are excluded as well.
    """
    most_popular = release.popular_rows[:1]
    most = min(release.manifest.model.max_history, release.trie.num_items)
    random = np.random.default_rng(0).choice(release.trie.num_items, most, replace=False)
    histories = [np.empty(0, np.int64), most_popular, random]
    filters = [ItemFilter(excluded=rows) for rows in histories]
    decoded = release.decoder.decode(histories, filters, beam_width=beam_width)
    shapes: dict[str, Any] = {name: array.shape for name, array in decoded._asdict().items()}
    if set(shapes.values()) != {(len(histories), beam_width)}:
        raise ValueError(f"self-test with beam width {beam_width}: the decoder returns {shapes}")
    for row, excluded in enumerate(histories):
        live = decoded.leaves[row] >= 0
        leaves = decoded.leaves[row][live]
        legal = min(beam_width, release.trie.num_items - len(excluded))
        if leaves.max(initial=-1) >= release.trie.num_items:
            raise ValueError(f"self-test with beam width {beam_width}: leaf position {leaves.max()} is no item")
        rows = release.trie.leaf_to_row[leaves]
        if len(np.unique(rows)) != legal or len(rows) != legal or np.isin(rows, excluded).any():
            raise ValueError(
                f"self-test with beam width {beam_width}: {len(np.unique(rows))} distinct items in {len(rows)} beams, "
                f"expected {legal} and none excluded"
            )
        if not (np.isfinite(decoded.log_prob[row][live]).all() and np.isfinite(decoded.score[row][live]).all()):
            raise ValueError(f"self-test with beam width {beam_width}: a score is not finite")
