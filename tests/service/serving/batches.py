"""What the tests of the queue share: a decoder that notes its runs and can be held, and callers."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from service.decoder import Decoded
from service.releases.release import Release
from service.serving.batching import MicroBatcher

V1, V2 = cast(Release, "v1"), cast(Release, "v2")


class Decoding:
    """Notes every run; the runs wait until `go` is set; -1 is a request that makes the decoder fail."""

    def __init__(self) -> None:
        self.runs: list[tuple[Any, list[int], int]] = []
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, release: Release, batch: Sequence[int], beam_width: int) -> list[Decoded]:
        self.runs.append((release, list(batch), beam_width))
        self.started.set()
        assert self.go.wait(10)
        if -1 in batch:
            raise ValueError("not finite")
        return [Decoded(*(np.array([number]) for _ in range(3))) for number in batch]


async def ask(
    batcher: MicroBatcher, number: int, release: Release = V1, beam_width: int = 10, seconds: float = 100.0
) -> int:
    answered = await batcher.decode(release, number, beam_width, deadline=time.monotonic() + seconds)
    return int(answered.decoded.leaves[0])


async def busy_with_first(batcher: MicroBatcher, decoding: Decoding) -> "asyncio.Task[int]":
    """A first request that the thread is at work on."""
    first = asyncio.create_task(ask(batcher, 0))
    await asyncio.to_thread(decoding.started.wait, 10)
    return first
