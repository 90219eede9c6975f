"""The figures of the service: beside the bare decoder, at saturation, and beyond it.

Service and bare decoder take turns on one core, because machines are noisy: ratios are formed turn by turn.
"""

import json
import math
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks.running.service_process import ServiceProcess, cpu_seconds
from benchmarks.serving.agreed import API_KEY
from benchmarks.serving.load import Requests

BATCHES = (8, 16, 32)
"""Of the bare decoder; the best one is what saturation is compared with."""
CALLERS = 96
"""In the closed loop that saturates the service: three full batches."""
SETTLING_SECONDS = 0.5
"""Of every load: until then connections are made and the queue fills."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured: turns of a comparison, seconds of a turn, seconds of a turn of the overload."""

    turns: int
    turn_seconds: float
    overload_seconds: float


QUICK = Plan(turns=3, turn_seconds=1.5, overload_seconds=3.0)
FULL = Plan(turns=9, turn_seconds=4.0, overload_seconds=6.0)


class Load(NamedTuple):
    """What became of a load: `benchmarks.serving.load`.

    What ends after the last request was to be sent counts for nothing: then the queue only empties.
    """

    requests: Requests
    seconds: float

    @property
    def answered(self) -> int:
        """How many were answered, whenever.

        Raises:
            RuntimeError: none.
        """
        if "200" not in self.requests:
            came = {status: len(each) for status, each in self.requests.items()}
            raise RuntimeError(f"the service has answered nothing with 200 but {came}; its log says why")
        return len(self.requests["200"])

    def times(self, status: str) -> list[float]:
        """How long the requests took that ended so, once the load had settled."""
        settled = self.requests.get(status, [])
        return [took for ended, took in settled if SETTLING_SECONDS <= ended <= self.seconds]

    def per_second(self, status: str, limit: float = math.inf) -> float:
        """How many ended so in a second, having taken at most `limit` seconds."""
        return sum(took <= limit for took in self.times(status)) / (self.seconds - SETTLING_SECONDS)


class Bare:
    """The decoder's own process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def turn(self, batch: int, seconds: float) -> dict[str, Any]:
        """See `benchmarks.serving.bare`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{batch} {seconds}\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


class Smallest:
    """The process of the smallest server around the same decoder: `benchmarks.serving.smallest`."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self._process = process
        self.port = port

    def cpu_outside_decode(self) -> float:
        """CPU seconds that it has used outside of the decoder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        inside = float(self._process.stdout.readline())
        return (cpu_seconds(self._process.pid) or 0.0) - inside


