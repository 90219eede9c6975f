"""How long the decoder takes on the machine that writes the report."""

import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from offline.artefacts import open_run_decoder
from offline.reporting.facts import Facts
from offline.reporting.markup import join
from offline.reporting.page import Section, lead, table
from offline.run_folder import RunFolder
from service.constraints import ItemFilter
from service.decoder import BeamDecoder

BATCHES = (1, 8)
MOST_RUNS, FEWEST_RUNS, BUDGET_SECONDS = 300, 20, 1.0
WARM_UP_RUNS = 3


class Latency(NamedTuple):
    """Milliseconds of one run of the graph with a batch of requests, at the default beam width."""

    batch: int
    runs: int
    p50: float
    p99: float


class Latencies(NamedTuple):
    """All of them, and how they were measured."""

    measured: tuple[Latency, ...]
    beam_width: int
    threads: int
    provider: str


def measure_latency(run: RunFolder, facts: Facts) -> Latencies:
    """Time the run's own decoder on histories that it was scored on, a second for each batch size.

    Raises:
        BadInputError: the decoder is damaged.
    """
    decoder = open_run_decoder(run)
    histories = list(facts.recommended.histories) if facts.recommended else []
    if not histories:
        histories = [facts.table.popular_rows()[:8]]
    return Latencies(
        measured=tuple(_time(decoder, histories, batch) for batch in BATCHES),
        beam_width=decoder.settings.beam_widths[0],
        threads=torch.get_num_threads(),
        provider=decoder.provider.removesuffix("ExecutionProvider"),
    )


def _time(decoder: BeamDecoder, histories: list[npt.NDArray[np.int64]], batch: int) -> Latency:
    width, taken = decoder.settings.beam_widths[0], list[float]()
    until = time.monotonic() + BUDGET_SECONDS
    number = 0
    while len(taken) < FEWEST_RUNS or (len(taken) < MOST_RUNS and time.monotonic() < until):
        rows = [histories[(number * batch + place) % len(histories)] for place in range(batch)]
        started = time.perf_counter()
        decoder.decode(rows, [ItemFilter(excluded=each) for each in rows], beam_width=width)
        seconds = time.perf_counter() - started
        number += 1
        if number > WARM_UP_RUNS:
            taken.append(1000 * seconds)
    return Latency(batch, len(taken), *(float(np.percentile(taken, share)) for share in (50, 99)))


def latency(found: Latencies) -> Section:
    """The table."""
    rows = [
        [str(each.batch), f"{each.p50:.2f}", f"{each.p99:.2f}", f"{1000 * each.batch / each.p50:.0f}", str(each.runs)]
        for each in found.measured
    ]
    head = ("requests in a batch", "p50, ms", "p99, ms", "requests a second at p50", "runs")
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    text = (
        f"Decoding alone, beam width {found.beam_width}, on {found.provider} with {threads}: of the machine that wrote "
        "this report, disturbed by whatever else ran on it. A request costs a little more: Redis, HTTP, waiting."
    )
    return Section("latency", "Latency", join(lead(text), table(head, rows)))
