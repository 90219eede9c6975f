"""Encoders made in the test's folder, and a web site."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.offline.encoding.made_encoders import loudness, mean_colour
from tests.offline.encoding.web_site import WebSite


@pytest.fixture
def site() -> Iterator[WebSite]:
    server = WebSite()
    yield server
    server.close()


@pytest.fixture
def colour_encoder(tmp_path: Path) -> Path:
    return mean_colour(tmp_path / "encoder")


@pytest.fixture
def sound_encoder(tmp_path: Path) -> Path:
    return loudness(tmp_path / "encoder")
