"""Which encoder made a features file: `features/<name>.json` beside `features/<name>.npy`.

Light on purpose (the standard library alone), because publishing and `add-items` read it too. The two files are
replaced one after the other; the JSON holds the sha256 of the array, so that two which do not belong together show.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from offline.errors import BadInputError
from offline.file_digest import sha256_of_file
from offline.whole_files import write_json


@dataclass(frozen=True, kw_only=True)
class FeatureDescription:
    """What stands in `features/<name>.json`."""

    encoder: str  # as it was asked for
    fingerprint: str  # sha256 over weights and preprocessing settings, hex
    dim: int
    items: int  # rows
    missing: int  # rows of NaN
    modality: str  # text, image or audio
    settings: Mapping[str, Any]
    sha256: str  # of the .npy, hex


def description_file(features_folder: Path, name: str) -> Path:
    """Where the description of a features file is."""
    return features_folder / f"{name}.json"


def read_fingerprints(features_folder: Path) -> dict[str, str]:
    """The fingerprint of the encoder of every modality that `encode` has made.

    Args:
        features_folder: the folder of the .npy files; it may be absent.

    Returns:
        Modality (name of the file without .npy) to fingerprint, sorted; features that came from elsewhere, without a
        JSON file beside them, have none.

    Raises:
        BadInputError: a JSON file is damaged, or describes another array than the one beside it.
    """
    return {
        path.stem: _read_fingerprint(path)
        for path in sorted(features_folder.glob("*.json"))
        if path.with_suffix(".npy").is_file()
    }


def _read_fingerprint(path: Path) -> str:
    array = path.with_suffix(".npy")
    cure = f"run encode again, or remove {path.name} if {array.name} was made by other means"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        fingerprint, sha256 = said["fingerprint"], said["sha256"]
        for value in (fingerprint, sha256):
            if not re.fullmatch(r"[0-9a-f]{64}", value):
                raise ValueError(f"{value!r} is no sha256")
        found = sha256_of_file(array)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{path}: does not describe an encoder ({type(error).__name__}: {error}), but what lies beside features "
            f"must; {cure}"
        ) from error
    if found != sha256:
        raise BadInputError(
            f"{path}: describes another {array.name}, with sha256 {sha256[:12]}; the one beside it has {found[:12]}, "
            f"so nobody knows which encoder made it; {cure}"
        )
    return str(fingerprint)


def write_description(path: Path, description: FeatureDescription) -> None:
    """Write the JSON file, whole or not at all."""
    write_json(path, asdict(description))


def encoder_fingerprint(files: Iterable[tuple[str, Path]], settings: Mapping[str, Any]) -> str:
    """sha256 over an encoder's files, each under a name that does not depend on where it lies, and its settings.

    Args:
        files: (name, path) of weights, tokenizers and configurations; their order does not matter.
        settings: whatever else decides the vectors, as JSON.
    """
    digest = hashlib.sha256()
    for name, path in sorted(files):
        digest.update(f"{name}\0{sha256_of_file(path)}\0".encode())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()
