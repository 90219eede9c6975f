"""The head read in one piece beside uvicorn's parser: whatever is understood is understood alike."""

from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.edge.request_head import RequestHead, read_usual_head

USUAL = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"


class Parsed:
    """What the parser makes of it."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.is_complete = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.is_complete = True

    def all(self, name: bytes) -> list[bytes]:
        return [value for header, value in self.headers if header == name]


def test_a_usual_head() -> None:
    assert read_usual_head(USUAL + b"{}") == RequestHead(b"/recommend", None, len(USUAL), 2)
    named = USUAL[:-2] + b"x-request-ID:  a \r\nX-Request-Id: b\t\r\nConnection: Keep-Alive\r\n\r\n"
    assert read_usual_head(named) == RequestHead(b"/recommend", b"b", len(named), 2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        USUAL[:-1],
        USUAL.replace(b"POST", b"GET"),
        USUAL.replace(b"1.1", b"1.0"),
        USUAL.replace(b"Content-Length: 2\r\n", b""),
        USUAL.replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 2"),
        USUAL.replace(b": 2", b": 2, 2"),
        USUAL.replace(b": 2", b": -2"),
        USUAL.replace(b": 2", b": 0x2"),
        USUAL.replace(b": 2", b": " + b"2" * 30),
        USUAL.replace(b"Content-Length", b"Content-Length "),
        USUAL.replace(b"Host", b"Transfer-Encoding"),
        USUAL.replace(b"Host: x", b"eXpect: 100-continue"),
        USUAL.replace(b"Host: x", b"Upgrade: websocket"),
        USUAL.replace(b"Host: x", b"Connection: close"),
        USUAL.replace(b"Host: x", b"Connection: keep-alive, upgrade"),
        USUAL.replace(b"Host: x", b"Host: x\r\n folded"),
        USUAL.replace(b"Host: x", b"Host: x\ry"),
        USUAL.replace(b"Host: x", b"Host: x\ny"),
        USUAL.replace(b"Host: x", b"Host: \x00"),
        USUAL.replace(b"\r\n", b"\n"),
        b"\r\n" + USUAL,
    ],
)
def test_the_unusual_is_left_to_the_parser(data: bytes) -> None:
    assert read_usual_head(data) is None


HEADERS = st.tuples(
    st.sampled_from(
        [b"Host", b"content-length", b"Content-Length", b"X-Request-ID", b"connection", b"Expect", b"X-A", b"x b", b""]
    ),
    st.sampled_from([b":", b": ", b":\t ", b" :", b""]),
    st.sampled_from(
        [
            b"",
            b"2",
            b"02",
            b"17",
            b"2 ",
            b"+2",
            b"keep-alive",
            b"Keep-Alive ",
            b"close",
            b"a:b",
            b"\xff",
            b"\x7f",
            b"\r",
            b"a\x00",
        ]
    ),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\n\r\n"]),
).map(b"".join)
REQUESTS = st.builds(
    lambda line, headers, end: b"".join([line, *headers, end]),
    st.sampled_from([b"POST /recommend HTTP/1.1\r\n", b"POST /recommend?n=1 HTTP/1.1\r\n", b"POST  /a HTTP/1.1\r\n"]),
    st.lists(HEADERS, max_size=5),
    st.sampled_from([b"\r\n", b"\r\n{}", b"\n", b""]),
)


@given(data=REQUESTS)
@example(data=USUAL)
@example(data=USUAL[:-2] + b"X-Request-ID: a\r\nX-Request-ID:\r\n\r\n")
def test_what_is_understood_is_what_the_parser_understands(data: bytes) -> None:
    head = read_usual_head(data)
    if head is None:
        return
    parsed: Any = Parsed(data[: head.num_bytes])
    assert parsed.is_complete
    assert parsed.parser.get_method() == b"POST"
    assert parsed.parser.should_keep_alive()
    assert not parsed.parser.should_upgrade()
    assert parsed.target == head.target
    assert [int(value) for value in parsed.all(b"content-length")] == [head.body_bytes]
    assert (parsed.all(b"x-request-id") or [None])[-1] == head.request_id
    assert not parsed.all(b"expect")
    assert not Parsed(data[: head.num_bytes - 1]).is_complete
