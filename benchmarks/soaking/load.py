"""The callers: they come whatever has become of the others, some hang up, and events are sent until they are stored."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from benchmarks.running.service_process import ServiceProcess
from benchmarks.soaking.requests import Ask, Mix
from benchmarks.soaking.servers import API_KEY
from benchmarks.soaking.stream_transport import StreamTransport
from benchmarks.soaking.tally import Tally

CALLERS = 8
"""Of the closed loop that measures what the service can do."""
PATIENCE_SECONDS = 120.0
"""Of a caller: whoever has no answer by then counts as lost. The service's own deadline is far shorter."""
MEAN_STAY_SECONDS = 0.02
"""How long those who hang up wait before they do."""


@asynccontextmanager
async def http(service: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service with as many connections as it takes."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    transport = StreamTransport("127.0.0.1", service.port)
    async with httpx.AsyncClient(
        base_url=service.url, headers=headers, transport=transport, timeout=PATIENCE_SECONDS, trust_env=False
    ) as client:
        yield client


async def calls_per_second(client: httpx.AsyncClient, mix: Mix, tally: Tally, seconds: float) -> float:
    """What a closed loop of callers gets answered; every answer is judged as in the soak, which is work as well."""
    end = time.monotonic() + seconds
    answered = 0

    async def caller() -> None:
        nonlocal answered
        while time.monotonic() < end:
            response = await _ask(client, mix.draw(), tally)
            answered += response.status_code == 200  # after the wait, in which others count as well

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return answered / seconds


async def _ask(client: httpx.AsyncClient, ask: Ask, tally: Tally) -> httpx.Response:
    seen, began = [tally.seen_by(body) for body in ask.bodies], time.monotonic()
    response = await client.post(ask.path, json=ask.body)
    tally.answered(ask, seen, began, response)
    return response


class Load:
    """Calls at random times (Poisson) for as long as it is told.

    Args:
        client: to the service.
        mix: what is asked.
        tally: is told what came of it.
        disconnect_share: of the recommendations whose callers hang up.
    """

    def __init__(self, client: httpx.AsyncClient, mix: Mix, tally: Tally, disconnect_share: float) -> None:
        self._client = client
        self._mix = mix
        self._tally = tally
        self._disconnect_share = disconnect_share

    async def run(self, per_second: float, seconds: float) -> None:
        """Send, and then wait for the last answers and for the last event to be stored."""
        due, under_way = time.monotonic(), set[asyncio.Task[None]]()
        end = due + seconds
        while (due := due + self._mix.seconds(1 / per_second)) < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._call(self._mix.draw()))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def _call(self, ask: Ask) -> None:
        try:
            if ask.kind == "event":
                await self._send_until_stored(ask)
            elif self._mix.chance(self._disconnect_share):
                await self._hang_up(ask)
            else:
                await _ask(self._client, ask, self._tally)
        except httpx.HTTPError as error:
            self._tally.lost(ask, error)

    async def _hang_up(self, ask: Ask) -> None:
        self._tally.disconnects += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(self._mix.seconds(MEAN_STAY_SECONDS)):
                await self._client.post(ask.path, json=ask.body)

    async def _send_until_stored(self, ask: Ask) -> None:
        """As a client does: with the same event id, after as long as the service says, until it is stored."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            began = time.monotonic()
            response = await self._client.post(ask.path, json=ask.body)
            if self._tally.event_answered(ask, began, response):
                return
            await asyncio.sleep(float(response.headers.get("Retry-After", 1)))
        self._tally.lost(ask, TimeoutError(f"not stored within {PATIENCE_SECONDS} seconds"))
