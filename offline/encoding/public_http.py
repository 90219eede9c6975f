"""GET of a URL that strangers may have written: only public addresses, only so many bytes, only so long.

The address is checked on the very connection that is made: a name is resolved once, what it resolves to is checked, and
the socket is opened to that number. A name that answers otherwise the second time (DNS rebinding) gains nothing. Every
redirect is a new connection with the same check. Proxies of the environment are not used, for they would resolve names.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from offline.encoding.encoder import UnreadableContentError
from offline.errors import JobError

MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE_BYTES = 64 * 1024
_MOST_ADDRESSES = 4  # of one host that are tried
_HEADERS = {"User-Agent": "mmgrec-encode", "Accept-Encoding": "identity"}
_QUERY = "%/:=&?~+!$,;'@()*[]|"
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class DownloadLimits(NamedTuple):
    """What a download may cost."""

    max_bytes: int
    timeout_seconds: float
    """For one silence of the server, and six times as long for a download as a whole."""
    allow_private: bool = False


class UnavailableError(UnreadableContentError):
    """The server may answer another time."""


class RefusedUrlError(UnreadableContentError):
    """This URL will not do, however often it is asked for."""


def download(url: str, target: BinaryIO, limits: DownloadLimits, *, types: tuple[str, ...]) -> None:
    """Writes what a URL answers into an open file.

    Args:
        url: http or https.
        target: open for writing.
        limits: in bytes and seconds.
        types: beginnings of the content types that will do, such as "image/".

    Raises:
        UnavailableError: no answer, one that is cut off, or a status that says "later".
        RefusedUrlError: a private address, another content type, too many bytes, or any other status.
    """
    deadline = time.monotonic() + 6 * limits.timeout_seconds
    for _ in range(MOST_REDIRECTS + 1):
        with _answer(url, limits, deadline) as answer:
            if answer.status not in _REDIRECTS:
                return _save(answer, target, limits.max_bytes, types)
            where = answer.getheader("Location")
            if not where:
                raise RefusedUrlError(f"status {answer.status} without a Location")
            url = urljoin(url, where)
    raise RefusedUrlError(f"more than {MOST_REDIRECTS} redirects")


@contextmanager
def _answer(url: str, limits: DownloadLimits, deadline: float) -> Iterator[http.client.HTTPResponse]:
    """The answer to one request, with errors of the network as ours; it is cut off at the deadline."""
    parts = _split(url)
    connection = _connection(parts, limits)
    guard = threading.Timer(max(deadline - time.monotonic(), 0.001), connection.cut_off)
    guard.daemon = True
    guard.start()
    answer: http.client.HTTPResponse | None = None
    too_long = UnavailableError(f"took longer than {6 * limits.timeout_seconds:g} s")
    try:
        connection.request("GET", _request_target(parts), headers=_HEADERS)
        answer = connection.getresponse()
        yield answer
        if connection.was_cut_off:  # what has come may look whole
            raise too_long
    except (OSError, http.client.HTTPException, ValueError) as error:
        if connection.was_cut_off:
            raise too_long from error
        if isinstance(error, UnreadableContentError):
            raise
        raise UnavailableError(f"no whole answer ({type(error).__name__}: {error})") from error
    finally:
        guard.cancel()
        if answer is not None:
            answer.close()
        connection.close()


def _request_target(parts: SplitResult) -> str:
    """Path and query; what a URL may not hold, such as blanks and umlauts, is escaped."""
    path = quote(parts.path or "/", safe="%/:=&~+!$,;'@()*")
    return f"{path}?{quote(parts.query, safe=_QUERY)}" if parts.query else path


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise RefusedUrlError(f"no URL ({error})") from error
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise RefusedUrlError(f"scheme {parts.scheme!r}, host {host!r}: only http and https URLs are read")
    return parts


def _connection(parts: SplitResult, limits: DownloadLimits) -> "_CheckedConnection":
    assert parts.hostname is not None
    try:
        host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode()
    except UnicodeError as error:
        raise RefusedUrlError(f"host {parts.hostname!r} is no name ({error})") from error
    secure = parts.scheme == "https"
    return _CheckedConnection(host, parts.port or (443 if secure else 80), limits, secure=secure)


class _CheckedConnection(http.client.HTTPConnection):
    """A connection to a checked address, with TLS or without, that can be ended from another thread."""

    def __init__(self, host: str, port: int, limits: DownloadLimits, *, secure: bool) -> None:
        super().__init__(host, port)
        self.default_port = 443 if secure else 80  # it is left out of the header `Host`
        self._limits, self._secure = limits, secure
        self.was_cut_off = False
        self._opened: socket.socket | None = None  # `sock` is forgotten before the body is read

    def connect(self) -> None:
        limits = self._limits
        sock = connect_checked(self.host, self.port, limits.timeout_seconds, allow_private=limits.allow_private)
        if self._secure:
            context = ssl.create_default_context()
            sock = context.wrap_socket(sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = self._opened = sock
        if isinstance(sock, ssl.SSLSocket):
            sock.do_handshake()

    def cut_off(self) -> None:
        """End whatever is being read; to close the socket would not."""
        self.was_cut_off = True
        if self._opened is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._opened, socket.SHUT_RDWR)


def connect_checked(host: str, port: int, timeout_seconds: float, *, allow_private: bool) -> socket.socket:
    """A connection to a host all of whose addresses are public, opened to an address that was checked.

    Raises:
        RefusedUrlError: one of its addresses is not public.
        UnavailableError: it has none, or none takes the connection.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnavailableError(f"host {host} has no address ({error})") from error
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    for address in addresses:
        if not (allow_private or is_public(address)):
            raise RefusedUrlError(
                f"host {host} is at {address}, which is no public address; --allow-private-addresses if all URLs of "
                "the catalogue are your own"
            )
    problem: OSError | None = None
    for address in addresses[:_MOST_ADDRESSES]:
        try:
            return socket.create_connection((address, port), timeout_seconds)
        except OSError as error:
            problem = error
    raise UnavailableError(f"host {host} does not take connections ({problem})") from problem


