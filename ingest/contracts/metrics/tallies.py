"""Counters and histograms for what one thread counts thousands of times a second.

They are collected and shown as prometheus-client's own, which take a lock
for every figure and so twenty times as long.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override


class LocalCounter:
    """How often something happened."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def inc(self) -> None:
        self.count += 1


class LocalHistogram:
    """How often something took how long, in seconds."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the buckets', ascending; the last holds what is beyond them."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds


_Child = TypeVar("_Child", LocalCounter, LocalHistogram)


class _Family(Collector, Generic[_Child]):
    """The figures of one name, by their labels."""

    def __init__(
        self,
        name: str,
        means: str,
        labels: Sequence[str],
        *,
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = means
        self._labelnames = labels
        self._children: dict[tuple[str, ...], _Child] = {}
        registry.register(self)

    def labels(self, *values: str) -> _Child:
        """The figure with these labels; to look it up takes longer than to count."""
        if values not in self._children:
            self._children[values] = self._made()
        return self._children[values]

    def _made(self) -> _Child:
        raise NotImplementedError


class LocalCounters(_Family[LocalCounter]):
    """Counters."""

    @override
    def _made(self) -> LocalCounter:
        return LocalCounter()

    @override
    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            self._name, self._documentation, labels=self._labelnames
        )
        for values, tally in self._children.items():
            family.add_metric(values, tally.count)
        yield family

    @property
    def total(self) -> int:
        """The sum over all labels."""
        return sum(tally.count for tally in self._children.values())


class LocalHistograms(_Family[LocalHistogram]):
    """Histograms."""

    def __init__(self, *args: Any, buckets: Sequence[float], **options: Any) -> None:
        super().__init__(*args, **options)
        self._buckets = buckets

    @override
    def _made(self) -> LocalHistogram:
        return LocalHistogram(self._buckets)

    @override
    def collect(self) -> Iterator[Metric]:
        bounds = [*map(str, self._buckets), "+Inf"]
        family = HistogramMetricFamily(
            self._name, self._documentation, labels=self._labelnames
        )
        for values, spread in self._children.items():
            counts = zip(bounds, accumulate(spread.counts), strict=True)
            family.add_metric(values, [*counts], spread.total)
        yield family
