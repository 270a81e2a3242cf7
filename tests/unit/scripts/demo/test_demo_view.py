from scripts.demo.progress import Figures
from scripts.demo.view import line

FIGURES = Figures(
    seconds=5.04,
    planned=2100,
    sent=1500,
    accepted=1460,
    refused=40,
    unanswered=0,
    recorded=1300,
    repeats=50,
    quarantined=0,
    in_flight=110,
    lag_seconds=0.26,
    per_second=300.4,
    is_stale=False,
)


def test_a_line_says_how_far_the_run_is() -> None:
    assert (
        "  5.0 s  sent 1500 of 2100, accepted 1460, refused 40, recorded 1300,"
        " repeats 50, in flight 110, lag 0.3 s, 300/s"
    ) == line(FIGURES)


def test_a_line_tells_of_trouble_only_where_there_is_some() -> None:
    troubled = FIGURES._replace(unanswered=3, quarantined=2, is_stale=True)

    assert line(troubled) == line(FIGURES) + (
        ", unanswered 3, quarantined 2 (the servers do not answer)"
    )
