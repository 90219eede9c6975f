"""Metrics that nobody counts: what the parts of the service know anyway, asked at every scrape."""

import hashlib
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from service.metrics import PREFIX, Metrics
from service.release import Release

if TYPE_CHECKING:
    from service.runtime import Runtime


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
        release, problem = self._runtime.watch.state
        degraded = GaugeMetricFamily(
            PREFIX + "release_problem", "1 while it is so; none while all is well.", labels=["reason"]
        )
        if problem is not None:
            degraded.add_metric([problem.reason], 1)
        yield degraded
        if release is not None:
            yield from self._release(release)

    def _coverage(self) -> Metric:
        told = "Distinct items returned in the last half hour to hour, over all items of the release."
        family = GaugeMetricFamily(PREFIX + "catalogue_coverage_ratio", told, labels=["release"])
        for covered in self._metrics.coverage.covered():
            family.add_metric([covered.release], covered.items / covered.num_items)
        return family

    def _release(self, release: Release) -> Iterator[Metric]:
        version, manifest = release.version, release.manifest
        info = InfoMetricFamily(PREFIX + "release", "The release in memory.")
        info.add_metric([], {"version": version, "checksum": self._checksum(release)})
        yield info
        provider = InfoMetricFamily(PREFIX + "execution_provider", "What really runs the decoder.")
        provider.add_metric([], {"provider": release.decoder.provider})
        yield provider
        created = datetime.fromisoformat(manifest.created).timestamp()
        yield _gauge("release_created_timestamp_seconds", "When the release was made.", created)
        yield _gauge("release_age_seconds", "Since the release was made.", time.time() - created)
        yield _gauge("trie_items", "Items of the release.", len(release.items))
        yield _gauge("trie_bytes", "Memory of the trie.", sum(array.nbytes for array in release.trie.arrays().values()))

    def _checksum(self, release: Release) -> str:
        """Of the manifest, which holds those of everything else; kept, for it is hashed once a scrape otherwise."""
        if release.version not in self._checksums:
            self._checksums = {release.version: hashlib.sha256(release.manifest.to_json().encode()).hexdigest()[:16]}
        return self._checksums[release.version]


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, told, value=value)


def _counter(name: str, told: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, told, value=value)
