"""The same saturation by wrk, a load generator that nobody here has written.

Its callers wait for their answers, so it can tell what a service holds at most and how long answers take then; it
cannot keep up a rate that is not answered, which `benchmarks.serving.load` does.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.running.service_process import ServiceProcess
from benchmarks.serving.agreed import API_KEY, OTHER_CORES, USERS, on_core

MISSING = "wrk is not installed (Debian: apt install wrk)"
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
local sent = 0
request = function()
  sent = (sent + 1) % {users}
  return wrk.format(nil, "/recommend", nil, '{{"user_id": "user-' .. sent .. '", "n": 10}}')
end
"""
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def saturated_by_wrk(service: ServiceProcess, callers: int, seconds: float) -> dict[str, Any]:
    """What wrk says of so many callers, on the cores of the load; what is missing, if wrk is."""
    if shutil.which("wrk") is None:
        return {"missing": MISSING}
    with tempfile.TemporaryDirectory(prefix="mmgrec-bench-") as folder:
        script = Path(folder) / "recommend.lua"
        script.write_text(_SCRIPT.format(key=API_KEY, users=USERS))
        command = ["wrk", "-t1", f"-c{callers}", f"-d{seconds:.0f}s", "--latency", "-s", str(script), service.url]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=lambda: on_core(OTHER_CORES)
        )
    return read_report(done.stdout)


def read_report(text: str) -> dict[str, Any]:
    """Rate, latencies and the number of answers other than 2xx and 3xx, out of what wrk prints."""
    found = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", text, re.MULTILINE))
    rate = re.search(r"^Requests/sec:\s+([\d.]+)$", text, re.MULTILINE)
    others = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if rate is None or set(found) != {"50", "99"}:
        raise ValueError(f"this is no report of wrk: {text[:200]!r}")
    return {
        "per_second": float(rate[1]),
        "p50_ms": _milliseconds(found["50"]),
        "p99_ms": _milliseconds(found["99"]),
        "others": 0 if others is None else int(others[1]),
    }


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return round(float(number) * _MILLISECONDS[unit], 3)
