"""The figures of `benchmarks.http` from loads whose answers are known by eye; the load beside a server that counts."""

import asyncio
import json
from typing import Any

import pytest

from benchmarks.serving import load, measurements
from benchmarks.serving.measurements import Bare, Plan

PLAN = Plan(turns=3, turn_seconds=2.0, overload_seconds=10.0)


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


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    service = FakeService()

    def answered(_: Any, kind: str, amount: float, seconds: float) -> dict[str, list[float]]:
        if kind == "open":
            return {"200": [0.4] * 4000 + [1.5] * 1000, "429": [0.004] * 5000, "504": [1.0]}
        count = 100 if amount == 1 else 1400
        service.answers += count
        return {"200": [0.0025] * count}

    monkeypatch.setattr(measurements, "load", answered)
    monkeypatch.setattr(measurements, "cpu_outside_decode", lambda _: 0.002 * service.answers)
    return service


def test_one_at_a_time_beside_the_bare_decoder(service: Any) -> None:
    found = measurements.one_at_a_time(service, _bare(), PLAN)
    assert found == {"p50_ms": 2.5, "p99_ms": 2.5, "http_over_decode_ms": 0.5, "cpu_ms_outside_decode_alone": 2.0}


def test_saturation_is_a_share_of_the_best_batched_rate(service: Any) -> None:
    assert measurements.saturated(service, _bare(), PLAN) == {
        "saturation_share": 0.7,
        "saturation_per_second": 700.0,
        "cpu_ms_outside_decode": 2.0,
    }


def test_goodput_counts_what_was_in_time(service: Any) -> None:
    found = measurements.overloaded(service, PLAN, 500.0, 1.0)
    assert (found["overload_goodput_share"], found["refusal_p99_ms"]) == (0.8, 4.0)
    assert found["overload"]["others"] == {"504": 1}


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
    counted = {status: len(seconds) for status, seconds in callers.seconds.items()}
    assert counted == {"200": (len(bodies) + 1) // 2, "429": len(bodies) // 2}
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
