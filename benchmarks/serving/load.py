"""The load, in a process of its own: callers who wait for their answer, or who come whatever has become of the others.

    python -m benchmarks.serving.load PORT closed CALLERS SECONDS
    python -m benchmarks.serving.load PORT open REQUESTS_PER_SECOND SECONDS

Prints one JSON object: for every status, of each request, when it ended in seconds after the start of the load, and how
many seconds it took. In the open loop a request's time counts from when it was to be sent, so a service that stalls
does not hide it by making its callers wait.
"""

import asyncio
import json
import os
import sys
import time
from collections import defaultdict

import numpy as np
import uvloop

from benchmarks.serving.agreed import API_KEY, OTHER_CORES, USERS, on_core, user_id

Requests = dict[str, list[tuple[float, float]]]


class Callers:
    """Kept connections to the service, and what came of the requests on them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._requests = [_request(user) for user in range(USERS)]
        self._sent = 0
        self._started = time.monotonic()
        self.requests: Requests = defaultdict(list)

    async def ask(self, since: float) -> None:
        """One request, timed from `since`."""
        self._sent += 1
        try:
            status = await self._exchange(self._requests[self._sent % USERS])
        except (OSError, asyncio.IncompleteReadError) as error:
            status = type(error).__name__
        ended = time.monotonic()
        self.requests[status].append((ended - self._started, ended - since))

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()

    async def _exchange(self, request: bytes) -> str:
        connection = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = connection
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            raise
        self._idle.append(connection)
        return head.split(b" ", 2)[1].decode()


def _request(user: int) -> bytes:
    body = json.dumps({"user_id": user_id(user), "n": 10}).encode()
    head = f"POST /recommend HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def closed_loop(callers: Callers, count: int, seconds: float) -> None:
    """`count` callers, each of whom asks again as soon as there is an answer."""
    end = time.monotonic() + seconds

    async def caller() -> None:
        while (now := time.monotonic()) < end:
            await callers.ask(now)

    await asyncio.gather(*(caller() for _ in range(count)))


async def open_loop(callers: Callers, per_second: float, seconds: float) -> None:
    """Requests at random times (Poisson), whatever has become of those before."""
    gaps = np.random.default_rng(2).exponential(1 / per_second, int(per_second * seconds))
    due, asked = time.monotonic(), []
    for gap in gaps.tolist():
        due += gap
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        asked.append(asyncio.create_task(callers.ask(due)))
    await asyncio.gather(*asked)


def main() -> None:
    """See above."""
    port, kind, amount, seconds = sys.argv[1:]
    on_core(OTHER_CORES)
    callers = Callers(int(port))
    if kind == "closed":
        uvloop.run(closed_loop(callers, int(amount), float(seconds)))
    else:
        uvloop.run(open_loop(callers, float(amount), float(seconds)))
    with os.fdopen(sys.stdout.fileno(), "w", closefd=False) as buffered:
        # With PYTHONUNBUFFERED print hands the list to the pipe as it is, and drops what that does not take at once.
        json.dump(callers.requests, buffered)


if __name__ == "__main__":
    main()