@contextmanager
def smallest_server(seed: int, num_items: int) -> Iterator[Smallest]:
    """Start it and wait until it listens."""
    command = [sys.executable, "-m", "benchmarks.serving.smallest", str(seed), str(num_items)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Smallest(process, int(process.stdout.readline()))
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def bare_decoder(seed: int, num_items: int) -> Iterator[Bare]:
    """Start it and wait until it is ready."""
    command = [sys.executable, "-m", "benchmarks.serving.bare", str(seed), str(num_items)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield Bare(process)
    finally:
        process.terminate()
        process.communicate()


def load(service: ServiceProcess | Smallest, kind: str, amount: float, seconds: float) -> Load:
    """Put a load on a server and wait for its end; see `benchmarks.serving.load`."""
    shown = str(int(amount)) if kind == "closed" else str(amount)
    command = [sys.executable, "-m", "benchmarks.serving.load", str(service.port), kind, shown, str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Load(json.loads(done.stdout), seconds)


def cpu_outside_decode(service: ServiceProcess) -> float:
    """CPU seconds that the service has used outside of `session.run`, by what it counts itself."""
    request = urllib.request.Request(f"{service.url}/metrics", headers={"Authorization": f"Bearer {API_KEY}"})
    with urllib.request.urlopen(request) as response:
        lines = response.read().decode().splitlines()
    (inside,) = (float(line.split()[1]) for line in lines if line.startswith("mmgrec_decoder_cpu_seconds_total"))
    return service.cpu_seconds() - inside


def one_at_a_time(service: ServiceProcess, smallest: Smallest, bare: Bare, plan: Plan) -> dict[str, Any]:
    """A single caller beside the bare decoder: what HTTP, histories and answers add, in time and in CPU.

    The smallest server around the same decoder takes a turn beside them: what it adds no server can do without, and it
    is larger the slower the machine is at waking up.

    The CPU of this loop is that of a core which sleeps and wakes several times a request, and finds its caches full of
    the decoder's data each time; what a request costs a busy core is measured at saturation.
    """
    over, cpu, calls = [], [], list[float]()
    smallest_over, smallest_cpu = [], []
    for _ in range(plan.turns):
        alone = bare.turn(1, plan.turn_seconds)
        before = smallest.cpu_outside_decode()
        found = load(smallest, "closed", 1, plan.turn_seconds)
        smallest_cpu.append((smallest.cpu_outside_decode() - before) / found.answered)
        smallest_over.append(median(found.times("200")) - median(alone["calls"]))
        before = cpu_outside_decode(service)
        found = load(service, "closed", 1, plan.turn_seconds)
        cpu.append((cpu_outside_decode(service) - before) / found.answered)
        answered = found.times("200")
        over.append(median(answered) - median(alone["calls"]))
        calls += answered
    p50, p99 = np.percentile(calls, [50, 99]) * 1000
    return {
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "http_over_decode_ms": round(median(over) * 1000, 3),
        "cpu_ms_outside_decode_alone": round(median(cpu) * 1000, 3),
        "smallest_over_decode_ms": round(median(smallest_over) * 1000, 3),
        "smallest_cpu_ms_outside_decode_alone": round(median(smallest_cpu) * 1000, 3),
    }


class _Turn(NamedTuple):
    """Saturation, and twice as many requests straight after it."""

    bare_per_second: float
    saturation_per_second: float
    cpu_seconds: float
    overload: Load
    goodput_per_second: float


def saturated_and_overloaded(
    service: ServiceProcess, bare: Bare, plan: Plan, deadline_seconds: float
) -> dict[str, Any]:
    """Answers per second of many callers as a share of the decoder's best batched rate; goodput under twice as many."""
    turns = [_turn(service, bare, plan, deadline_seconds) for _ in range(plan.turns)]
    overloads = [turn.overload for turn in turns]
    refused = [seconds for each in overloads for seconds in each.times("429")]
    answered = [seconds for each in overloads for seconds in each.times("200")]
    statuses = {status for each in overloads for status in each.requests} - {"200", "429"}
    return {
        "saturation_share": round(median(turn.saturation_per_second / turn.bare_per_second for turn in turns), 3),
        "saturation_per_second": round(median(turn.saturation_per_second for turn in turns), 1),
        "cpu_ms_outside_decode": round(median(turn.cpu_seconds for turn in turns) * 1000, 3),
        "overload_goodput_share": round(
            median(turn.goodput_per_second / turn.saturation_per_second for turn in turns), 3
        ),
        "refusal_p99_ms": _p99_ms(refused),
        "overload": {
            "goodput_per_second": round(median(turn.goodput_per_second for turn in turns), 1),
            "answered": len(answered),
            "answered_p99_ms": _p99_ms(answered),
            "refused": len(refused),
            "others": {status: sum(len(each.requests.get(status, [])) for each in overloads) for status in statuses},
        },
    }


def _turn(service: ServiceProcess, bare: Bare, plan: Plan, deadline_seconds: float) -> _Turn:
    alone = {batch: bare.turn(batch, plan.turn_seconds / len(BATCHES))["calls"] for batch in BATCHES}
    before = cpu_outside_decode(service)
    found = load(service, "closed", CALLERS, plan.turn_seconds)
    cpu = (cpu_outside_decode(service) - before) / found.answered
    rate = found.per_second("200")
    overload = load(service, "open", 2 * rate, plan.overload_seconds)
    return _Turn(
        bare_per_second=max(batch / median(calls) for batch, calls in alone.items()),
        saturation_per_second=rate,
        cpu_seconds=cpu,
        overload=overload,
        goodput_per_second=overload.per_second("200", deadline_seconds),
    )


def _p99_ms(seconds: list[float]) -> float | None:
    return round(float(np.percentile(seconds, 99)) * 1000, 2) if seconds else None
