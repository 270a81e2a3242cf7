"""How many workers there would be: the rules of KEDA and of Kubernetes' autoscaler on the manifest.

A model, not a cluster: figures are 20 seconds old, a worker takes 15 seconds to start and records
10,000 events a second.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import pytest

from tests.deploy.manifests import documents

_SYNC = 15
_OLD = 20
_STARTS = 15
_RECORDS = 10_000
#: The autoscaler leaves a smaller difference alone.
_TOLERANCE = 0.1
#: Without a figure above zero for so long KEDA goes to no worker, where that is allowed.
_COOLDOWN = 300


class Second(NamedTuple):
    lag: int
    workers: int


class _Autoscaler:
    """Says how many workers are wanted, by the manifest."""

    def __init__(self, least: int | None = None) -> None:
        """`least` in place of what the manifest says."""
        [manifest] = documents("components/keda/workers.yaml")
        spec = manifest["spec"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self._thresholds = [
            int(each["metadata"]["threshold"]) for each in spec["triggers"]
        ]
        given = spec["minReplicaCount"] if least is None else least
        self._bounds = given, spec["maxReplicaCount"]
        self._window = behavior["scaleDown"]["stabilizationWindowSeconds"]
        [self._down] = behavior["scaleDown"]["policies"]
        self._wishes: list[tuple[int, int]] = []
        self._lowered = -(10**6)
        self._active = -(10**6)
        self.wanted = given

    def look(self, now: int, *figures: float) -> None:
        if any(figures):
            self._active = now
        is_active = now - self._active < _COOLDOWN
        if self.wanted == 0 or (self._bounds[0] == 0 and not is_active):
            # Between none and one the autoscaler has no say.
            self.wanted = int(is_active)
            return
        pairs = zip(figures, self._thresholds, strict=True)
        wish = max(_wish(figure, most, self.wanted) for figure, most in pairs)
        least, most = self._bounds
        wish = min(max(wish, least, 1), most)
        self._wishes.append((now, wish))
        stable = max(each for at, each in self._wishes if at > now - self._window)
        if wish > self.wanted:
            self.wanted = wish
        elif (
            stable < self.wanted and now - self._lowered >= self._down["periodSeconds"]
        ):
            self.wanted -= self._down["value"]
            self._lowered = now


def _simulate(
    arriving: Callable[[int], int], seconds: int, least: int | None = None
) -> Sequence[Second]:
    """What becomes of the lag and the workers, second by second."""
    scaler, found, lag = _Autoscaler(least), list[Second](), 0
    starts = [-_STARTS] * scaler.wanted
    for now in range(seconds):
        running = sum(now - began >= _STARTS for began in starts)
        lag = max(0, lag + arriving(now) - running * _RECORDS)
        found.append(Second(lag, scaler.wanted))
        if now % _SYNC == 0:
            seen = now - _OLD
            rate = sum(arriving(each) for each in range(seen - 60, seen)) / 60
            # Workers measure the lag: without one there is no figure of it.
            scaler.look(now, rate, found[max(0, seen)].lag if running else 0)
            starts = (starts + [now] * scaler.wanted)[: scaler.wanted]
    return found


def _wish(figure: float, threshold: int, workers: int) -> int:
    ratio = figure / threshold / workers
    return workers if abs(ratio - 1) <= _TOLERANCE else ceil(figure / threshold)


def _changes(found: Sequence[Second]) -> int:
    return sum(one.workers != other.workers for one, other in pairwise(found))


def test_a_step_to_twenty_thousand_a_second_has_four_workers_within_a_minute() -> None:
    found = _simulate(lambda now: 20_000 if now >= 60 else 0, 1200)

    assert 4 == found[60 + 60].workers
    assert max(each.lag for each in found) < 20_000 * 60
    assert 0 == found[300].lag
    assert _changes(found[:660]) < 3
    assert 0 == _changes(found[660:])


def test_when_nothing_comes_one_is_left_and_stays() -> None:
    found = _simulate(lambda now: 20_000 if 60 <= now < 600 else 0, 1800)

    assert 4 == found[600].workers
    assert 1 == found[-1].workers
    assert 3 == _changes(found[600:])


def test_one_event_wakes_a_worker_where_there_may_be_none() -> None:
    found = _simulate(lambda now: int(now == 100), 900, least=0)

    assert {0} == {each.workers for each in found[:100]}
    assert 1 == found[100 + _OLD + 2 * _SYNC].workers
    assert 0 == found[100 + _OLD + 3 * _SYNC].lag
    assert 0 == found[-1].workers
    assert 2 == _changes(found)


@pytest.mark.parametrize("period", [60, 120, 300])
def test_waves_do_not_make_it_flap(period: int) -> None:
    found = _simulate(
        lambda now: 20_000 if now > 0 and now // period % 2 else 4_000, 2400
    )

    assert _changes(found[600:1200]) < 3
    assert _changes(found[1200:1800]) < 3


def test_a_backlog_gets_every_worker() -> None:
    # What a replay or an outage leaves behind comes at once.
    found = _simulate(lambda now: 3_000_000 if now == 30 else 1_000, 1200)

    assert 4 == found[30 + 60].workers
    assert 0 == found[30 + 180].lag
