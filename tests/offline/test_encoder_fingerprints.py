"""Which encoder made the features: beside each array, or not said at all."""

import json
from pathlib import Path

import numpy as np
import pytest

from offline.encoder_fingerprints import encoder_fingerprints
from offline.errors import BadInputError


def test_those_that_are_there(tmp_path: Path) -> None:
    assert encoder_fingerprints(tmp_path / "nowhere") == {}
    for name in ("image", "text"):
        np.save(tmp_path / f"{name}.npy", np.ones((1, 2)))
    (tmp_path / "image.json").write_text(json.dumps({"fingerprint": "clip-1", "model": "clip"}))
    (tmp_path / "other.json").write_text("of something else")
    assert encoder_fingerprints(tmp_path) == {"image": "clip-1"}


@pytest.mark.parametrize("text", ["", "[]", "5", "{}", "\xff", '{"fingerprint": 5}', '{"fingerprint": ""}'])
def test_a_file_that_does_not_say_it_is_refused(tmp_path: Path, text: str) -> None:
    np.save(tmp_path / "image.npy", np.ones((1, 2)))
    (tmp_path / "image.json").write_text(text)
    with pytest.raises(BadInputError, match=r"image\.json: .*encode the modality again, or remove this file"):
        encoder_fingerprints(tmp_path)
