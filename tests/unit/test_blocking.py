"""A coroutine of the product that blocks its loop fails the test; a test's own may."""

import asyncio
import time
from pathlib import Path

import pytest
from blockbuster import BlockingError

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
import time

async def block():
    time.sleep(0)
"""


def blocking_at(file: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(compile(SOURCE, str(ROOT / file), "exec"), names)  # noqa: S102
    return names


@pytest.mark.parametrize("file", ["ingest/some.py", "workers/some/other.py"])
async def test_a_coroutine_of_the_product_may_not_block(file: str) -> None:
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        await blocking_at(file)["block"]()  # type: ignore[operator]


@pytest.mark.parametrize("file", ["scripts/some.py", "tests/some.py"])
async def test_commands_and_tests_have_their_loop_to_themselves(file: str) -> None:
    await blocking_at(file)["block"]()  # type: ignore[operator]


async def test_a_thread_may_block() -> None:
    await asyncio.to_thread(time.sleep, 0)
