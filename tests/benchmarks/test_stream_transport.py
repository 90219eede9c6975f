"""The callers' transport against a server that does as it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from benchmarks.soaking.stream_transport import StreamTransport

Answer = Callable[[bytes, bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers every request by a function of head, body and writer; counts connections, and those that have ended."""

    def __init__(self, answer: Answer) -> None:
        self.connections = self.ended = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, _, rest = head.lower().partition(b"content-length: ")
                body = await reader.readexactly(int(rest.partition(b"\r\n")[0] or 0))
                await self._answer(head, body, writer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()
            await writer.wait_closed()
            self.ended += 1

    @asynccontextmanager
    async def called(self, timeout: float = 5.0) -> AsyncIterator[httpx.AsyncClient]:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            transport = StreamTransport("127.0.0.1", port)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=timeout, headers={"X-Who": "me"}
            ) as client:
                yield client
            await until(lambda: self.ended == self.connections)


async def echo(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 418 Odd\r\nRetry-After: 7\r\ncontent-length: %d\r\n\r\n" % len(head + body) + head + body)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


def test_calls_one_after_the_other_share_a_connection() -> None:
    async def run() -> None:
        server = Server(echo)
        async with server.called() as client:
            first = await client.post("/a?b=c", json={"x": 1})
            second = await client.get("/d")
        assert (first.status_code, first.headers["retry-after"]) == (418, "7")
        assert first.content.startswith(b"POST /a?b=c HTTP/1.1\r\n")
        assert b"X-Who: me\r\n" in first.content
        assert first.content.endswith(b'\r\n\r\n{"x":1}')
        assert second.content.startswith(b"GET /d HTTP/1.1\r\n")
        assert server.connections == 1

    asyncio.run(run())


def test_calls_at_once_have_connections_of_their_own() -> None:
    async def run() -> None:
        server = Server(echo)
        async with server.called() as client:
            answers = await asyncio.gather(*(client.post("/", json=number) for number in range(5)))
        assert [each.content[-1:] for each in answers] == [b"0", b"1", b"2", b"3", b"4"]
        assert server.connections == 5

    asyncio.run(run())


def test_who_gives_up_hangs_up_and_who_waits_too_long_is_told() -> None:
    async def never(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        """Nothing is answered."""

    async def run() -> None:
        server = Server(never)
        async with server.called(timeout=0.05) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await client.post("/", json=1)
            await until(lambda: server.ended == 1)
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/", json=1)
            await until(lambda: server.ended == 2)

    asyncio.run(run())


def test_a_connection_that_ends_is_an_error_of_that_call_alone() -> None:
    answered = 0

    async def once(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        answered += 1
        if answered == 2:
            writer.close()
        else:
            await echo(head, body, writer)

    async def run() -> None:
        server = Server(once)
        async with server.called() as client:
            await client.get("/")
            with pytest.raises(httpx.ReadError):
                await client.get("/")
            assert (await client.get("/")).status_code == 418
        assert server.connections == 2

    asyncio.run(run())


def test_no_server_is_an_error() -> None:
    async def run() -> None:
        async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(transport=StreamTransport("127.0.0.1", port)) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://127.0.0.1:{port}/")

    asyncio.run(run())
