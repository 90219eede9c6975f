"""A uvicorn server on a thread of its own, and its bare connections."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from service.__main__ import listen


@contextmanager
def serving(server: uvicorn.Server) -> Iterator[tuple[str, int]]:
    """Serve on a free port of this machine for the length of a `with` block; gives the address."""
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[:2]
        finally:
            server.should_exit = True
            thread.join()


def read_all(connection: socket.socket) -> bytes:
    """Everything that comes until the server closes the connection."""
    read = b""
    try:
        while piece := connection.recv(65_536):
            read += piece
    except ConnectionResetError:  # it was closed while there was more for it to read
        pass
    return read
