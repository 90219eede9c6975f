"""Both clients behind one face, the real service with a key, and a server that answers as a test says."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

import pytest
import redis
from mmgrec_client import AsyncClient, Client
from pydantic import SecretStr

from service.app import create_app
from service.contract.release_store import ReleaseStore
from service.settings import Settings
from tests.service.conftest import fake_decoder, running, service_keys, wait_for, write_release  # noqa: F401 - fixtures

KEY = "the-key-of-the-web-shop"
MakeClient = Callable[..., Any]


class Blocking:
    """An `AsyncClient` whose methods are run to their end, so that one test is for both clients."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        assert inspect.iscoroutinefunction(method), name

        async def call(*arguments: Any) -> Any:
            return await method(*arguments)

        return lambda *arguments: self._runner.run(call(*arguments))

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def make_client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """Makes a client of either kind; all are closed at the end."""
    made: list[Any] = []

    def make(*arguments: Any, **options: Any) -> Any:
        made.append(request.param(*arguments, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture(scope="module")
def service_url(redis_url: str, service_keys: Any, running: Any, wait_for: Any, fake_decoder: Any) -> Iterator[str]:  # noqa: F811
    """The service with release `v1` and one API key, ready; shared by a module."""
    with redis.Redis.from_url(redis_url) as of_redis:
        write_release(ReleaseStore(of_redis, service_keys), "v1")
    settings = Settings(
        redis_url=redis_url,
        namespace=service_keys.namespace,
        deadline_seconds=20,
        redis_timeout_seconds=10,
        api_keys=SecretStr(KEY),
    )
    with running(create_app(settings, decoder_factory=fake_decoder)) as of_http:
        wait_for(lambda: of_http.get("/health/ready").status_code == 200)
        yield str(of_http.base_url).rstrip("/")


@pytest.fixture
def client(make_client: MakeClient, service_url: str) -> Any:
    return make_client(service_url, api_key=KEY, timeout_seconds=20)


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer(ThreadingHTTPServer):
    """Gives the replies of its script, one after the other: (status, headers, body), or None to hang up."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[tuple[int, dict[str, str], bytes] | None] = []
        self.asked: list[Asked] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ScriptedServer

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def _reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(Asked(self.command, self.path, dict(self.headers), body))
        reply = self.server.script.pop(0)
        if reply is None:
            self.close_connection = True
            return
        status, headers, content = reply
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _reply  # noqa: N815 - names of http.server

    def log_message(self, *_: Any) -> None:
        """A test says itself what it expects."""


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
