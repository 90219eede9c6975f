"""Uvicorn's fast HTTP parser, with what only the parser can do at little cost.

- An end to the headers: by itself it collects them for as long as they come. A request whose headers come in a few
  pieces is refused by `service.edge.middleware`, with a proper error; here the connection of one that never ends them
  is closed, long before it costs memory worth mentioning.
- A word to whoever works for a caller who has left.
- Refusals before anything is made of a request (`service.serving.shedding`).
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.edge.gathering_transport import GatheringTransport
from service.serving.disconnect import DISCONNECT
from service.serving.shedding import ADMITTED, Shedding

TOO_LARGE = "The headers are too large."


class Http(HttpToolsProtocol):
    """One connection; `http_protocol` makes a class of it for one service."""

    max_header_bytes: int
    shedding: Shedding

    _in_head = True
    _began_in_this_read = False
    _head_bytes = 0
    _is_refused = False

    def connection_made(self, transport: Any) -> None:
        """A caller has come; several requests may be under way, for they can be sent ahead of the answers."""
        super().connection_made(cast(asyncio.Transport, GatheringTransport(transport)))
        self._told_when_gone: list[Callable[[], None]] = []

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._began_in_this_read, self._head_bytes, self._is_refused = True, True, 0, False
        super().on_message_begin()
        self.scope["extensions"] = {DISCONNECT: cast(Any, self._told_when_gone)}

    def on_headers_complete(self) -> None:
        """Its headers are complete; what follows is its body, and `max_body_bytes` bounds that."""
        self._in_head = False
        if not self._may_refuse() or not self.shedding.decides(self.url, self.headers):
            super().on_headers_complete()
            return
        refusal = self.shedding.refusal(self.url, self.headers)
        if refusal is None:
            self.scope["extensions"] = {ADMITTED: {}, **(self.scope["extensions"] or {})}
            super().on_headers_complete()
            return
        self._is_refused = True
        status_line, _, rest = refusal.partition(b"\r\n")
        defaults = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(b"%s\r\n%s" % (status_line, defaults))
        self.transport.write(rest)

    def _may_refuse(self) -> bool:
        """Whether nothing is unusual: no answer is under way on the connection, and it stays open afterwards."""
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self._is_answering()
            and not self.root_path
        )

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # none before the first request
        return cycle is not None and not cycle.response_complete

    def on_body(self, body: bytes) -> None:
        """A piece of the body; that of a refused request is not kept."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The body has ended."""
        if self._is_refused:
            self.on_response_complete()
        else:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Some bytes of it, or of what came before: only those count that began and ended within the same headers."""
        self._began_in_this_read = False
        super().data_received(data)
        if self._in_head and not self._began_in_this_read:
            self._head_bytes += len(data)
            if self._head_bytes > self.max_header_bytes and not self.transport.is_closing():
                self.send_400_response(TOO_LARGE)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has left."""
        super().connection_lost(exc)
        for tell in tuple(self._told_when_gone):
            tell()


def http_protocol(max_header_bytes: int, shedding: Shedding) -> type[HttpToolsProtocol]:
    """The protocol for `uvicorn.Config(http=...)`; the limit of the headers holds within one read of the socket."""
    return type("Http", (Http,), {"max_header_bytes": max_header_bytes, "shedding": shedding})
