"""What a file is known by."""

import hashlib
from pathlib import Path


def sha256_of_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex; reads it piece by piece.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
