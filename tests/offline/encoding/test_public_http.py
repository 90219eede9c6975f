"""GET of a stranger's URL: public addresses only, and no more bytes and seconds than allowed."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any

import pytest

from offline.encoding.encoder import UnreadableContentError
from offline.encoding.public_http import (
    DownloadLimits,
    RefusedUrlError,
    UnavailableError,
    connect_checked,
    download,
    is_public,
)
from offline.errors import JobError
from tests.offline.encoding.web_site import WebSite

OPEN = DownloadLimits(1000, 5.0, allow_private=True)
IMAGE = {"Content_Type": "image/png"}


def got(url: str, limits: DownloadLimits = OPEN) -> bytes:
    target = BytesIO()
    download(url, target, limits, types=("image/",))
    return target.getvalue()


def refused(url: str, limits: DownloadLimits = OPEN, kind: type[Exception] = RefusedUrlError) -> str:
    with pytest.raises(UnreadableContentError) as caught:
        got(url, limits)
    assert caught.type is kind
    return str(caught.value)


def test_bytes_come_as_they_are(site: WebSite) -> None:
    assert got(site.give("/a.png", b"\x00\xff picture", **IMAGE)) == b"\x00\xff picture"
    assert got(site.give("/nameless", b"bytes")) == b"bytes"


def test_what_a_url_may_not_hold_is_escaped(site: WebSite) -> None:
    site.give("/gr%C3%BCn%20a.png?size=%C3%BC&b=1", b"x", **IMAGE)
    assert got(f"{site.url}/grün a.png?size=ü&b=1#part") == b"x"


def test_redirects_are_followed(site: WebSite) -> None:
    site.give("/end.png", b"x", **IMAGE)
    site.give("/middle", b"", status=308, Location="end.png")
    assert got(site.give("/start", b"", status=302, Location=site.url + "/middle")) == b"x"


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),  # the same as one number
        ("0x7f000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("169.254.169.254", "169.254.169.254"),  # where clouds keep credentials
        ("[fe80::1]", "fe80::1"),
        ("[fd00::1]", "fd00::1"),
    ],
)
def test_no_private_address_is_asked(site: WebSite, host: str, shown: str) -> None:
    port = site.url.rpartition(":")[2]
    message = refused(f"http://{host}:{port}/a.png", DownloadLimits(1000, 2.0))
    assert shown in message or "::1" in message
    assert "which is no public address; --allow-private-addresses" in message
    assert site.asked == []


def test_no_private_address_is_asked_by_a_redirect(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site counts as public here, for one of the two addresses must."""
    monkeypatch.setattr("offline.encoding.public_http.is_public", lambda address: address == "127.0.0.1")
    url = site.give("/start", b"", status=302, Location="http://127.0.0.2/secret.png")
    assert "host 127.0.0.2 is at 127.0.0.2, which is no public address" in refused(url, DownloadLimits(1000, 2.0))
    assert site.asked == ["/start"]


