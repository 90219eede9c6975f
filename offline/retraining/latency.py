"""How long an answer takes: the candidate beside the served release, in one process and in turns."""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.constraints import ItemFilter
from service.decoder import BeamDecoder

ROUNDS = 40
WARM_UP = 5


def median_milliseconds(
    decoders: Sequence[BeamDecoder], histories: Sequence[Sequence[npt.NDArray[np.int64]]]
) -> list[float]:
    """Median time of one request at the default beam width, for each decoder.

    They take turns, so that whatever else the machine does meets them alike.

    Args:
        decoders: to be timed.
        histories: item rows for each of them; at least one history each.
    """
    seconds: list[list[float]] = [[] for _ in decoders]
    for turn in range(WARM_UP + ROUNDS):
        for place, decoder in enumerate(decoders):
            rows = histories[place][turn % len(histories[place])]
            started = time.perf_counter()
            decoder.decode([rows], [ItemFilter(excluded=rows)], beam_width=decoder.settings.beam_widths[0])
            if turn >= WARM_UP:
                seconds[place].append(time.perf_counter() - started)
    return [float(np.median(each)) * 1000 for each in seconds]
