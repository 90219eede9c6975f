"""`python -m service`: one process, one event loop, one inference thread."""

import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.edge.exposure import has_keys, is_this_machine_alone, refuse_open_doors
from service.edge.http_protocol import http_protocol
from service.flags import read_flags
from service.serving.drain import Drain
from service.serving.shedding import Shedding
from service.settings import Settings, SettingsError, load_settings
from service.telemetry.logs import flush_logs, leave_out_what_no_line_tells, log_config

logger = logging.getLogger("service")

EXIT_BAD_INPUT = 2
KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers keep an idle connection (60 s is usual): they must be the first to close it, or they
send a request into a closed one."""

SWITCH_SECONDS = 0.001
"""That a thread may keep the interpreter while another one asks for it; by itself it is 5 ms, half of the time that a
refusal may take."""


class ListenError(OSError):
    """The address cannot be listened on; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service until it is told to stop.

    Returns:
        0 after SIGTERM or Ctrl-C, once accepted requests are answered; 2 for settings or an address that cannot be
        used.
    """
    flags = read_flags(arguments)
    try:
        settings = load_settings(**flags)
        refuse_open_doors(settings)
        app = create_app(settings)
        listener = listen(settings.host, settings.port)
    except (SettingsError, ListenError) as error:
        sys.stderr.write(f"python -m service: {error}\n")
        return EXIT_BAD_INPUT
    with listener:
        _serve(app, settings, listener)
    return 0


def _serve(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    leave_out_what_no_line_tells()
    sys.setswitchinterval(SWITCH_SECONDS)
    config = uvicorn.Config(
        app,
        log_config=log_config(settings),
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody here asks where a caller is
        http=http_protocol(settings.max_header_bytes, app.state.shedding),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = DrainingServer(config, app.state.drain, app.state.shedding)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"MMGRec listens on http://{shown}:{port} (routes: /docs)\n")
    sys.stdout.flush()
    if not is_this_machine_alone(host) and not has_keys(settings):
        logger.warning("%s is reachable from other machines, and this service asks nobody who they are", shown)
    with suppress(KeyboardInterrupt):  # uvicorn stops cleanly and then raises the signal again
        server.run(sockets=[listener])


class DrainingServer(uvicorn.Server):
    """Ends as `service.serving.drain` says when SIGTERM comes; by itself, uvicorn would close the port at once.

    Ctrl-C, or a second SIGTERM, skips the grace; accepted requests are still answered.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain, shedding: Shedding) -> None:
        super().__init__(config)
        self._drain = drain
        self._shedding = shedding

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came. It is not raised again once all is done, so the process ends with 0."""
        if sig == signal.SIGTERM and not self._drain.draining:
            self._drain.begin()
        elif sig == signal.SIGTERM:
            self.should_exit = True
        else:
            self._drain.begin()
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        self._shedding.say()
        flush_logs()
        self.should_exit = self.should_exit or self._drain.over
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The last requests are answered, in the time that is left; the last refusals are told."""
        self.config.timeout_graceful_shutdown = max(1, math.ceil(self._drain.seconds_left))
        await super().shutdown(sockets)
        self._shedding.say(at_once=True)


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else is started.

    The socket names its protocol, unlike those of `socket.create_server`: only then does asyncio set TCP_NODELAY on the
    connections, without which every answer on a kept connection waits 40 ms for the caller's acknowledgement.

    Raises:
        ListenError: the port is taken, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _listen_error(host, port, error) from error
    try:
        if os.name == "posix":  # elsewhere it would let two processes share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise _listen_error(host, port, error) from error
    return listener


def _listen_error(host: str, port: int, error: OSError) -> ListenError:
    return ListenError(
        f"cannot listen on {host} port {port} ({error.strerror or error}): "
        "stop what listens there, or choose another --port or --host"
    )


if __name__ == "__main__":
    sys.exit(main())
