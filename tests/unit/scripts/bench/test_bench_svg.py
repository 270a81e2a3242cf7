from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from scripts.bench.svg import Axes, Series, line_chart, short, steps

NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}
LINES = [
    Series("Reftide", [(50, 1000), (500, 4000), (5000, 6000)]),
    Series("COPY <fast>", [(50, 3000), (500, 7000), (5000, 9000)]),
]


def drawn(axes: Axes, lines: list[Series]) -> ET.Element:
    return ET.fromstring(line_chart(axes, lines))  # noqa: S314 -- our own


def places(picture: ET.Element) -> list[list[tuple[float, float]]]:
    found = picture.findall("svg:polyline", NAMESPACE)
    return [
        [
            (float(x), float(y))
            for x, y in (point.split(",") for point in line.attrib["points"].split())
        ]
        for line in found
    ]


def test_every_line_goes_through_its_points_from_left_to_right_and_upwards() -> None:
    picture = drawn(Axes(title="t", x="x", y="y"), LINES)

    for line in places(picture):
        assert 3 == len(line)
        assert sorted(line) == line
        assert sorted((y for _, y in line), reverse=True) == [y for _, y in line]


def test_a_logarithmic_axis_gives_every_ten_times_the_same_room() -> None:
    axes = Axes(title="t", x="x", y="y", is_logarithmic=True)

    first, second, third = (x for x, _ in places(drawn(axes, LINES[:1]))[0])

    assert second - first == pytest.approx(third - second, abs=0.2)


def test_what_a_picture_says_is_text_and_no_markup() -> None:
    picture = drawn(Axes(title="a < b & c", x="x", y="y"), LINES)

    said = [text.text for text in picture.findall("svg:text", NAMESPACE)]
    assert "a < b & c" in said
    assert "COPY <fast>" in said


def test_names_of_lines_that_end_together_stand_apart() -> None:
    lines = [Series(name, [(0, 0), (1, 5)]) for name in ("first", "second", "third")]

    picture = drawn(Axes(title="t", x="x", y="y"), lines)

    heights = sorted(
        float(text.attrib["y"])
        for text in picture.findall("svg:text", NAMESPACE)
        if text.text in {"first", "second", "third"}
    )
    assert all(lower - upper >= 15 for upper, lower in pairwise(heights))


def test_one_point_is_a_picture_too() -> None:
    assert places(drawn(Axes(title="t", x="x", y="y"), [Series("a", [(5, 0)])]))


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (9000, [0, 2000, 4000, 6000, 8000, 10_000]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (250, [0, 50, 100, 150, 200, 250]),
        (0, [0, 1]),
    ],
)
def test_an_axis_is_divided_by_round_numbers(top: float, expected: list[float]) -> None:
    assert expected == pytest.approx(steps(top))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (950, "950"), (12_500, "12.5k"), (20_000_000, "20M"), (3e9, "3G")],
)
def test_numbers_are_short(value: float, expected: str) -> None:
    assert expected == short(value)
