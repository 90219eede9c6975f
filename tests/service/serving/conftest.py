"""A queue of its own for every test, with a decoder that can be held."""

from collections.abc import Iterator

import pytest

from service.serving.batching import MicroBatcher
from service.serving.inference import InferenceThread
from service.serving.run_times import RunTimes
from tests.service.serving.batches import Decoding


@pytest.fixture
def decoding() -> Decoding:
    return Decoding()


@pytest.fixture
def inference(decoding: Decoding) -> Iterator[InferenceThread]:
    inference = InferenceThread()
    yield inference
    decoding.go.set()
    inference.close()


@pytest.fixture
def times(inference: InferenceThread) -> RunTimes:
    return inference.run_times


@pytest.fixture
def batcher(inference: InferenceThread, decoding: Decoding) -> MicroBatcher:
    return MicroBatcher(inference, decoding, max_batch=3, deadline_seconds=10)
