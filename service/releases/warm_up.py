"""The first runs of a release, before any request meets it: every tier, short and long histories, one request and many.

They run on the inference thread, one by one, so that requests for the release in memory come in between.
"""

import time

import numpy as np

from service.constraints import ItemFilter
from service.releases.release import Release
from service.serving.inference import InferenceThread

RUNS_PER_SHAPE = 2
"""Of what was never timed: the first run allocates, the second shows how long such a run takes."""


def warm_up(release: Release, inference: InferenceThread, max_batch: int) -> None:
    """Prepare a release's fixed shapes and decode with every shape that matters; blocks, never on the event loop.

    The times of the runs go into `inference.run_times`, so that the very first requests can be refused in time. Shapes
    that another release was timed with run once, with the longest history: that allocates all that they need, and more
    would only keep the requests waiting that come meanwhile.
    """
    if release.decoder.has_buckets:
        inference.call(release.decoder.prepare)
    longest = min(release.manifest.model.max_history, len(release.items))
    for beam_width in release.beam_widths:
        for batch in sorted({1, max_batch}):
            if inference.run_times.has_timed(beam_width, batch):
                inference.call(_run, release, beam_width, batch, longest)
                continue
            for length in sorted({1, longest}):
                for _ in range(RUNS_PER_SHAPE):
                    seconds = inference.call(_run, release, beam_width, batch, length)
                inference.run_times.record(beam_width, batch, seconds)


def _run(release: Release, beam_width: int, batch: int, length: int) -> float:
    """Decode the most popular items as everybody's history, without those items; the seconds it took."""
    started = time.monotonic()
    rows = release.popular_rows[:length]
    release.decoder.decode([rows] * batch, [ItemFilter(excluded=np.sort(rows))] * batch, beam_width=beam_width)
    return time.monotonic() - started
