"""The head of an answer as HTTP/1.1 sends it, for what is answered before there is a request."""

from collections.abc import Iterable
from http import HTTPStatus


def status_line(status: int) -> bytes:
    """The first line, with its end."""
    return b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A line for each, with its end; the empty line behind the last one is not among them."""
    return b"".join(b"%s: %s\r\n" % header for header in headers)
