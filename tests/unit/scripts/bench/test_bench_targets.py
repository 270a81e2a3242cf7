from typing import Any

import pytest

from scripts.bench.targets import COLUMNS, TARGETS, markdown, rows


def a_document(name: str, **values: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": name,
        "unit": "events/s",
        "figure": 7000,
        "baseline": 1000,
        "ratio": 7.0,
        "spread": [6.5, 7.5],
        "runs": 2,
        "pairs": [{"figure": 6000}, {"figure": 8000}],
        "conditions": {},
    }
    return given | values


def row(what: str, *documents: dict[str, Any]) -> dict[str, object]:
    return next(row for row in rows(documents) if what in str(row["what"]))


def test_every_target_has_a_row_also_what_was_not_measured() -> None:
    found = rows([])

    assert len(TARGETS) == len(found)
    assert {"not measured"} == {row["measured"] for row in found}
    assert all(set(COLUMNS) == set(row) for row in found)


def test_a_document_belongs_to_the_target_of_its_conditions() -> None:
    fast = a_document(
        "pipeline", conditions={"rival": "fastapi", "events_per_request": 1}
    )
    batched = a_document(
        "pipeline", conditions={"rival": "fastapi", "events_per_request": 100}
    )

    assert True is row("end to end ÷ FastAPI", fast, batched)["met"]
    assert False is row("in batches of 100", fast, batched)["met"]
    assert None is row("arq job", fast, batched)["met"]


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, True), (0.499, False)])
def test_a_bound_is_met_where_it_is_reached(ratio: float, *, expected: bool) -> None:
    assert expected is row("worker", a_document("worker", ratio=ratio))["met"]


@pytest.mark.parametrize(("ratio", "expected"), [(1.2, True), (1.201, False)])
def test_some_bounds_are_from_above(ratio: float, *, expected: bool) -> None:
    assert expected is row("bytes", a_document("cost", ratio=ratio))["met"]


def test_of_the_latency_the_figure_counts_and_not_the_ratio() -> None:
    document = a_document(
        "latency", figure=249.0, ratio=9.0, unit="ms", conditions={"share": 0.5}
    )

    found = row("p99", document)

    assert (249.0, True) == (found["measured"], found["met"])
    assert "6000 to 8000" == found["spread"]


def test_the_last_of_several_counts() -> None:
    first, second = a_document("worker", ratio=0.1), a_document("worker", ratio=0.9)

    assert 0.9 == row("worker", first, second)["measured"]


def test_the_table_says_what_is_missed() -> None:
    table = markdown(rows([a_document("worker", ratio=0.4), a_document("cost")]))

    assert len(TARGETS) + 2 == len(table.splitlines())
    assert (
        "| worker process ÷ COPY of the same rows | ≥ 0.5 | 0.4 | 6.5 to 7.5 | 2"
        " | 7,000 events/s | 1,000 events/s | **missed** |"
    ) in table
