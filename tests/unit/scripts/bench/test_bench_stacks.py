"""Sampled stacks as shares of the event loop's time, and as a flame graph."""

from xml.etree import ElementTree as ET

from scripts.bench.stacks import drawn, functions, loop_of

NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}
START = "<module> (ingest/__main__.py:9);Runner.run (asyncio/runners.py:118)"
SAMPLED = [
    f"{START} 10",
    f"{START};accept (ingest/core/accept.py:70) 20",
    f"{START};accept (ingest/core/accept.py:99);dumps (orjson/__init__.py:3) 60",
    f"{START};walk (ingest/walk.py:1);walk (ingest/walk.py:2) 10",
    "Thread._bootstrap (threading.py:1002);wait (threading.py:327) 900",
]


def read(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314 -- our own


def boxes(picture: str) -> dict[str, dict[str, str]]:
    """The attributes of every function's box, by what pointing at it says."""
    return {
        box.findtext("svg:title", "", NAMESPACE): each.attrib
        for box in read(picture).findall("svg:g", NAMESPACE)
        for each in box.findall("svg:rect", NAMESPACE)
    }


def test_only_the_loop_counts_and_lines_of_one_function_are_one() -> None:
    loop = loop_of(SAMPLED)

    assert 100 == loop.samples
    assert 80 == loop.calls["accept (ingest/core/accept.py)"].samples


def test_a_function_has_its_own_time_and_that_of_what_it_called() -> None:
    told = {each["function"]: each for each in functions(loop_of(SAMPLED), 9)}

    assert (20.0, 80.0) == (told["accept"]["self"], told["accept"]["total"])
    assert (60.0, 60.0) == (told["dumps"]["self"], told["dumps"]["total"])
    assert (10.0, 100.0) == (told["event loop"]["self"], told["event loop"]["total"])
    assert "ingest/core/accept.py" == told["accept"]["file"]


def test_a_function_that_calls_itself_is_not_counted_twice() -> None:
    told = {each["function"]: each for each in functions(loop_of(SAMPLED), 9)}

    assert (10.0, 10.0) == (told["walk"]["self"], told["walk"]["total"])


def test_the_longest_come_first_and_no_more_than_asked_for() -> None:
    assert ["dumps", "accept"] == [
        each["function"] for each in functions(loop_of(SAMPLED), 2)
    ]


def test_in_the_picture_a_function_is_as_wide_as_its_share() -> None:
    found = boxes(drawn(loop_of(SAMPLED), "An <edge>", "under load"))

    widths = {title: float(box["width"]) for title, box in found.items()}
    whole = widths["event loop: 100.0 %"]
    assert 0.8 * whole == widths["accept (ingest/core/accept.py): 80.0 %"]
    assert 0.6 * whole == widths["dumps (orjson/__init__.py): 60.0 %"]


def test_the_picture_says_whose_code_is_whose() -> None:
    found = boxes(drawn(loop_of(SAMPLED), "", ""))

    assert "ours" == found["accept (ingest/core/accept.py): 80.0 %"]["class"]
    assert "theirs" == found["dumps (orjson/__init__.py): 60.0 %"]["class"]


def test_what_is_too_narrow_to_be_seen_is_left_out() -> None:
    crumbs = [f"{START};f{number} (a.py:1) 1" for number in range(3)]

    picture = drawn(loop_of([f"{START} 9997", *crumbs]), "", "")

    assert 1 == picture.count("<g>")


def test_no_sample_is_no_picture_of_anything_and_no_error() -> None:
    read(drawn(loop_of([]), "", ""))
