"""The service beside its bare decoder, at saturation, and at twice that load: issue 5, what must be shown.

    .venv/bin/python -m benchmarks.http [--quick] [--seed 0] [--items 100000]

Prints one JSON object; what is going on stands on stderr. The service has one core, Redis and the load have the others;
histories come from Redis, and what the service does beside (keys, metrics, logs) is on. A server that does nothing else
than hand the same decoder a history takes turns with it (`smallest_...`). `--quick` takes less than a minute once the
model has been exported. `wrk`, where it is installed, repeats the saturation from outside. A busy
machine spoils all of these figures: `load_average` tells.
"""

import argparse
import json
import os
import sys
from importlib.util import find_spec
from typing import Any

NEEDED = ("onnx", "torch", "uvloop")
INSTALL = "pip install -e '.[offline]' -c constraints.txt"
DEADLINE_SECONDS = 1.0


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything, in less than a minute")
    parser.add_argument("--json", action="store_true", help="as always; there is no other output")
    parser.add_argument("--seed", type=int, default=0, help="seed of catalogue, histories and weights")
    parser.add_argument("--items", type=int, default=100_000, help="items of the catalogue")
    arguments = parser.parse_args()
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(json.dumps({"benchmark": "http", "missing": missing, "install": INSTALL}))
        return 1
    print(json.dumps(measure(arguments.seed, arguments.items, quick=arguments.quick)))
    return 0


def measure(seed: int, num_items: int, *, quick: bool) -> dict[str, Any]:
    """The whole report."""
    from benchmarks.decoding.bench import progress
    from benchmarks.decoding.catalogue import make_catalogue
    from benchmarks.decoding.graphs import PendingGraphs
    from benchmarks.running.service_process import status_of
    from benchmarks.serving import agreed, measurements, world
    from benchmarks.serving.wrk import saturated_by_wrk

    plan = measurements.QUICK if quick else measurements.FULL
    progress("exporting or finding the model, making the catalogue")
    graphs = PendingGraphs(seed)
    catalogue = make_catalogue(num_items, seed)
    report: dict[str, Any] = {"benchmark": "http", "quick": quick, "items": num_items, "cores": len(agreed.CORES)}
    decoder = graphs.wait().decoder
    with (
        world.running(decoder, catalogue, deadline_seconds=DEADLINE_SECONDS) as service,
        measurements.smallest_server(seed, num_items) as smallest,
        measurements.bare_decoder(seed, num_items) as bare,
    ):
        report["load_average"] = os.getloadavg()[0]
        measurements.load(service, "closed", 8, 1.0)
        progress("one request at a time")
        report |= measurements.one_at_a_time(service, smallest, bare, plan)
        progress("saturation, and twice as much")
        report |= measurements.saturated_and_overloaded(service, bare, plan, DEADLINE_SECONDS)
        progress("saturation by wrk")
        report["wrk"] = saturated_by_wrk(service, measurements.CALLERS, plan.overload_seconds)
        report["resident_mib"] = status_of(service.process.pid)["resident_mib"]
    return report


if __name__ == "__main__":
    sys.exit(main())
