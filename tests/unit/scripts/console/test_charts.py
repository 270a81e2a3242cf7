"""The hour's lines."""

from scripts.console.charts import HEIGHT, WIDTH, lag_chart, rate_chart
from scripts.console.sampler import Point, rate

NOW = 10_000.0


def _points(*seconds: float) -> list[Point]:
    return [Point(at, [0.5, 2.0], int(at) * 3, int(at)) for at in seconds]


def test_a_rate_is_the_increase_a_second_of_what_is_known() -> None:
    points = _points(1, 2, 11)
    assert (3.0, 1.0) == (rate(points, "accepted"), rate(points, "recorded"))
    assert rate([*points, Point(12)], "accepted") == 3.0
    assert rate(points[:1], "accepted") is None
    assert rate(points[::-1], "accepted") is None, "another epoch begins at zero"


def test_a_line_has_a_gap_where_nothing_is_known() -> None:
    points = _points(*range(8_000, 8_600), *range(9_000, 10_000))
    chart = lag_chart(points, NOW)

    assert ["shard 0", "shard 1"] == [line.name for line in chart.lines]
    assert 2.0 == chart.most
    assert 2 == chart.lines[1].path.count("M")
    assert f" {HEIGHT - 30 - 0.5:.1f}" in chart.lines[0].path
    assert chart.lines[0].path.split("L")[-1].startswith(f"{WIDTH} ")


def test_the_table_has_what_the_lines_have_the_latest_first() -> None:
    chart = rate_chart(_points(*range(9_000, 10_000)), NOW)

    assert [3.0, 1.0] == chart.rows[0][1]
    assert sorted(chart.rows, reverse=True) == chart.rows
    assert ([], 0.0) == (rate_chart([], NOW).rows, lag_chart([], NOW).most)
