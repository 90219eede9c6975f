"""Uvicorn's fast HTTP parser with an end to the headers: by itself it collects them for as long as they come.

A request whose headers come in a few pieces is refused by `service.edge.middleware`, with a proper error; here the
connection of one that never ends them is closed, long before it costs memory worth mentioning.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TOO_LARGE = "The headers are too large."


def bounded_http(max_header_bytes: int) -> type[HttpToolsProtocol]:
    """The protocol for `uvicorn.Config(http=...)`; the limit holds within one read of the socket."""

    class BoundedHttp(HttpToolsProtocol):
        """One connection."""

        _in_head = True
        _head_bytes = 0

        def on_message_begin(self) -> None:
            """A request begins."""
            self._in_head, self._head_bytes = True, 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            """Its headers are complete; what follows is its body, and `max_body_bytes` bounds that."""
            self._in_head = False
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            """Some bytes of it, or of what came before: only those count that began and ended within the headers."""
            in_head = self._in_head
            super().data_received(data)
            if in_head and self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > max_header_bytes and not self.transport.is_closing():
                    self.send_400_response(TOO_LARGE)

    return BoundedHttp
