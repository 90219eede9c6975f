"""Metrics that nobody counts: what the parts of the service know anyway, asked at every scrape."""

import hashlib
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from service.releases.release import Release
from service.telemetry.metrics import PREFIX, Metrics

if TYPE_CHECKING:
    from service.runtime import Runtime

MOST_KEPT = 8
"""Checksums of releases; two are served at a time."""


class RuntimeCollector(Collector):
    """Reads a runtime: queue, release in memory, coverage. Runs on the thread of the scrape."""

    def __init__(self, runtime: "Runtime", metrics: Metrics) -> None:
        self._runtime = runtime
        self._metrics = metrics
        self._checksums: dict[str, str] = {}

    def describe(self) -> list[Metric]:
        """Nothing, so that registering asks for nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything, at this moment."""
        yield _gauge("requests_in_flight", "Requests that are being answered.", self._metrics.in_flight)
        yield self._coverage()
        yield from self._queue()
        yield from self._redis()
        yield from self._arms()
        if (release := self._runtime.watch.state.release) is not None:
            yield from self._release(release)

    def _coverage(self) -> Metric:
        told = "Distinct items returned in the last half hour to hour, over all items of the release."
        family = GaugeMetricFamily(PREFIX + "catalogue_coverage_ratio", told, labels=["release"])
        for covered in self._metrics.coverage.covered():
            family.add_metric([covered.release], covered.items / covered.num_items)
        return family

    def _queue(self) -> Iterator[Metric]:
        recommender = self._runtime.recommender
        yield _gauge("queue_depth", "Requests that wait for a run of the decoder.", recommender.batcher.queue_length)
        told = "What a request that comes now would take; beyond the limit it is refused."
        yield _gauge("answer_expected_seconds", told, recommender.batcher.answer_seconds())
        yield _gauge("answer_limit_seconds", "The limit of it.", recommender.admission.limit_seconds)
        yield _gauge(
            "decoder_run_age_seconds", "How long the present run has taken.", recommender.batcher.run_age_seconds
        )

    def _redis(self) -> Iterator[Metric]:
        histories, events, writes = self._runtime.histories, self._runtime.events, self._runtime.writes
        failed = CounterMetricFamily(PREFIX + "redis_errors", "What Redis did not do.", labels=["op"])
        failed.add_metric(["read_history"], histories.failures)
        failed.add_metric(["write"], writes.failures)
        yield failed
        yield _counter("history_reads", "Histories that requests asked for.", histories.reads)
        yield _counter("history_round_trips", "Round trips that they took.", histories.round_trips)
        yield _counter(
            "history_stale_answers", "Those answered from memory while Redis was away.", histories.stale_answers
        )
        yield _counter("unknown_users", "Those of users that Redis does not know.", histories.unknown_users)
        told = CounterMetricFamily(PREFIX + "events", "Events, by what became of them.", labels=["result"])
        for result, count in (
            ("accepted", events.accepted),
            ("duplicate", events.duplicates),
            ("not_applied", events.not_applied),  # accepted as well, but in the stream alone
        ):
            told.add_metric([result], count)
        yield told
        yield from self._streams()

    def _streams(self) -> Iterator[Metric]:
        """Absent while Redis cannot be read."""
        told = "Entries of an event stream; beyond the limit the oldest leave, archived or not."
        lengths = GaugeMetricFamily(PREFIX + "event_stream_length", told, labels=["partition"])
        told = "How long the oldest event that is not archived yet has waited."
        ages = GaugeMetricFamily(PREFIX + "event_stream_age_seconds", told, labels=["partition"])
        for partition, size in enumerate(self._runtime.stream_sizes.known()):
            lengths.add_metric([str(partition)], size.length)
            ages.add_metric([str(partition)], size.age_seconds)
        yield lengths
        yield ages
        limit = self._runtime.events.streams.max_length
        yield _gauge("event_stream_max_length", "The limit of each stream, about.", limit)

    def _arms(self) -> Iterator[Metric]:
        told = "1 while it is so; absent while all is well."
        problems = GaugeMetricFamily(PREFIX + "release_problem", told, labels=["arm", "reason"])
        info = InfoMetricFamily(PREFIX + "release", "What the users of an arm are answered from.", labels=["arm"])
        shares = GaugeMetricFamily(PREFIX + "release_share", "Share of the users that an arm gets.", labels=["arm"])
        loaded = GaugeMetricFamily(
            PREFIX + "release_loaded_timestamp_seconds", "When it came into memory.", labels=["arm"]
        )
        for name, arm in self._runtime.watch.arms.items():
            if arm.problem is not None:
                problems.add_metric([name, arm.problem.reason], 1)
            if arm.release is not None:
                info.add_metric([name], {"version": arm.release.version, "checksum": self._checksum(arm.release)})
                shares.add_metric([name], arm.share)
                loaded.add_metric([name], arm.loaded_at or 0.0)
        reloads = CounterMetricFamily(PREFIX + "release_reloads", "Releases that came to be loaded.", labels=["result"])
        for result, count in self._runtime.watch.reloads.items():
            reloads.add_metric([result], count)
        yield from (problems, info, shares, loaded, reloads)

    def _release(self, release: Release) -> Iterator[Metric]:
        """The main one."""
        provider = InfoMetricFamily(PREFIX + "execution_provider", "What really runs the decoder.")
        provider.add_metric([], {"provider": release.decoder.provider})
        yield provider
        told = "CPU time of the inference thread inside of onnxruntime; begins anew with every release."
        yield _counter("decoder_cpu_seconds", told, release.decoder.run_cpu_seconds)
        created = datetime.fromisoformat(release.manifest.created).timestamp()
        yield _gauge("release_created_timestamp_seconds", "When the release was made.", created)
        yield _gauge("release_age_seconds", "Since the release was made.", time.time() - created)
        yield _gauge("trie_items", "Items of the release.", len(release.items))
        yield _gauge("trie_bytes", "Memory of the trie.", sum(array.nbytes for array in release.trie.arrays().values()))

    def _checksum(self, release: Release) -> str:
        """Of the manifest, which holds those of everything else; kept, else it would be made at every scrape."""
        if release.version not in self._checksums:
            if len(self._checksums) > MOST_KEPT:
                self._checksums.clear()
            self._checksums[release.version] = hashlib.sha256(release.manifest.to_json().encode()).hexdigest()[:16]
        return self._checksums[release.version]


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, told, value=value)


def _counter(name: str, told: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, told, value=value)
