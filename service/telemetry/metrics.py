"""Prometheus metrics of one process (`GET /metrics`); never a user or an item in a label.

Counted where it is cheap: a request touches children that are kept here, for `labels()` looks them up under a lock.
What others know already (queue, release, histories) is pulled at scrape time by `service.telemetry.scraped`.
"""

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.registry import Collector

from service.request_context import AnswerFacts, Stage
from service.telemetry.coverage import Coverage
from service.telemetry.tally import Tally, TallyCollector

PREFIX = "mmgrec_"
SECONDS = tuple(15e-6 * 1.5**step for step in range(35))  # 15 µs to 14.6 s, as text-embeddings-inference has them
COUNTS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHED_CODES = frozenset({"queue_full", "rate_limited", "deadline_exceeded", "draining"})
"""Errors of requests that nothing was wrong with but the load; a Redis that is away sheds nobody."""
MOST_RELEASES = 8
"""Of older releases the counters are dropped: a process that lives for months must not keep a series for each."""


class Metrics:
    """The counters of a process. Every method may be called from any thread and costs a few microseconds at most."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, that nobody charts
        self.registry = CollectorRegistry()
        self.coverage = Coverage()
        self.in_flight = 0
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = self._counter("requests_total", "Requests by route and status.", "route", "status")
        self._request_seconds = self._seconds(
            "request_duration_seconds", "Whole requests, whatever came of them.", "route"
        )
        self._shed = self._counter(
            "requests_shed_total", "Requests refused to keep others fast, by error code.", "reason"
        )
        self._stage_seconds = self._seconds("stage_duration_seconds", "Parts of the work on a request.", "stage")
        self._queue_seconds = self._seconds("queue_wait_seconds", "Waiting for the decoder.").of()
        self._batch_size = self._histogram("batch_size", "Requests that shared a run of the decoder.", BATCH_SIZES)
        self._padding = self._histogram(
            "batch_padding_ratio",
            "Share of a batch's history slots that is padding.",
            [step / 10 for step in range(11)],
        )
        self._answers = self._counter("answers_total", "Recommendations by release and source.", "release", "source")
        self._fallback = self._counter("fallback_total", "Recommendations not made by the model.", "reason")
        self._degraded = self._counter("degraded_total", "Recommendations made while something was away.")
        self._exhausted = self._counter("beam_exhausted_total", "Recommendations with fewer items than asked for.")
        self._history_items = self._counter("history_items_total", "Items of histories that a release knows.")
        self._unknown = self._counter("unknown_history_items_total", "Items of histories that no release knows.")
        self._illegal = self._counter(
            "illegal_path_total", "Answers of the decoder that broke its promises and went to nobody; must stay 0."
        )
        self._beam_width = self._histogram("beam_width", "Tier of a recommendation.", COUNTS)
        self._history_length = self._histogram("history_length", "Items that were decoded from.", COUNTS)
        self._returned = self._histogram("items_returned", "Items of a recommendation.", COUNTS)
        self._request_children: dict[tuple[str, int], Counter] = {}
        self._shed_children: dict[str, Counter] = {}
        self._answer_children: dict[tuple[str, str], Counter] = {}

    def pull_from(self, collector: Collector) -> None:
        """Ask a collector at every scrape; to be paired with `forget`."""
        self.registry.register(collector)

    def forget(self, collector: Collector) -> None:
        """Ask it no longer."""
        self.registry.unregister(collector)

    def request(self, route: str, status: int, seconds: float, error_code: str | None) -> None:
        """A request has ended; `route` is the template of its path, never the path."""
        self.count(route, status, error_code)
        self._request_seconds.of(route).add(seconds)

    def count(self, route: str, status: int, error_code: str | None) -> None:
        """Count a request that ended so soon that its time would only hide those of the others."""
        child = self._request_children.get((route, status))
        if child is None:
            child = self._request_children[route, status] = self._requests.labels(route, str(status))
        child.inc()
        if error_code in SHED_CODES:
            shed = self._shed_children.get(error_code)
            if shed is None:
                shed = self._shed_children[error_code] = self._shed.labels(error_code)
            shed.inc()

    def stages(self, stages: Iterable[Stage]) -> None:
        """The parts of a request."""
        for name, started, ended in stages:
            tally = self._queue_seconds if name == "queue" else self._stage_seconds.of(name)
            tally.add(ended - started)

    def batch(self, size: int, *, padding_ratio: float) -> None:
        """The decoder ran.

        Args:
            size: requests in the run.
            padding_ratio: share of the history slots that stood empty, 0 to 1.
        """
        self._batch_size.add(size)
        self._padding.add(padding_ratio)

    def illegal_answer(self) -> None:
        """The decoder broke its promise and the answer was thrown away; must never happen."""
        self._illegal.inc()

    def answer(self, answer: AnswerFacts) -> None:
        """A recommendation was made."""
        self._of_release(answer.release, answer.source).inc()
        if answer.fallback_reason is not None:
            self._fallback.labels(answer.fallback_reason).inc()
        if answer.degraded:
            self._degraded.inc()
        if answer.exhausted:
            self._exhausted.inc()
        if answer.unknown_history_items:
            self._unknown.inc(answer.unknown_history_items)
        self._history_items.inc(answer.history_length)
        self._beam_width.add(answer.beam_width)
        self._history_length.add(answer.history_length)
        self._returned.add(len(answer.rows))
        self.coverage.returned(answer.release, answer.num_items, answer.rows)

    def _of_release(self, release: str, source: str) -> Counter:
        """The counter of a release; the oldest release makes way for a new one."""
        key = (release, source)
        if key not in self._answer_children:
            releases = list(dict.fromkeys(each for each, _ in self._answer_children))
            if release not in releases and len(releases) >= MOST_RELEASES:
                for old in [each for each in self._answer_children if each[0] == releases[0]]:
                    self._answers.remove(*old)
                    del self._answer_children[old]
            self._answer_children[key] = self._answers.labels(release, source)
        return self._answer_children[key]

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, told, labels, registry=self.registry)

    def _seconds(self, name: str, told: str, label: str | None = None) -> TallyCollector:
        collector = TallyCollector(PREFIX + name, told, SECONDS, label)
        self.registry.register(collector)
        return collector

    def _histogram(self, name: str, told: str, buckets: Iterable[float]) -> Tally:
        collector = TallyCollector(PREFIX + name, told, tuple(buckets))
        self.registry.register(collector)
        return collector.of()
