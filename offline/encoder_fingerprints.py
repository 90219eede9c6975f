"""Which encoder made the features of a dataset: `features/<modality>.json`, beside the array."""

import json
from pathlib import Path

from offline.errors import BadInputError


def encoder_fingerprints(features: Path) -> dict[str, str]:
    """Modality to the fingerprint of its encoder, for those files that say it.

    Raises:
        BadInputError: a file cannot be read, or has no fingerprint.
    """
    found = {}
    for path in sorted(features.glob("*.json")):
        if not path.with_suffix(".npy").exists():
            continue
        try:
            fingerprint = json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInputError(
                f"{path}: does not say which encoder made {path.stem}.npy ({type(error).__name__}: {error}); encode "
                "the modality again, or remove this file if its encoder is not known"
            ) from error
        if not isinstance(fingerprint, str) or not fingerprint:
            raise BadInputError(
                f"{path}: 'fingerprint' is {fingerprint!r}, not a text; encode the modality again, or remove this file"
            )
        found[path.stem] = fingerprint
    return found
