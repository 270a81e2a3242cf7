"""`python -m scripts.bench.baselines.arq_worker`: an arq worker on its defaults, a click a job.

Started by `contenders`, with REDIS_URL and DATABASE_URL in its environment.
"""

import os
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
from arq import run_worker
from arq.connections import RedisSettings

from scripts.bench.baselines.clicks import Book, Click


async def _start(context: dict[str, Any]) -> None:
    url = os.environ["DATABASE_URL"]  # noqa: TID251 -- an entry point
    context["pool"] = await asyncpg.create_pool(url)
    context["book"] = await Book.open(context["pool"])


async def _end(context: dict[str, Any]) -> None:
    await context["pool"].close()


async def record(context: dict[str, Any], click_id: UUID, *said: str) -> None:
    """The job: write one click; `said` is the rest of it, in order."""
    book: Book = context["book"]
    await book.write(Click(click_id, *said))


class _Settings:
    """What arq reads; all that is not here is at its default."""

    functions: ClassVar = [record]
    on_startup = _start
    on_shutdown = _end


def main() -> None:
    url = os.environ["REDIS_URL"]  # noqa: TID251 -- an entry point
    settings = RedisSettings.from_dsn(url)
    run_worker(_Settings, redis_settings=settings)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
