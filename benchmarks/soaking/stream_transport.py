"""HTTP/1.1 for httpx by nothing but asyncio's streams: a sixth of the CPU of its own transport.

The callers of the soak share the machine with the service, and what they cost makes the load heavier than it is named.
"""

import asyncio

import httpx

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class StreamTransport(httpx.AsyncBaseTransport):
    """Kept connections to one server, which tells the length of every answer.

    Args:
        host: of the server.
        port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._idle: list[_Connection] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One call; whoever gives it up hangs up.

        Raises:
            httpx.ConnectError: the server takes no connection.
            httpx.ReadError: the connection ended before the answer did.
            httpx.ReadTimeout: the answer took longer than the client's limit.
        """
        connection = await self._connection()
        try:
            async with asyncio.timeout(request.extensions["timeout"]["read"]):
                response = await _exchange(connection, request, await request.aread())
        except BaseException as error:
            connection[1].close()
            if isinstance(error, TimeoutError):
                raise httpx.ReadTimeout("no answer in time", request=request) from error
            if isinstance(error, OSError | asyncio.IncompleteReadError):
                raise httpx.ReadError(repr(error), request=request) from error
            raise
        self._idle.append(connection)
        return response

    async def aclose(self) -> None:
        """Close the connections that nobody uses."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _connection(self) -> _Connection:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        try:
            return await asyncio.open_connection(*self._address)
        except OSError as error:
            raise httpx.ConnectError(repr(error)) from error


async def _exchange(connection: _Connection, request: httpx.Request, body: bytes) -> httpx.Response:
    reader, writer = connection
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    headers = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in head[1:])]
    length = next(int(value) for name, value in headers if name == b"content-length")
    content = await reader.readexactly(length)
    return httpx.Response(int(head[0].split(b" ", 2)[1]), headers=headers, content=content, request=request)
