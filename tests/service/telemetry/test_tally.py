"""Tallies tell Prometheus what its own histogram would."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from service.telemetry.tally import TallyCollector

BOUNDS = (0.001, 0.5, 1.0, 20.0)
values = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.one_of(st.sampled_from(BOUNDS), st.floats(0, 30))))


def told(registry: CollectorRegistry) -> set[str]:
    return {line for line in generate_latest(registry).decode().splitlines() if "_created" not in line}


@given(values)
def test_a_series_for_each_value_of_the_label(observed: list[tuple[str, float]]) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("seconds", "Of a kind.", ["kind"], buckets=BOUNDS, registry=theirs)
    collector = TallyCollector("seconds", "Of a kind.", BOUNDS, "kind")
    ours.register(collector)
    for kind, value in observed:
        histogram.labels(kind).observe(value)
        collector.of(kind).add(value)
    assert told(ours) == told(theirs)


def test_one_series_without_a_label_and_before_any_value() -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    Histogram("items", "Of an answer.", buckets=(1, 10), registry=theirs)
    ours.register(TallyCollector("items", "Of an answer.", (1, 10)))
    assert told(ours) == told(theirs)
