"""The decoder alone on the service's core, in a process of its own that is asked for one turn after the other.

    python -m benchmarks.serving.bare SEED ITEMS

Reads lines "BATCH SECONDS" and answers each with one JSON object: seconds of every call of `BeamDecoder.decode`.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.decoding.catalogue import make_catalogue
from benchmarks.decoding.graphs import PendingGraphs
from benchmarks.decoding.subject import SETTINGS
from benchmarks.serving.agreed import HISTORY, SERVICE_CORE, on_core
from service.constraints import ItemFilter
from service.decoder import BeamDecoder


def turn(decoder: BeamDecoder, rng: np.random.Generator, batch: int, seconds: float) -> dict[str, Any]:
    """Decode for some seconds, users with histories that are left out of their answers."""
    calls: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        histories = list(rng.integers(decoder.num_items, size=(batch, HISTORY)))
        filters = [ItemFilter(excluded=rows) for rows in histories]
        started = time.perf_counter()
        decoder.decode(histories, filters, beam_width=SETTINGS.beam_widths[0])
        calls.append(time.perf_counter() - started)
    return {"calls": calls}


def main() -> None:
    """See above."""
    seed, num_items = map(int, sys.argv[1:])
    catalogue = make_catalogue(num_items, seed)
    graphs = PendingGraphs(seed).wait()
    on_core(SERVICE_CORE)
    arrays = {"trie": catalogue.trie, "item_vectors": catalogue.item_vectors, "settings": SETTINGS}
    decoder = BeamDecoder(graphs.decoder, **arrays, device="cpu", threads=1)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    print("ready", flush=True)
    for line in sys.stdin:
        batch, seconds = line.split()
        print(json.dumps(turn(decoder, rng, int(batch), float(seconds))), flush=True)


if __name__ == "__main__":
    main()