def is_public(address: str) -> bool:
    """Whether anybody on the internet may have this address; IPv4 addresses inside of IPv6 ones count as themselves."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if inner is None and (ip in _NAT64 or int(ip) < 2**32):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        return ip in _GLOBAL_UNICAST and ip.is_global
    return ip.is_global and not ip.is_multicast


def _save(answer: http.client.HTTPResponse, target: BinaryIO, max_bytes: int, types: tuple[str, ...]) -> None:
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise UnavailableError(f"status {answer.status}")
    if answer.status != 200:
        raise RefusedUrlError(f"status {answer.status}")
    kind = (answer.getheader("Content-Type") or "").partition(";")[0].strip().lower()
    if kind and not kind.startswith(types):
        raise RefusedUrlError(f"content type {kind!r}, not {' or '.join(types)}")
    if (packed := answer.getheader("Content-Encoding", "identity").lower()) != "identity":
        raise RefusedUrlError(f"content encoding {packed!r} was not asked for")
    promised = answer.length  # None where the server does not say
    too_many = RefusedUrlError(f"more than {max_bytes} bytes; raise --max-megabytes if that is right")
    if promised is not None and promised > max_bytes:
        raise too_many
    count = 0
    while piece := answer.read1(_PIECE_BYTES):
        count += len(piece)
        if count > max_bytes:
            raise too_many
        try:
            target.write(piece)
        except OSError as error:  # of the disk, which is nothing that the server did
            raise JobError(
                f"a download cannot be kept ({error}); make room, or give another --downloads folder"
            ) from error
    if promised is not None and count != promised:
        raise UnavailableError(f"cut off after {count} of {promised} bytes")
    if not count:
        raise RefusedUrlError("an empty answer")
