from itertools import count

import orjson
import pytest

from scripts.bench.environment.runs import Pair, Result, paired, quantile
from scripts.output import as_document

KEYS = ["name", "unit", "figure", "baseline", "ratio", "spread", "runs"]


def a_result(*pairs: tuple[float, float]) -> Result:
    return Result(
        name="edge",
        unit="requests/s",
        pairs=[Pair(figure, baseline) for figure, baseline in pairs],
        conditions={"connections": 64},
    )


def test_the_ratio_is_the_median_of_the_pairs_and_not_the_ratio_of_the_medians() -> (
    None
):
    document = a_result((10, 100), (20, 40), (30, 50)).document()

    assert 20 == document["figure"]
    assert 50 == document["baseline"]
    assert 0.5 == document["ratio"]


def test_the_spread_is_the_least_and_the_greatest_ratio() -> None:
    document = a_result((30, 50), (10, 100), (20, 40)).document()

    assert [0.1, 0.6] == document["spread"]


def test_of_an_even_number_of_pairs_the_median_lies_between_the_middle_two() -> None:
    document = a_result((10, 100), (20, 100), (40, 100), (90, 100)).document()

    assert 0.3 == document["ratio"]
    assert 30 == document["figure"]


def test_one_pair_is_its_own_median_and_has_no_spread() -> None:
    document = a_result((10, 30)).document()

    assert 0.333 == document["ratio"]
    assert [0.333, 0.333] == document["spread"]


def test_the_document_has_the_keys_that_checks_rely_on() -> None:
    document = orjson.loads(as_document(a_result((10, 100), (20, 40)).document()))

    assert KEYS == [name for name in document if name in KEYS]
    assert ("edge", "requests/s", 2) == tuple(
        document[name] for name in ("name", "unit", "runs")
    )
    assert [
        {"figure": 10, "baseline": 100, "ratio": 0.1},
        {"figure": 20, "baseline": 40, "ratio": 0.5},
    ] == document["pairs"]
    assert {"connections": 64} == document["conditions"]


def test_figures_of_small_numbers_keep_the_digits_that_are_asked_for() -> None:
    result = Result(name="latency", unit="ms", pairs=[Pair(1.26, 2.5)], digits=1)

    document = result.document()

    assert (1.3, 2.5) == (document["figure"], document["baseline"])
    assert 0.504 == document["ratio"]


def test_what_stands_beside_the_figure_is_in_the_document() -> None:
    result = Result(
        name="worker", unit="events/s", pairs=[Pair(1, 2)], more={"curve": [1, 2]}
    )

    assert [1, 2] == result.document()["curve"]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 2), (0.99, 4), (0.25, 1), (0.26, 2), (0.0, 1)]
)
def test_a_quantile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    assert expected == quantile([4, 1, 3, 2], share)


def test_what_is_measured_and_its_baseline_take_turns() -> None:
    turns: list[str] = []
    numbers = count(1)

    def measure(name: str) -> float:
        turns.append(name)
        return float(next(numbers))

    pairs = paired(lambda: measure("A"), lambda: measure("B"), 3)

    assert list("ABABAB") == turns
    assert [Pair(1, 2), Pair(3, 4), Pair(5, 6)] == pairs


def test_every_pair_is_told_of_when_it_is_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    paired(lambda: 11_200.4, lambda: 22_400.8, 2)

    assert [
        "run 1 of 2: 11,200/s, baseline 22,401/s, ratio 0.500",
        "run 2 of 2: 11,200/s, baseline 22,401/s, ratio 0.500",
    ] == capsys.readouterr().err.splitlines()


def test_a_measurement_that_fails_is_no_figure() -> None:
    def broken() -> float:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        paired(lambda: 1.0, broken, 3)
