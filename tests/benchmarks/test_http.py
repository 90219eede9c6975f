"""The figures of `benchmarks.http` from loads whose answers are known by eye; the load beside a server that counts."""

import asyncio
import json
import time
from typing import Any

import httpx
import numpy as np
import pytest

from benchmarks.serving import load, measurements
from benchmarks.serving.agreed import HISTORY
from benchmarks.serving.measurements import SETTLING_SECONDS, Bare, Load, Plan
from benchmarks.serving.smallest import SmallestServer
from benchmarks.serving.wrk import read_report

PLAN = Plan(turns=3, turn_seconds=2 + SETTLING_SECONDS, overload_seconds=10 + SETTLING_SECONDS)


class FakeService:
    """Uses 5 ms of CPU per answer."""

    def __init__(self) -> None:
        self.answers = 0

    def cpu_seconds(self) -> float:
        return 0.005 * self.answers


class FakeBare:
    """Takes 2 ms for one request and 1 ms for each of a batch."""

    def turn(self, batch: int, seconds: float) -> dict[str, Any]:
        each = 0.002 if batch == 1 else 0.001 * batch
        return {"calls": [each] * 10}


class FakeSmallest:
    """Answers in 2.2 ms and uses 1 ms of CPU per answer."""

    def __init__(self) -> None:
        self.answers = 0

    def cpu_outside_decode(self) -> float:
        return 0.001 * self.answers


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    service = FakeService()

    def answered(server: Any, kind: str, amount: float, seconds: float) -> Load:
        def ended(took: float, count: int) -> list[tuple[float, float]]:
            """So many within the time that counts, and some before and after it."""
            return [(1.0, took)] * count + [(0.1, 9.0)] * 10 + [(seconds + 0.1, 9.0)] * 10

        if kind == "open":
            assert amount == 1400
            requests = {"200": ended(0.4, 4200) + ended(1.5, 1000), "429": ended(0.004, 5000), "504": [(1.0, 1.0)]}
        else:
            took = 0.0022 if isinstance(server, FakeSmallest) else 0.0025
            requests = {"200": ended(took, 100 if amount == 1 else 1400)}
            server.answers += len(requests["200"])
        return Load(requests, seconds)

    monkeypatch.setattr(measurements, "load", answered)
    monkeypatch.setattr(measurements, "cpu_outside_decode", lambda _: 0.002 * service.answers)
    return service


def test_one_at_a_time_beside_the_bare_decoder(service: Any) -> None:
    smallest: Any = FakeSmallest()
    found = measurements.one_at_a_time(service, smallest, _bare(), PLAN)
    assert found == {
        "p50_ms": 2.5,
        "p99_ms": 2.5,
        "http_over_decode_ms": 0.5,
        "cpu_ms_outside_decode_alone": 2.0,
        "smallest_over_decode_ms": 0.2,
        "smallest_cpu_ms_outside_decode_alone": 1.0,
    }


@pytest.mark.anyio
async def test_the_smallest_server_answers_ten_items_and_tells_what_decoding_took() -> None:
    class Decoder:
        num_items = 30

        def decode(self, histories: Any, filters: Any, *, beam_width: int) -> Any:
            assert [len(history) for history in histories] == [HISTORY]
            until = time.thread_time() + 0.01
            while time.thread_time() < until:
                pass
            return np.arange(beam_width)[None], None, None

    decoder: Any = Decoder()
    app = SmallestServer(decoder, 0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        response = await client.post("/recommend", json={"user_id": "u"})
    assert response.json() == {"items": [f"item-{leaf}" for leaf in range(10)]}
    assert 0.01 <= app.decoder_cpu_seconds < 1


def test_saturation_and_goodput_are_shares(service: Any) -> None:
    found = measurements.saturated_and_overloaded(service, _bare(), PLAN, deadline_seconds=1.0)
    overload = found.pop("overload")
    assert found == {
        "saturation_share": 0.7,
        "saturation_per_second": 700.0,
        "cpu_ms_outside_decode": 2.0,
        "overload_goodput_share": 0.6,
        "refusal_p99_ms": 4.0,
    }
    assert (overload["goodput_per_second"], overload["answered_p99_ms"]) == (420.0, 1500.0)
    assert (overload["answered"], overload["refused"], overload["others"]) == (15600, 15000, {"504": 3})


def test_a_service_that_answers_nothing_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"nothing with 200 but \{'401': 2\}"):
        _ = Load({"401": [(1.0, 0.1)] * 2}, 2.0).answered


def test_the_report_of_wrk() -> None:
    text = """
  Latency Distribution
     50%  132.13ms
     75%  140.10ms
     99%    1.02s
  2112 requests in 3.00s, 2.5MB read
  Non-2xx or 3xx responses: 4
Requests/sec:    703.45
"""
    assert read_report(text) == {"per_second": 703.45, "p50_ms": 132.13, "p99_ms": 1020.0, "others": 4}
    with pytest.raises(ValueError, match="no report of wrk: 'unable to connect'"):
        read_report("unable to connect")


def _bare() -> Bare:
    return FakeBare()  # type: ignore[return-value]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["closed", "open"])
async def test_the_load_counts_every_status_on_kept_connections(kind: str) -> None:
    connections, bodies = 0, list[Any]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while head := (await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""):
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            bodies.append(json.loads(await reader.readexactly(length)))
            status = b"200 OK" if len(bodies) % 2 else b"429 Too Many Requests"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")

    server = await asyncio.start_server(_quietly(serve), "127.0.0.1", 0)
    callers = load.Callers(server.sockets[0].getsockname()[1])
    if kind == "closed":
        await load.closed_loop(callers, 3, 0.2)
        assert connections == 3
    else:
        await load.open_loop(callers, 100.0, 0.3)
        assert len(bodies) == 30
    counted = {status: len(each) for status, each in callers.requests.items()}
    assert counted == {"200": (len(bodies) + 1) // 2, "429": len(bodies) // 2}
    assert all(0 < took <= ended < 10 for each in callers.requests.values() for ended, took in each)
    assert all(body["user_id"].startswith("user-") for body in bodies)
    callers.close()
    server.close()
    await server.wait_closed()


def _quietly(serve: Any) -> Any:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    return served
