"""Arrays of features that are mapped and not read: what a header may not claim."""

from pathlib import Path

import numpy as np
import pytest

from offline.errors import BadInputError
from offline.importing.carried_features import open_features

CLAIMS = {
    f"(3, {10**22})": "its header claims .* bytes, but 24 follow: the file is cut short",
    "(3, True)": "cannot be read as an array of numbers",
    "(": "cannot be read as an array of numbers",
    "(4, 2)": "has 4 rows for 3 items",
    "(6,)": r"holds float32 of shape \(6,\); write a 2-D array",
}


@pytest.mark.parametrize("shape", CLAIMS)
def test_a_claim_that_is_no_array_of_the_items(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
    path = tmp_path / "image.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(24))
    with pytest.raises(BadInputError, match=rf"image\.npy: {CLAIMS[shape]}"):
        open_features(path, 3)


def test_what_it_claims_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.eye(3, 2))
    assert np.array_equal(open_features(tmp_path / "image.npy", 3), np.eye(3, 2))
