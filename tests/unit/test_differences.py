"""Values are compared field by field."""

import pytest

from ingest.dialects.spec.events import ByClick, ByCode
from ingest.dialects.spec.requests import Reply
from tests.support.differences import differences


@pytest.mark.parametrize(
    ("expected", "found", "named"),
    [
        pytest.param({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, {}, id="equal"),
        pytest.param(
            {"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, {"a.1.b": (2, 3)}, id="deep"
        ),
        pytest.param([1], [1, 2], {"1": ("absent", 2)}, id="one more"),
        pytest.param({"a": 1}, {}, {"a": (1, "absent")}, id="one less"),
        pytest.param({"a": 1}, {"a": True}, {"a": (1, True)}, id="equal by chance"),
        pytest.param(
            Reply(200, {"id": 1}),
            Reply(409, {"id": 2}),
            {"status": (200, 409), "body.id": (1, 2)},
            id="a struct",
        ),
    ],
)
def test_the_fields_that_differ_are_named(
    expected: object, found: object, named: dict[str, object]
) -> None:
    assert named == differences(expected, found)


def test_values_of_different_kinds_differ_as_a_whole() -> None:
    code, click = ByCode("SPRING"), ByClick("clk_1")

    assert {"": (code, click)} == differences(code, click)
