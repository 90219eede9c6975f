"""The job `encode`: contents of all items, vectors of those that are new, `features/<name>.npy`."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from offline import progress
from offline.dataset_checks import ITEMS_FILE, read_items, require_folder
from offline.encoding.contents import Contents, content_keys, find_contents
from offline.encoding.encoder import Content, Encoder, UnreadableContentError
from offline.encoding.encoders import open_encoder
from offline.encoding.feature_writer import write_features
from offline.encoding.request import EncodeRequest
from offline.encoding.row_cache import RowCache, open_row_cache
from offline.errors import BadInputError, JobError

FAILED_FILE = "failed.json"
_MOST_REASONS = 5  # that are said; all of them are in failed.json
_LOADERS = 4  # threads that read files while the encoder works


def encode(request: EncodeRequest) -> dict[str, Any]:
    """Encode the items of a dataset folder; what was encoded before, and has not changed, is taken as it is.

    Args:
        request: what to encode, and by what.

    Returns:
        What was done, as JSON.

    Raises:
        BadInputError: data, encoder or flags cannot be used, or too many contents cannot be read; the features file is
            as it was.
        LockedError: another process encodes into the same file.
        JobError: the encoder cannot be had or run here, or the disk is full; what is finished is kept.
    """
    require_folder(request.data)
    item_ids = read_items(request.data / ITEMS_FILE)["item_id"].to_list()
    encoder = open_encoder(request)
    folder = request.data / "features" / f".{request.name}.part"
    with open_row_cache(folder) as cache, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of images that are refused, or read all the same
        contents = find_contents(request, item_ids, lambda path: encoder.load(path))
        keys = content_keys(contents, cache, encoder.fingerprint)
        _refuse_too_many(request, contents, item_ids, folder)
        known = cache.known()
        new = {key: contents.found[row] for row, key in keys.items() if key not in known}
        unreadable = _encode_new(new, encoder, cache, request)
        for row in [row for row, key in keys.items() if key in unreadable]:
            contents.failed[row] = f"{contents.found[row]}: {unreadable[keys.pop(row)]}"
        _refuse_too_many(request, contents, item_ids, folder)
        _say_failures(contents, item_ids, folder)
        dim = write_features(request, encoder, keys, len(item_ids), cache)
        cache.keep_only(keys.values())
    encoded = len(new) - len(unreadable)
    return {
        "name": request.name,
        "modality": request.modality,
        "encoder": request.encoder,
        "fingerprint": encoder.fingerprint,
        "dim": dim,
        "items": len(item_ids),
        "encoded": encoded,
        "reused": len(set(keys.values())) - encoded,
        "missing": len(item_ids) - len(keys),
        "failed": len(contents.failed),
    }


def _encode_new(
    new: Mapping[bytes, Content], encoder: Encoder, cache: RowCache, request: EncodeRequest
) -> dict[bytes, str]:
    """Encode and keep contents by key, batch after batch; returns why some could not be read."""
    unreadable: dict[bytes, str] = {}
    if not new:
        return unreadable
    # Texts of one length in a batch, the longest first: little is filled up, and too large a batch shows at once.
    keys = sorted(new, key=lambda key: -len(content) if isinstance(content := new[key], str) else 0)
    dim: int | None = None
    with progress.task(f"encode {request.name}", len(new)) as task:
        for loaded in _loaded(new, keys, encoder, request.batch):
            whole = {key: value for key, value in loaded.items() if not isinstance(value, UnreadableContentError)}
            unreadable |= {key: str(value) for key, value in loaded.items() if key not in whole}
            if whole:
                vectors = encoder.encode(list(whole.values()))
                if dim not in (None, vectors.shape[1]):
                    raise BadInputError(
                        f"encoder {request.encoder} gave vectors of {dim} and of {vectors.shape[1]} numbers; take one "
                        "whose output has one length"
                    )
                dim = vectors.shape[1]
                cache.add(list(whole), np.ascontiguousarray(vectors))
            task.advance(f"{len(unreadable)} unreadable", len(loaded))
    return unreadable


def _loaded(
    new: Mapping[bytes, Content], keys: Sequence[bytes], encoder: Encoder, batch: int
) -> Iterator[dict[bytes, Any]]:
    """Batches of loaded contents, or of the errors in their place; the next is read while one is encoded."""
    with ThreadPoolExecutor(_LOADERS) as pool:
        ahead: dict[bytes, Future[Any]] = {}
        try:
            for start in range(0, len(keys), batch):
                coming = {key: pool.submit(_load, encoder, new[key]) for key in keys[start : start + batch]}
                if ahead:
                    yield {key: future.result() for key, future in ahead.items()}
                ahead = coming
            yield {key: future.result() for key, future in ahead.items()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _load(encoder: Encoder, content: Content) -> Any:
    try:
        return encoder.load(content)
    except UnreadableContentError as error:
        return error


def _refuse_too_many(request: EncodeRequest, contents: Contents, item_ids: Sequence[str], folder: Path) -> None:
    """Write down what failed, and stop before a broken night overwrites good features.

    Raises:
        BadInputError: a larger share of the items that name a content than allowed.
        JobError: the disk is full.
    """
    failed = {item_ids[row]: contents.failed[row] for row in sorted(contents.failed)}
    list_file = folder / FAILED_FILE
    try:
        list_file.write_text(json.dumps(failed, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise JobError(f"{list_file} cannot be written ({error}); make room and encode again") from error
    named = len(contents.failed.keys() | contents.found.keys())
    if len(failed) > request.max_missing_share * named:
        first = next(iter(failed))
        raise BadInputError(
            f"{request.data}: {len(failed)} of {named} contents cannot be had, over --max-missing-share "
            f"{request.max_missing_share:g}; nothing was overwritten. The first is of item {first!r}: {failed[first]}. "
            f"All are in {list_file}"
        )


def _say_failures(contents: Contents, item_ids: Sequence[str], folder: Path) -> None:
    rows = sorted(contents.failed)
    for row in rows[:_MOST_REASONS]:
        progress.say(f"warning: item {item_ids[row]!r} has no vector: {contents.failed[row]}")
    if len(rows) > _MOST_REASONS:
        progress.say(f"warning: and {len(rows) - _MOST_REASONS} more, all in {folder / FAILED_FILE}")
