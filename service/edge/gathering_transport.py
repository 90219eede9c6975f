"""Head and body of an answer leave together.

Uvicorn writes them one after the other, and uvloop hands each to the kernel at once: two packets, which wake the caller
twice.
"""

import asyncio
from typing import Any


class GatheringTransport:
    """A transport whose first write waits for a second one, at most until the event loop is through with what it does.

    Everything but writing and closing is that of the transport inside.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: bytes = b""
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes) -> None:
        """Send bytes: with those that wait, else soon."""
        if self._waiting:
            data, self._waiting = self._waiting + data, b""
            self._transport.write(data)
        elif data:
            self._waiting = bytes(data)
            self._loop.call_soon(self._flush)

    def write_at_once(self, data: bytes) -> None:
        """Send bytes, after those that wait."""
        self._flush()
        self._transport.write(data)

    def close(self) -> None:
        """Close after what was written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting:
            data, self._waiting = self._waiting, b""
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
