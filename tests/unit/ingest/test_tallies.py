"""What is counted without locks is shown as prometheus-client shows its own."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from ingest.contracts.metrics.declaring import render
from ingest.contracts.metrics.tallies import LocalCounters, LocalHistograms

BUCKETS = (0.001, 0.0025, 1.0, 2.5)
SECONDS = (0.0, 0.0005, 0.001, 0.0011, 0.5, 1.0, 2.4, 2.5, 99.0)


def test_a_counter_is_shown_alike() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = LocalCounters(
        "a_total", "what is counted", ("route", "status"), registry=ours
    )
    counter = Counter(
        "a_total", "what is counted", ("route", "status"), registry=theirs
    )
    for number in range(5):
        tallies.labels("x", f"{number % 2}xx").inc()
        counter.labels("x", f"{number % 2}xx").inc()

    assert render(theirs) == render(ours)


def test_a_histogram_is_shown_alike() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    spreads = LocalHistograms(
        "b", "how long", ("route",), registry=ours, buckets=BUCKETS
    )
    histogram = Histogram("b", "how long", ("route",), registry=theirs, buckets=BUCKETS)
    for seconds in SECONDS:
        for route in ("x", "y"):
            spreads.labels(route).observe(seconds)
            histogram.labels(route).observe(seconds)

    assert render(theirs) == render(ours)
