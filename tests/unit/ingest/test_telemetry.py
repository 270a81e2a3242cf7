import asyncio
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import TextIO

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from ingest.contracts.telemetry import Bounded, Log, configure_logging
from tests.support.edge.fakes import FixedClock

Line = tuple[str, str, object, object]


def facts(logs: list[dict[str, object]]) -> list[Line]:
    return [
        (
            str(line["event"]),
            str(line["log_level"]),
            line["code"],
            line.get("suppressed"),
        )
        for line in logs
    ]


def test_of_many_warnings_one_a_second_is_written_and_the_rest_are_counted() -> None:
    clock = FixedClock(100)
    bounded = Bounded("edge.link_unknown", clock)

    with capture_logs() as logs:
        for second in range(3):
            clock.now = 100 + second
            for number in range(1000):
                bounded.warning(code=f"{second}-{number}")

    assert [
        ("edge.link_unknown", "warning", "0-0", None),
        ("edge.link_unknown", "warning", "1-0", 999),
        ("edge.link_unknown", "warning", "2-0", 999),
    ] == facts(logs)


def test_warnings_that_come_seldom_are_all_written() -> None:
    clock = FixedClock(100)
    bounded = Bounded("edge.link_unknown", clock, every=5)

    with capture_logs() as logs:
        for now in (100, 105, 110, 111, 300):
            clock.now = now
            bounded.warning(code=now)

    assert [(100, None), (105, None), (110, None), (300, 1)] == [
        line[2:] for line in facts(logs)
    ]


def test_what_a_terminal_obeys_is_escaped() -> None:
    text = "\0\r\n\x1b[2J\x7f\x85\x9b2J\u2028\u2029é"
    written = StringIO()
    with configured(written):
        structlog.get_logger().warning("edge.link_unknown", code=text)

    [line] = written.getvalue().splitlines()
    assert text == orjson.loads(line)["code"]
    assert line.isprintable()


async def test_what_libraries_say_is_a_line_of_ours() -> None:
    async def broken() -> None:
        raise LookupError("nobody waits for this")

    written = StringIO()
    with configured(written):
        logging.getLogger("somebody").info("not of interest")
        logging.getLogger("somebody").warning("%d times", 3)
        task = asyncio.create_task(broken())
        await asyncio.sleep(0)
        del task
        gc.collect()

    said, lost = map(orjson.loads, written.getvalue().splitlines())
    assert ("warning", "somebody", "3 times") == (
        said["level"],
        said["library"],
        said["text"],
    )
    assert ("error", "asyncio") == (lost["level"], lost["library"])
    assert "never retrieved" in lost["text"]
    assert "nobody waits for this" in lost["exception"]


def test_a_log_on_a_full_disk_ends_nobody() -> None:
    # Closing it fails, too: what it was told is still to be written.
    with suppress(OSError), Path("/dev/full").open("w", encoding="utf-8") as full:
        with configured(full):
            for _ in range(1000):
                Log().warning("spool.failed", why="x" * 100)
            logging.getLogger("somebody").error("said")
        with pytest.raises(OSError, match="No space left"):
            full.flush()


@contextmanager
def configured(written: TextIO) -> Iterator[None]:
    """Logs go there meanwhile."""
    root = logging.getLogger()
    before, level, former = structlog.get_config(), root.level, root.handlers[:]
    try:
        configure_logging("info", written)
        yield
    finally:
        structlog.configure(**before)
        root.setLevel(level)
        root.handlers[:] = former
