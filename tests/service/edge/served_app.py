"""An app behind our protocol that answers when it may, and counts."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn

from service.edge.http_protocol import Http, http_protocol
from service.serving.shedding import Shedding
from tests.service.over_sockets import serving

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
POST = b"POST /recommend HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
REFUSAL = b"content-length: 50000\r\n\r\n" + b"x" * 50_000
WaitFor = Callable[[Callable[[], Any]], Any]


class Refusing:
    """Refuses every POST, for as long as it is told to."""

    def __init__(self, *, refuses: bool) -> None:
        self.decides = refuses
        self.refused = 0

    def seconds(self) -> float:
        return 1.0

    def begin(self, request: Callable[[], None], path: str, headers: Any) -> None:
        request()

    def refusal(self, target: bytes, body_bytes: int, request_id: bytes | None, seconds: float) -> bytes:
        self.refused += 1
        return REFUSAL


class Served:
    """An app that answers when it may, and what its connections come to."""

    def __init__(self, *, seconds_to_complete: float, refuses: bool) -> None:
        self.may_answer = threading.Event()
        self.answered = 0
        self.connections: list[Http] = []
        self.shedding = Refusing(refuses=refuses)
        served = self

        class Watched(http_protocol(100_000, cast(Shedding, self.shedding))):  # type: ignore[misc]
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                served.connections.append(self)

        Watched.seconds_to_complete = seconds_to_complete
        self.protocol = Watched
        self.address: tuple[str, int]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        while not self.may_answer.is_set() and message["type"] != "http.disconnect":
            await asyncio.sleep(0.005)
        self.answered += 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=10)


@contextmanager
def served_app(*, seconds_to_complete: float = 30.0, refuses: bool = False) -> Iterator[Served]:
    served = Served(seconds_to_complete=seconds_to_complete, refuses=refuses)
    config = uvicorn.Config(
        served, log_config=None, lifespan="off", http=served.protocol, timeout_graceful_shutdown=5, timeout_keep_alive=1
    )
    with serving(uvicorn.Server(config)) as served.address:
        try:
            yield served
        finally:
            served.may_answer.set()
