"""`python -m scripts.bench.baselines.fastapi_app PORT PROCESSES`: FastAPI on uvicorn, with asyncpg.

A click is written in its request: 200 means that it is committed. DATABASE_URL is in its
environment.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict

from scripts.bench.baselines.clicks import Click, ClickWriter
from scripts.bench.load.traffic import PATH

_ME: Final = "scripts.bench.baselines.fastapi_app"


class Body(BaseModel):
    """What a tracker sends; what is not named here is kept as it is."""

    model_config = ConfigDict(extra="allow")

    affiliate_url: str
    page_url: str = ""
    referrer_url: str = ""
    session_id: str = ""
    user_agent: str = ""


class Answer(BaseModel):
    """What it is told."""

    success: bool
    click_id: str


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = os.environ["DATABASE_URL"]  # noqa: TID251 -- an entry point
    async with asyncpg.create_pool(url) as pool:
        app.state.writer = await ClickWriter.open(pool)
        yield


app = FastAPI(lifespan=_lifespan)


@app.post(PATH)
async def track(body: Body, request: Request) -> Answer:
    """Write one click."""
    click = Click.of(body.model_dump(), request.headers["x-forwarded-for"])
    try:
        await request.app.state.writer.write(click)
    except KeyError as error:
        raise HTTPException(404, "no such link") from error
    return Answer(success=True, click_id=str(click.id))


if __name__ == "__main__":
    port, processes = map(int, sys.argv[1:])
    uvicorn.run(
        f"{_ME}:app",
        port=port,
        workers=processes,
        access_log=False,
        log_level="warning",
    )