def test_a_name_is_resolved_once_and_connected_to_what_was_checked(
    site: WebSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the name is public when it is checked, and private a moment later."""
    port = int(site.url.rpartition(":")[2])
    asked, connected = [], []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        address = "93.184.215.14" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(address: tuple[str, int], _: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    refused(f"http://rebound.example:{port}/a.png", DownloadLimits(1000, 2.0), UnavailableError)
    assert (asked, connected) == (["rebound.example"], [("93.184.215.14", port)])
    message = refused(f"http://rebound.example:{port}/a.png", DownloadLimits(1000, 2.0))
    assert "rebound.example is at 127.0.0.1, which is no public address" in message
    assert len(connected) == 1


def test_one_private_address_of_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("93.184.215.14", "10.0.0.8")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(RefusedUrlError, match=r"is at 10\.0\.0\.8"):
        connect_checked("both.example", 80, 1.0, allow_private=False)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *[(ip, True) for ip in ("8.8.8.8", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1")],
        *[(ip, False) for ip in ("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.9.9.9", "169.254.1.1", "172.16.0.1")],
        *[(ip, False) for ip in ("192.168.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255")],
        *[(ip, False) for ip in ("::", "::1", "::7f00:1", "::ffff:10.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1")],
        *[(ip, False) for ip in ("fec0::1", "ff02::1", "64:ff9b::7f00:1", "2002:7f00:1::1", "2001:db8::1", "100::1")],
        ("2001:0:5ef5:79fd:0:59d:80ff:fffe", False),  # Teredo of 127.0.0.1
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "http://",
        "http:///a.png",
        "http://[::1/a.png",
        "http://host:99999/a.png",
        "http://host:0/a.png",
        "http://a..b/a.png",
        f"http://{'a' * 70}.example/a.png",
    ],
)
def test_what_is_no_url_of_a_web_server(url: str) -> None:
    refused(url)


def test_a_line_end_in_a_url_becomes_no_header(site: WebSite) -> None:
    """`urlsplit` takes line ends out; the blank is escaped."""
    refused(f"{site.url}/a.png HTTP/1.1\r\nX-Evil: 1\r\n\r\n")
    assert site.asked == ["/a.png%20HTTP/1.1X-Evil:%201"]


def test_too_many_bytes_that_are_said_before(site: WebSite) -> None:
    assert "more than 1000 bytes; raise --max-megabytes" in refused(site.give("/big", bytes(1001), **IMAGE))
    assert got(site.give("/just", bytes(1000), **IMAGE)) == bytes(1000)


def test_too_many_bytes_that_nobody_said(site: WebSite) -> None:
    """They are counted while they come: the server would never end."""
    sent = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "image/png")
        handler.end_headers()
        try:
            while True:
                sent.append(handler.wfile.write(bytes(500)))
        except OSError:
            pass

    site.answers["/endless"] = endless
    assert "more than 1000 bytes" in refused(f"{site.url}/endless")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(status, RefusedUrlError) for status in (204, 403, 404)],
        *[(status, UnavailableError) for status in (429, 500, 503)],
    ],
)
def test_other_answers(site: WebSite, status: int, kind: type[Exception]) -> None:
    assert refused(site.give("/a.png", b"", status=status, **IMAGE), kind=kind) == f"status {status}"


def test_answers_that_are_no_picture(site: WebSite) -> None:
    page = site.give("/page", b"<html>", Content_Type="text/html; charset=utf-8")
    assert refused(page) == "content type 'text/html', not image/"
    packed = site.give("/packed", b"x", Content_Encoding="gzip", **IMAGE)
    assert "content encoding 'gzip' was not asked for" in refused(packed)
    assert refused(site.give("/empty", b"", **IMAGE)) == "an empty answer"
    assert refused(site.give("/nowhere", b"", status=302)) == "status 302 without a Location"
    elsewhere = site.give("/elsewhere", b"", status=302, Location="file:///etc/passwd")
    assert "only http and https URLs are read" in refused(elsewhere)
    assert refused(site.give("/round", b"", status=302, Location="/round")) == "more than 5 redirects"


def test_an_answer_that_is_cut_off(site: WebSite) -> None:
    url = site.give("/short", b"half", Content_Length="8", **IMAGE)
    site_answer = site.answers["/short"]

    def closing(handler: BaseHTTPRequestHandler) -> None:
        site_answer(handler)
        handler.close_connection = True

    site.answers["/short"] = closing
    assert "cut off after 4 of 8 bytes" in refused(url, kind=UnavailableError)


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.png"
        assert "does not take connections" in refused(url, kind=UnavailableError)
    assert "has no address" in refused("http://no-such-host.invalid/a.png", kind=UnavailableError)


def test_a_silent_server_costs_the_timeout(site: WebSite) -> None:
    told = threading.Event()
    site.answers["/silent"] = lambda handler: told.wait(20)
    started = time.monotonic()
    assert "no whole answer" in refused(f"{site.url}/silent", OPEN._replace(timeout_seconds=0.1), UnavailableError)
    told.set()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["head", "body"])
def test_a_server_that_drips_is_cut_off(site: WebSite, start: bytes) -> None:
    """Every byte comes in time, so only the limit of the whole download ends it; what has come looks whole."""

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        try:
            for _ in range(1000):
                handler.wfile.write(b"a")
                time.sleep(0.02)
        except OSError:
            pass

    site.answers["/drip"] = dripping
    started = time.monotonic()
    message = refused(f"{site.url}/drip", OPEN._replace(timeout_seconds=0.1), UnavailableError)
    assert message == "took longer than 0.6 s"
    assert time.monotonic() - started < 10


def test_a_full_disk_is_no_fault_of_the_server(site: WebSite) -> None:
    class Full(BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    url = site.give("/a.png", b"x", **IMAGE)
    with pytest.raises(JobError, match="make room, or give another --downloads folder"):
        download(url, Full(), OPEN, types=("image/",))
