"""Spans of requests and stages, kept in memory by the SDK's own exporter; skipped where the extra is not installed."""

import builtins
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from service.app import create_app
from service.settings import Settings, SettingsError
from service.telemetry.redaction import Redaction
from service.telemetry.tracing import NoTracing, OpenTelemetryTracing, make_tracing

sdk = pytest.importorskip("opentelemetry.sdk.trace.export", reason="the extra otel is not installed")
in_memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Any:
    kept = in_memory.InMemorySpanExporter()
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")  # ms; nobody wants to wait for the usual 5 s
    monkeypatch.setattr(
        "service.edge.layers.make_tracing", lambda settings, version: OpenTelemetryTracing(kept, version)
    )
    return kept


@pytest.fixture
def traced(
    settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any, exporter: Any
) -> Iterator[tuple[httpx.Client, Callable[[], list[Any]]]]:
    """A service and what it has traced, once it is over."""
    publish("v1")
    keyed = settings.model_copy(update={"log_hash_key": SecretStr("a key")})
    with running(create_app(keyed, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        yield client, lambda: _sent(exporter)


def _sent(exporter: Any) -> list[Any]:
    return [span for span in exporter.get_finished_spans() if "/health/" not in span.name]


def test_a_request_and_its_stages_are_spans_below_the_callers(
    traced: tuple[httpx.Client, Callable[[], list[Any]]], wait_for: WaitFor
) -> None:
    client, sent = traced
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "find-me"}
    ask = {"user_id": "anna-the-user", "history": ["item-05"], "n": 1}
    assert client.post("/recommend", json=ask, headers=headers).status_code == 200
    spans = wait_for(lambda: (found := sent()) and found[-1].name == "POST /recommend" and found)
    *stages, request = spans
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    assert {"prepare", "decode", "resolve"} <= {stage.name for stage in stages}
    for stage in stages:
        assert stage.parent.span_id == request.context.span_id
        assert request.start_time <= stage.start_time <= stage.end_time <= request.end_time
    told = dict(request.attributes)
    assert (told["http.route"], told["http.response.status_code"]) == ("/recommend", 200)
    assert (told["mmgrec.release"], told["mmgrec.source"], told["mmgrec.request_id"]) == ("v1", "model", "find-me")
    assert told["mmgrec.user"] == Redaction(hash_key="a key").user_hash("anna-the-user")
    assert "anna-the-user" not in str([(span.name, dict(span.attributes)) for span in spans])
    assert request.resource.attributes["service.name"] == "mmgrec"


@pytest.mark.parametrize("traceparent", [None, "", "nonsense", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{PARENT}"])
def test_without_a_usable_parent_a_request_begins_a_trace(
    traced: tuple[httpx.Client, Callable[[], list[Any]]], wait_for: WaitFor, traceparent: str | None
) -> None:
    client, sent = traced
    headers = {} if traceparent is None else {"traceparent": traceparent}
    assert client.post("/recommend", json={"user_id": "a", "n": 0}, headers=headers).status_code == 422
    request = wait_for(sent)[-1]
    assert request.parent is None
    assert dict(request.attributes)["mmgrec.error"] == "validation_failed"


def test_a_caller_who_does_not_sample_is_obeyed(
    traced: tuple[httpx.Client, Callable[[], list[Any]]], wait_for: WaitFor
) -> None:
    client, sent = traced
    client.get("/info", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    client.get("/info")
    assert len(wait_for(sent)) == 1


def test_fastapi_sends_nothing_of_its_own(
    settings: Settings, running: Running, fake_decoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its spans would hold paths; a global provider, such as an agent installs, must not switch them on."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    kept = in_memory.InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(sdk.SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        assert client.get("/users/anna/history").status_code in {404, 200, 503}
    assert kept.get_finished_spans() == ()


def test_spans_reach_a_collector_over_http(settings: Settings, running: Running, fake_decoder: Any) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            endpoint = f"http://127.0.0.1:{server.server_port}"
            traced = settings.model_copy(update={"otel_endpoint": endpoint})
            with running(create_app(traced, decoder_factory=fake_decoder)) as client:
                assert client.get("/info").status_code == 200
        finally:
            server.shutdown()
            thread.join()
    assert {path for path, _ in received} == {"/v1/traces"}  # the end of the service sends what is left
    assert any(b"/info" in body for _, body in received)


def test_without_an_endpoint_there_is_no_tracing(settings: Settings) -> None:
    assert isinstance(make_tracing(settings, "1"), NoTracing)


def test_without_the_extra_the_cure_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_otel(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("opentelemetry.exporter"):
            raise ImportError(name)
        return real_import(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", no_otel)
    traced = settings.model_copy(update={"otel_endpoint": "http://127.0.0.1:4318"})
    with pytest.raises(SettingsError, match=r"pip install 'mmgrec\[otel\]'"):
        make_tracing(traced, "1")
