"""The shapes that are run before a release is served: all of them at the start, few when another is served already."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from service.contract.release_store import ReleaseStore
from service.releases.release import Release, load_release
from service.releases.warm_up import warm_up
from service.serving.inference import InferenceThread
from service.settings import Settings

Shapes = list[tuple[int, int, int]]
"""Beam width, batch and history length of every run."""


@pytest.fixture
def inference() -> Iterator[InferenceThread]:
    inference = InferenceThread()
    yield inference
    inference.close()


@pytest.fixture
def release(store: ReleaseStore, settings: Settings, publish: Any, fake_decoder: Any) -> Release:
    publish("v1")
    return load_release(store, "v1", settings, decoder_factory=fake_decoder)


@pytest.fixture
def shapes(release: Release, monkeypatch: pytest.MonkeyPatch) -> Shapes:
    """Of the runs from now on; their filters leave out the history."""
    seen: Shapes = []
    decode = release.decoder.decode

    def noted(histories: Any, filters: Any, *, beam_width: int) -> Any:
        assert all(
            set(wanted.excluded.tolist()) == set(rows.tolist()) for rows, wanted in zip(histories, filters, strict=True)
        )
        seen.append((beam_width, len(histories), len(histories[0])))
        return decode(histories, filters, beam_width=beam_width)

    monkeypatch.setattr(release.decoder, "decode", noted)
    return seen


def test_every_shape_is_run_twice_at_the_start(release: Release, shapes: Shapes, inference: InferenceThread) -> None:
    warm_up(release, inference, 4)
    assert sorted(set(shapes)) == list(itertools.product((10, 20), (1, 4), (1, 6)))
    assert len(shapes) == 2 * len(set(shapes))
    assert all(inference.run_times.has_timed(width, batch) for width in (10, 20) for batch in (1, 4))


def test_known_shapes_are_run_once_and_not_timed_by_that(
    release: Release, shapes: Shapes, inference: InferenceThread
) -> None:
    for batch in (1, 4):
        inference.run_times.record(10, batch, 123.0)
    warm_up(release, inference, 4)
    assert [shape for shape in shapes if shape[0] == 10] == [(10, 1, 6), (10, 4, 6)]
    assert inference.run_times.seconds(10, 4) == 123.0
    assert len([shape for shape in shapes if shape[0] == 20]) == 8  # a tier that no release had before
