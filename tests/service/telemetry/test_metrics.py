"""What `GET /metrics` tells, over real HTTP and read by Prometheus' own parser."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.contract.manifest import ITEM_VECTORS_ARRAY
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.request_context import AnswerFacts, Stage
from service.settings import Settings
from service.telemetry.metrics import MOST_RELEASES, SECONDS, Metrics

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"mmgrec_{name}", frozenset(labels.items())))


def scrape(client: httpx.Client) -> Samples:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    return read(response.text)


@pytest.fixture
def asked(own_service: httpx.Client) -> tuple[httpx.Client, Samples]:
    """A service that has answered this and that, and what it tells afterwards."""
    ask = own_service.post
    assert ask("/recommend", json={"history": ["item-05"], "n": 4}).status_code == 200
    assert (
        ask("/recommend", json={"history": ["item-05", "gone"], "n": 10, "candidates": ["item-04"]}).status_code == 200
    )
    assert ask("/recommend", json={"user_id": "nobody", "n": 1}).status_code == 200
    assert ask("/recommend", json={"n": 1}).status_code == 422
    assert own_service.get("/user/anna/is-no-route").status_code == 404
    assert own_service.get("/recommend").status_code == 405
    return own_service, scrape(own_service)


def test_requests_are_counted_by_route_and_status(asked: tuple[httpx.Client, Samples]) -> None:
    _, samples = asked
    assert value(samples, "requests_total", route="/recommend", status="200") == 3
    assert value(samples, "requests_total", route="/recommend", status="422") == 1
    assert value(samples, "requests_total", route="/recommend", status="405") == 1
    assert value(samples, "requests_total", route="other", status="404") == 1
    assert value(samples, "request_duration_seconds_count", route="/recommend") == 5
    assert value(samples, "requests_in_flight") == 1  # the scrape itself


def test_answers_are_counted_by_what_they_were(asked: tuple[httpx.Client, Samples]) -> None:
    _, samples = asked
    assert value(samples, "answers_total", release="v1", source="model") == 2
    assert value(samples, "answers_total", release="v1", source="fallback:popular") == 1
    assert value(samples, "fallback_total", reason="unknown_user") == 1
    assert value(samples, "beam_exhausted_total") == 1  # 10 asked for, one candidate
    assert value(samples, "unknown_history_items_total") == 1
    assert value(samples, "history_items_total") == 2
    assert value(samples, "degraded_total") == 0
    assert value(samples, "illegal_path_total") == 0
    assert value(samples, "items_returned_sum") == 4 + 1 + 1
    assert value(samples, "beam_width_bucket", le="10.0") == 3
    assert value(samples, "catalogue_coverage_ratio", release="v1") == pytest.approx(5 / 12)  # 4, 6, 3, 7 and 11


def test_stages_and_runs_of_the_decoder_are_told(asked: tuple[httpx.Client, Samples]) -> None:
    _, samples = asked
    for stage, count in {"histories": 3, "prepare": 3, "decode": 2, "resolve": 3}.items():
        assert value(samples, "stage_duration_seconds_count", stage=stage) == count
    assert value(samples, "queue_wait_seconds_count") == 2
    assert (value(samples, "batch_size_count"), value(samples, "batch_size_sum")) == (2, 2)
    assert value(samples, "batch_padding_ratio_sum") == 0
    assert value(samples, "queue_depth") == 0
    assert (value(samples, "answer_limit_seconds") or 0) > 0


def test_a_batch_is_answers_and_one_request(own_service: httpx.Client) -> None:
    requests = [{"history": ["item-05"], "n": 1}, {"history": ["item-05", "item-06"], "n": 1}, {"user_id": "nobody"}]
    assert own_service.post("/recommend/batch", json={"requests": requests}).status_code == 200
    samples = scrape(own_service)
    assert value(samples, "requests_total", route="/recommend/batch", status="200") == 1
    assert value(samples, "answers_total", release="v1", source="model") == 2
    assert value(samples, "stage_duration_seconds_count", stage="resolve") == 3


def test_event_streams_are_told_by_partition(
    own_service: httpx.Client, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    now_ms = time.time_ns() // 1_000_000
    for age_ms in (90_000, 60_000, 30_000):
        client_of_redis.xadd(keys.events(1), {"user": "anna"}, id=f"{now_ms - age_ms}-0")
    client_of_redis.xadd(keys.events(2), {"user": "anna"}, id=f"{now_ms - 90_000}-0")
    samples = scrape(own_service)
    lengths = [value(samples, "event_stream_length", partition=str(partition)) for partition in range(4)]
    ages = [value(samples, "event_stream_age_seconds", partition=str(partition)) or 0.0 for partition in range(4)]
    assert lengths == [0, 3, 1, 0]
    assert ages == pytest.approx([0, 60, 0, 0], abs=15)  # the first entry may be the last one that was archived
    assert value(samples, "event_stream_max_length") == 250_000
    client_of_redis.delete(keys.events(1))
    assert value(scrape(own_service), "event_stream_length", partition="1") == 3  # not asked again at once


def test_event_streams_are_absent_while_redis_is_away(
    own_redis: Any, keys: RedisKeys, running: Running, wait_for: WaitFor, fake_decoder: Any, publish_to: Any
) -> None:
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        publish_to(ReleaseStore(client, keys), "v1")
    settings = Settings(redis_url=own_redis.url, namespace=keys.namespace, release_poll_seconds=0.05)
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        own_redis.kill()
        samples = scrape(client)
    assert value(samples, "event_stream_length", partition="0") is None
    assert value(samples, "event_stream_max_length") == 250_000


def test_events_and_histories_are_counted_and_no_user_is_in_a_route(own_service: httpx.Client) -> None:
    event = {"user_id": "anna", "item_id": "item-05", "event_id": "once"}
    for _ in range(2):
        assert own_service.post("/events", json={"events": [event]}).status_code == 200
    assert own_service.get("/users/anna/history").status_code == 200
    assert own_service.post("/recommend", json={"user_id": "nobody"}).status_code == 200
    samples = scrape(own_service)
    assert value(samples, "events_total", result="accepted") == 1
    assert value(samples, "events_total", result="duplicate") == 1
    assert value(samples, "unknown_users_total") == 1
    assert value(samples, "redis_errors_total", op="read_history") == 0
    assert value(samples, "redis_errors_total", op="write") == 0
    assert value(samples, "requests_total", route="/users/{user_id}/history", status="200") == 1


def test_the_release_in_memory_is_told(asked: tuple[httpx.Client, Samples]) -> None:
    _, samples = asked
    info = next(dict(labels) for name, labels in samples if name == "mmgrec_release_info")
    assert info["version"] == "v1"
    assert (info["arm"], len(info["checksum"])) == ("main", 16)
    assert value(samples, "release_share", arm="main") == 1
    assert (value(samples, "release_loaded_timestamp_seconds", arm="main") or 0) > 0
    assert value(samples, "release_reloads_total", result="loaded") == 1
    assert value(samples, "release_reloads_total", result="refused") == 0
    assert value(samples, "execution_provider_info", provider="FakeExecutionProvider") == 1
    assert value(samples, "trie_items") == 12
    assert (value(samples, "trie_bytes") or 0) > 0
    created = value(samples, "release_created_timestamp_seconds")
    assert created == 1795219200  # 2026-11-21T00:00:00Z
    assert value(samples, "release_age_seconds") is not None
    assert not [labels for name, labels in samples if name == "mmgrec_release_problem"]


def test_a_broken_release_is_told(own_service: httpx.Client, publish: Any, wait_for: WaitFor) -> None:
    publish("v2", arrays={ITEM_VECTORS_ARRAY: np.zeros((3, 2), np.float32)})
    wait_for(lambda: value(scrape(own_service), "release_problem", arm="main", reason="broken_release") == 1)
    assert [dict(labels)["version"] for name, labels in scrape(own_service) if name == "mmgrec_release_info"] == ["v1"]


def test_before_any_release_there_is_something_to_scrape(
    settings: Settings, running: Running, wait_for: WaitFor, fake_decoder: Any
) -> None:
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: value(scrape(client), "release_problem", arm="main", reason="no_release") == 1)
        assert client.post("/recommend", json={"user_id": "a"}).status_code == 503
        samples = scrape(client)
        assert value(samples, "requests_total", route="/recommend", status="503") == 1
        assert value(samples, "requests_shed_total", reason="no_release") is None  # nobody was too many


def test_those_who_ask_for_openmetrics_get_it(service: httpx.Client) -> None:
    response = service.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_two_apps_in_one_process_count_apart(settings: Settings, fake_decoder: Any) -> None:
    first, second = Metrics(), Metrics()
    first.request("/recommend", 200, 0.001, None)
    assert first.registry.get_sample_value("mmgrec_requests_total", {"route": "/recommend", "status": "200"}) == 1
    assert second.registry.get_sample_value("mmgrec_requests_total", {"route": "/recommend", "status": "200"}) is None


def test_the_same_app_can_be_started_twice(
    settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any
) -> None:
    publish("v1")
    app = create_app(settings, decoder_factory=fake_decoder)
    for _ in range(2):
        with running(app) as client:
            wait_for(lambda: client.get("/health/ready").status_code == 200)
            assert value(scrape(client), "trie_items") == 12


def test_buckets_are_geometric_from_15_microseconds() -> None:
    assert len(SECONDS) == 35
    assert SECONDS[0] == 15e-6
    assert SECONDS[-1] == pytest.approx(14.6, abs=0.1)
    assert np.allclose(np.diff(np.log(SECONDS)), np.log(1.5))


def answer(release: str) -> AnswerFacts:
    return AnswerFacts(release, 3, [0], "model", None, False, False, 10, 1, 0)


def test_releases_of_long_ago_leave_no_series() -> None:
    metrics = Metrics()
    for at in range(MOST_RELEASES + 3):
        metrics.answer(answer(f"v{at}"))
        metrics.answer(answer(f"v{at}"))
    counted = {
        sample.labels["release"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "mmgrec_answers_total"
    }
    assert counted == {f"v{at}": 2 for at in range(3, MOST_RELEASES + 3)}


def test_batches_and_the_wait_for_them() -> None:
    metrics = Metrics()
    metrics.batch(3, padding_ratio=0.25)
    metrics.stages([Stage("queue", 1.0, 1.5), Stage("decode", 1.5, 1.75)])
    metrics.illegal_answer()
    told = {
        name: metrics.registry.get_sample_value(f"mmgrec_{name}")
        for name in ("batch_size_sum", "batch_padding_ratio_sum", "queue_wait_seconds_sum", "illegal_path_total")
    }
    assert told == {
        "batch_size_sum": 3,
        "batch_padding_ratio_sum": 0.25,
        "queue_wait_seconds_sum": 0.5,
        "illegal_path_total": 1,
    }
    decode = metrics.registry.get_sample_value("mmgrec_stage_duration_seconds_sum", {"stage": "decode"})
    assert decode == 0.25
