"""The items of a dataset folder that a release does not have yet, and their content as its encoder takes it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from offline import progress
from offline.catalogue_changes.base_release import BaseRelease
from offline.dataset_checks import ITEMS_FILE, read_items, require_folder
from offline.encoding.fingerprints import read_fingerprints
from offline.errors import BadInputError
from offline.feature_files import read_features
from offline.text_features import item_texts

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class NewItems:
    """Rows of items.parquet that the release lacks, in their order; M of them.

    Attributes:
        item_ids: theirs.
        titles: "" where absent.
        categories: () where absent.
        features: modality to float32 [M, columns], a row of NaN where the item lacks it; all that the encoder knows.
        has_content: bool [M], whether an item has any modality.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    features: dict[str, Tensor]
    has_content: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.item_ids)


def read_new_items(data: Path, base: BaseRelease, feature_dims: dict[str, int]) -> NewItems:
    """Read and check them.

    Args:
        data: folder with items.parquet and, unless the release makes vectors of texts, features/; it may hold the whole
            catalogue or the new items alone.
        base: the release.
        feature_dims: modality to number of columns, of the release's encoder.

    Raises:
        BadInputError: a file is not what the release needs.
    """
    require_folder(data)
    table = read_items(data / ITEMS_FILE)
    is_new = ~table["item_id"].is_in(pl.Series(base.items.item_ids, dtype=pl.String).implode())
    rows = np.flatnonzero(is_new.to_numpy())
    new = table.filter(is_new)
    titles, categories = tuple(new["title"].to_list()), tuple(map(tuple, new["categories"].to_list()))
    features: dict[str, Tensor] = {}
    if len(rows) and feature_dims:
        space = base.text_space()
        if space is not None:
            vectors = space.vectors(item_texts(titles, categories))
            vectors[~vectors.any(axis=1)] = np.nan  # of words that the release does not know: they say nothing
            features = {"text": torch.from_numpy(vectors)}
        else:
            features = _features(data, base, feature_dims, table.height, rows)
    content = [~values.isnan().any(dim=1).numpy() for values in features.values()]
    return NewItems(
        item_ids=tuple(new["item_id"].to_list()),
        titles=titles,
        categories=categories,
        features=features,
        has_content=np.logical_or.reduce([np.zeros(len(rows), bool), *content]),
    )


def _features(
    data: Path, base: BaseRelease, feature_dims: dict[str, int], num_items: int, rows: IntArray
) -> dict[str, Tensor]:
    """What the encoder knows, of features/; a modality that the folder does not have is missing in every item."""
    folder = data / "features"
    found = read_features(folder, num_items, rows)
    if unused := sorted(found.keys() - feature_dims.keys()):
        progress.say(f"release {base.version} was not trained with {', '.join(unused)}: left out")
    if absent := sorted(feature_dims.keys() - found.keys()):
        progress.say(f"warning: none of the new items has {', '.join(absent)}, which the release was trained with")
    _check_encoders(folder, base, [name for name in feature_dims if name in found])
    features = {}
    for name, columns in feature_dims.items():
        values = found.get(name, np.full((len(rows), columns), np.nan, np.float32))
        if values.shape[1] != columns:
            raise BadInputError(
                f"{folder / name}.npy has {values.shape[1]} columns, release {base.version} was trained with "
                f"{columns}: make the features with the encoder of that training, or train and publish with these"
            )
        features[name] = torch.from_numpy(values)
    return features


def _check_encoders(folder: Path, base: BaseRelease, modalities: list[str]) -> None:
    """Features of another encoder mean nothing to the release, even where they have as many columns.

    Raises:
        BadInputError: naming modality, both fingerprints and the cure.
    """
    theirs, ours = read_fingerprints(folder), base.manifest.encoders
    for name in modalities:
        if name not in ours:
            if name in theirs:
                progress.say(
                    f"warning: release {base.version} does not say which encoder made its {name}: not compared"
                )
        elif theirs.get(name) != ours[name]:
            made_by = f"made by encoder {theirs[name]}" if name in theirs else f"of an unknown encoder (no {name}.json)"
            raise BadInputError(
                f"{folder / name}.npy is {made_by}, release {base.version} was trained with {ours[name]}: encode the "
                "new items with that encoder (python -m offline encode), or train and publish with this one"
            )
