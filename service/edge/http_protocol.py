"""Uvicorn's fast HTTP parser, with what only the parser can do at little cost.

- Ends to what a caller may send: by itself it collects headers for as long as they come, queues requests that are sent
  ahead of their answers, and waits for a request to be complete, all without a bound. A request whose headers come in a
  few pieces is refused by `service.edge.middleware`; here the connection of one that never ends them is closed, long
  before it costs memory worth mentioning.
- A word to whoever works for a caller who has left.
- Refusals before anything is made of a request (`service.serving.shedding`).
- Requests that are let in and would only wait are begun together (`service.serving.late_start`).

A connection is closed only after the answers that it is owed: one that overtook them would pass for one of them.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.edge.gathering_transport import GatheringTransport
from service.edge.last_words import HEADERS_TOO_LARGE, MALFORMED_REQUEST, TOO_MANY_AHEAD, TOO_SLOW, last_words
from service.edge.request_head import read_usual_head
from service.errors import OVERLOADED, Kind
from service.http_head import header_lines, status_line
from service.serving.admission import ADMITTED
from service.serving.disconnect import DISCONNECT
from service.serving.shedding import Shedding

TOO_MANY_REQUESTS = status_line(OVERLOADED.status)
MOST_AHEAD = 16
"""Requests waiting for an earlier one of their connection, above which nothing more is read from it."""
MOST_AHEAD_AT_ONCE = 1000
"""So many end the connection: a single read of the socket can bring thousands."""

logger = logging.getLogger(__name__)


class TooManyAheadError(Exception):
    """A single read brought too many requests."""


class Http(HttpToolsProtocol):
    """One connection; `http_protocol` makes a class of it for one service."""

    max_header_bytes: int
    shedding: Shedding
    seconds_to_complete = 30.0
    """For a first byte, from the first byte of a request to its last, and for reading something of a long answer."""

    _in_message = False
    _in_head = False
    _has_moved_on = False  # within one read
    _head_bytes = 0
    _admitted_at: float | None = None  # the request that begins now was let in
    _refused_at = -math.inf
    _unread_since: float | None = None  # the caller does not read what is written
    _to_leave_out = 0  # bytes of a refused request's body, which are still to come
    _is_over = False  # what comes is no longer read
    _last_words: bytes | None = None  # to be sent after the answers that are still owed
    _under_way: Any = None  # the cycle whose turn it is; uvicorn's own `cycle` is the one that came last
    _due: float | None = None  # when what is being sent must be complete

    def connection_made(self, transport: Any) -> None:
        """A caller has come; several requests may be under way, for they can be sent ahead of the answers."""
        self._out = GatheringTransport(transport)
        super().connection_made(cast(asyncio.Transport, self._out))
        self.flow = BoundedFlow(self.transport, self._has_room)
        self._told_when_gone: list[Callable[[], None]] = []
        self._due = self.loop.time() + self.seconds_to_complete
        self._watch = self.loop.call_at(self._due, self._look_at_the_clock)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_message, self._in_head, self._has_moved_on = True, True, True
        self._head_bytes = 0
        self._due = self.loop.time() + self.seconds_to_complete
        super().on_message_begin()
        extensions: dict[str, Any] = {DISCONNECT: self._told_when_gone}
        if self._admitted_at is not None:
            extensions[ADMITTED] = {"since": self._admitted_at}
            self._admitted_at = None
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        """Its headers are complete; what follows is its body, and `max_body_bytes` bounds that."""
        if len(self.pipeline) >= MOST_AHEAD_AT_ONCE:
            raise TooManyAheadError
        super().on_headers_complete()
        self._in_head = False

    def _is_answering(self) -> bool:
        """Whether answers are owed."""
        return bool(self.pipeline) or (self._under_way is not None and not self._under_way.response_complete)

    def _has_room(self) -> bool:
        """Whether more may be read: not while requests wait, if they are many or the last one's body is large."""
        return not self.pipeline or (len(self.pipeline) <= MOST_AHEAD and len(self.cycle.body) <= HIGH_WATER_LIMIT)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._under_way = cycle
        start = super()._start_asgi_task

        def begin() -> None:
            if not cycle.disconnected:
                start(cycle, app)

        if ADMITTED in cycle.scope["extensions"]:
            self.shedding.begin(begin, cycle.scope["path"], cycle.scope["headers"])
        else:
            begin()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._has_moved_on, self._head_bytes = True, 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body has ended."""
        self._in_message, self._due = False, None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer has been written; after the last one, what is left to say."""
        super().on_response_complete()
        if self._last_words is not None and not self._is_answering() and not self.transport.is_closing():
            self._say_and_close(self._last_words)

    def data_received(self, data: bytes) -> None:
        """Some bytes of it, or of what came before.

        Those count for the size of the headers that began and ended within the same ones, or within what trails a body.
        """
        if self._to_leave_out:
            data = self._leave_out(data)
        if self._is_over or not data or (data.startswith(b"POST /recommend") and self._refuses(data)):
            return
        self._unset_keepalive_if_required()
        self._has_moved_on = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, TooManyAheadError):
                self.pipeline.clear()
                self._end(TOO_MANY_AHEAD, f"more than {MOST_AHEAD_AT_ONCE} requests were sent ahead of their answers")
            else:
                self._end(MALFORMED_REQUEST, f"this is no HTTP/1.1 request: {error}")
            return
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self._watch.cancel()
                self.handle_websocket_upgrade()
                return
            self._unsupported_upgrade_warning()
        if self._in_message and not self._has_moved_on:
            self._head_bytes += len(data)
            if self._head_bytes > self.max_header_bytes:
                limit = f"the headers have more than the {self.max_header_bytes} bytes that are accepted"
                self._end(HEADERS_TOO_LARGE, f"{limit}; send less, or raise MMGREC_MAX_HEADER_BYTES")
        elif self._due is None and self.timeout_keep_alive_task is None and not self._is_answering():
            self._due = self.loop.time() + self.seconds_to_complete  # empty lines: no request, but no silence either

    def _refuses(self, data: bytes) -> bool:
        """Whether the request that begins here, its head complete, has been refused; else the parser is to have it.

        A caller who does not read goes the usual way as well, which waits for them: refusals would pile up.
        """
        unusual = self._in_message or self._is_answering() or self.flow.write_paused or self.root_path
        if unusual or not self.shedding.decides:
            return False
        seconds = self.shedding.seconds()
        if seconds is None:
            self._admitted_at = time.monotonic()
            return False
        head = read_usual_head(data)
        if head is None or head.num_bytes > self.max_header_bytes or len(data) > head.num_bytes + head.body_bytes:
            return False
        answer = self.shedding.refusal(head.target, head.body_bytes, head.request_id, seconds)
        if answer is None:
            return False
        defaults = header_lines(self.server_state.default_headers)
        self._out.write_at_once(b"%s%s%s" % (TOO_MANY_REQUESTS, defaults, answer))
        self._refused_at = self.loop.time()
        self._to_leave_out = head.num_bytes + head.body_bytes - len(data)
        self._due = self._refused_at + self.seconds_to_complete if self._to_leave_out else None
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_handler()
        return True

    def _leave_out(self, data: bytes) -> bytes:
        """What comes after the body of the request that was refused."""
        rest = data[self._to_leave_out :]
        self._to_leave_out -= len(data) - len(rest)
        if not self._to_leave_out:
            self._due = None
        return rest

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nothing happens; to set this timer at every refusal would cost more than that."""
        since = self.loop.time() - self._refused_at
        if self.transport.is_closing():
            return
        if since < self.timeout_keep_alive:
            again = self.timeout_keep_alive - since
            self.timeout_keep_alive_task = self.loop.call_later(again, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _look_at_the_clock(self) -> None:
        """One timer a connection, set again when it has run: one for each request would cost more."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self._unread_since is not None and now - self._unread_since >= self.seconds_to_complete:
            logger.info("a connection is closed: its caller reads nothing")
            self.transport.abort()
            return
        if self._is_over:
            self._watch = self.loop.call_at(now + self.seconds_to_complete, self._look_at_the_clock)
            return
        if self._due is not None and self.flow.read_paused:
            self._due = now + self.seconds_to_complete  # it is we who do not read
        if self._due is None or self._due > now:
            self._watch = self.loop.call_at(self._due or now + self.seconds_to_complete, self._look_at_the_clock)
        elif self._in_message:
            self._end(TOO_SLOW, f"the request was not complete within {self.seconds_to_complete:g} s")
        else:
            self.transport.close()

    def _end(self, kind: Kind, message: str) -> None:
        """Read no more, and close: after the answers that are under way, and with a word about the last request."""
        if self._is_over or self.transport.is_closing():
            return
        self._is_over = True
        logger.info("a connection is closed: %s (%s)", message, kind.code)
        words = last_words(kind, message, self.server_state.default_headers)
        if self._in_message and not self._in_head:  # its body is not complete, and never will be
            if self.cycle.response_complete:
                words = b""
            elif self.cycle is self._under_way:
                self._say_and_close(b"" if self.cycle.response_started else words)
                return
            elif self.pipeline:
                self.pipeline.popleft()
        if self._is_answering():
            self._last_words = words
        else:
            self._say_and_close(words)

    def _say_and_close(self, words: bytes) -> None:
        self.transport.write(words)
        self.transport.close()

    def pause_writing(self) -> None:
        """More is to be read by the caller than the system and the transport hold."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The caller has read some of it."""
        self._unread_since = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has left."""
        self._watch.cancel()
        self._unset_keepalive_if_required()  # uvicorn does so for those who say goodbye
        if self._under_way is not None:  # uvicorn tells the one that came last
            self._under_way.disconnected = True
            self._under_way.message_event.set()
        super().connection_lost(exc)
        for tell in tuple(self._told_when_gone):
            tell()


class BoundedFlow(FlowControl):
    """Uvicorn's, which would read on after every answer, whatever is waiting."""

    def __init__(self, transport: asyncio.Transport, has_room: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_room = has_room

    def resume_reading(self) -> None:
        """Read on, if there is room for what comes."""
        if self._has_room():
            super().resume_reading()


def http_protocol(max_header_bytes: int, shedding: Shedding) -> type[HttpToolsProtocol]:
    """The protocol for `uvicorn.Config(http=...)`; the limit of the headers holds within one read of the socket."""
    return type("Http", (Http,), {"max_header_bytes": max_header_bytes, "shedding": shedding})
