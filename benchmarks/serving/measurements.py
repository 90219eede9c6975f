"""The figures of the service: beside the bare decoder, at saturation, and beyond it.

Service and bare decoder take turns on one core, because machines are noisy: ratios are formed turn by turn.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from benchmarks.running.service_process import ServiceProcess
from benchmarks.serving.world import API_KEY

BATCHES = (8, 16, 32)
"""Of the bare decoder; the best one is what saturation is compared with."""
CALLERS = 96
"""In the closed loop that saturates the service: three full batches."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured: turns of a comparison, seconds of a turn, seconds of the overload."""

    turns: int
    turn_seconds: float
    overload_seconds: float


QUICK = Plan(turns=3, turn_seconds=1.0, overload_seconds=8.0)
FULL = Plan(turns=9, turn_seconds=4.0, overload_seconds=40.0)


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


def load(service: ServiceProcess, kind: str, amount: float, seconds: float) -> dict[str, list[float]]:
    """Seconds of requests by status; see `benchmarks.serving.load`."""
    shown = str(int(amount)) if kind == "closed" else str(amount)
    command = [sys.executable, "-m", "benchmarks.serving.load", str(service.port), kind, shown, str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def cpu_outside_decode(service: ServiceProcess) -> float:
    """CPU seconds that the service has used outside of `session.run`, by what it counts itself."""
    request = urllib.request.Request(f"{service.url}/metrics", headers={"Authorization": f"Bearer {API_KEY}"})
    with urllib.request.urlopen(request) as response:
        lines = response.read().decode().splitlines()
    (inside,) = (float(line.split()[1]) for line in lines if line.startswith("mmgrec_decoder_cpu_seconds_total"))
    return service.cpu_seconds() - inside


def one_at_a_time(service: ServiceProcess, bare: Bare, plan: Plan) -> dict[str, Any]:
    """A single caller beside the bare decoder: what HTTP, histories and answers add, in time and in CPU.

    The CPU of this loop is that of a core which sleeps and wakes several times a request, and finds its caches full of
    the decoder's data each time; what a request costs a busy core is measured at saturation.
    """
    over, cpu, calls = [], [], list[float]()
    for _ in range(plan.turns):
        alone = bare.turn(1, plan.turn_seconds)
        before = cpu_outside_decode(service)
        answered = load(service, "closed", 1, plan.turn_seconds)["200"]
        cpu.append((cpu_outside_decode(service) - before) / len(answered))
        over.append(median(answered) - median(alone["calls"]))
        calls += answered
    p50, p99 = np.percentile(calls, [50, 99]) * 1000
    return {
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "http_over_decode_ms": round(median(over) * 1000, 3),
        "cpu_ms_outside_decode_alone": round(median(cpu) * 1000, 3),
    }


def saturated(service: ServiceProcess, bare: Bare, plan: Plan) -> dict[str, Any]:
    """Answers per second of many callers beside the decoder's best batched rate on the same core, and their CPU."""
    shares, rates, cpu = [], [], []
    for _ in range(plan.turns):
        alone = {batch: bare.turn(batch, plan.turn_seconds / len(BATCHES))["calls"] for batch in BATCHES}
        best = max(batch / median(calls) for batch, calls in alone.items())
        before = cpu_outside_decode(service)
        answered = load(service, "closed", CALLERS, plan.turn_seconds).get("200", [])
        cpu.append((cpu_outside_decode(service) - before) / len(answered))
        rates.append(len(answered) / plan.turn_seconds)
        shares.append(rates[-1] / best)
    return {
        "saturation_share": round(median(shares), 3),
        "saturation_per_second": round(median(rates), 1),
        "cpu_ms_outside_decode": round(median(cpu) * 1000, 3),
    }


def overloaded(service: ServiceProcess, plan: Plan, per_second: float, deadline_seconds: float) -> dict[str, Any]:
    """Twice as many requests as can be answered, whether or not they are."""
    found = load(service, "open", 2 * per_second, plan.overload_seconds)
    answered, refused = found.pop("200", []), found.pop("429", [])
    in_time = sum(seconds <= deadline_seconds for seconds in answered)
    return {
        "overload_goodput_share": round(in_time / plan.overload_seconds / per_second, 3),
        "refusal_p99_ms": round(float(np.percentile(refused, 99)) * 1000, 2) if refused else None,
        "overload": {
            "asked_per_second": round(2 * per_second, 1),
            "answered": len(answered),
            "answered_p99_ms": round(float(np.percentile(answered, 99)) * 1000, 1) if answered else None,
            "refused": len(refused),
            "others": {status: len(seconds) for status, seconds in found.items()},
        },
    }
