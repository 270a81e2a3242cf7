"""The order of the demo: examples, traffic, waiting, reckoning. Used by `reftide demo`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from uuid_utils.compat import uuid7

from scripts.demo import findings
from scripts.demo.findings import Check, Run
from scripts.demo.progress import Look, Progress, look
from scripts.demo.sending import Answer, Sender, send_example, session
from scripts.demo.stage import Link, furnish, read_links
from scripts.demo.tally import Fact, Tally
from scripts.demo.traffic import LEADS, Traffic
from scripts.demo.vendors import EXAMPLES, Example
from scripts.demo.view import shown
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.output import printable
from scripts.servers import postgres
from scripts.services.observe.verify import verify
from scripts.sql import statements

_SQL: Final = statements("demo/demo")

_CONNECTIONS: Final = 64
_SETTLE_SECONDS: Final = 5.0
_RECORD_SECONDS: Final = 60.0
_VERIFY_SECONDS: Final = 10.0
_LOOK_AGAIN_SECONDS: Final = 0.2
_BODY_SHOWN: Final = 100
_OK: Final = 200

_ANSWERED: Final = Fact("answered 200", "the vendors' examples")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was asked for. `url` is None where the instance says it."""

    clicks: int
    seed: int
    url: str | None
    is_silent: bool


@dataclass(slots=True)
class _Stage:
    """What the reckoning compares with."""

    run: Run
    tally: Tally
    links: list[Link]
    look: Look


async def play(environment: Environment, plan: Plan, say: Say) -> dict[str, Any]:
    """Fire, wait and compare; the report. Raises Unreachable and UsageProblem."""
    url = (plan.url or environment.edge_url()).rstrip("/")
    async with session(url, _CONNECTIONS) as http, _alone(environment):
        await _is_ready(http, url)
        say(f"Firing at {url}")
        codes = await furnish(environment)
        examples = await _examples(http, url, say)
        stage = await _before(environment)
        planned = plan.clicks + round(plan.clicks * LEADS)
        say(f"\n{plan.clicks:,} clicks and about {planned - plan.clicks:,} leads")
        progress = Progress(environment, stage.tally, planned, stage.look)
        sender = Sender(http, stage.run.mark, stage.tally)
        async with _followed(progress), shown(progress, is_silent=plan.is_silent):
            for visits in Traffic(codes, plan.clicks, plan.seed).rounds():
                await sender.play(visits, _CONNECTIONS)
            sent_in = progress.figures().seconds
            await _recorded(environment, stage, progress)
            recorded_in = progress.figures().seconds
    report = await _reckon(environment, stage, examples)
    took = {
        "sent": round(sent_in, 2),
        "recorded": round(recorded_in, 2),
        "requests_per_second": round(stage.tally.sent.total() / max(sent_in, 0.001)),
    }
    return {"url": url, "seed": plan.seed, "seconds": took, **report}


@asynccontextmanager
async def _alone(environment: Environment) -> AsyncIterator[None]:
    """Two demos at once would count each other's clicks as their own."""
    async with postgres(environment) as connection:
        if not await connection.fetchval(_SQL["only_one"]):
            raise UsageProblem(
                "Another demo runs at this installation.", "wait until it has ended."
            )
        yield


async def _is_ready(http: aiohttp.ClientSession, url: str) -> None:
    remedy = "run `reftide up`, or say where an edge is with --url."
    try:
        async with http.get("/readyz") as answered:
            body = await answered.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unreachable(f"No edge answers at {url}: {error}", remedy) from error
    if answered.status != _OK:
        said = printable(body.decode("utf-8", "replace"))
        raise Unreachable(f"The edge at {url} is not ready: {said}", remedy)


async def _examples(
    http: aiohttp.ClientSession, url: str, say: Say
) -> list[dict[str, Any]]:
    sent = []
    for example in EXAMPLES:
        try:
            answer = await send_example(http, example)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unreachable(
                f"{example.vendor}'s example got no answer: {error}",
                "see whether the edge is still there: `reftide status`.",
            ) from error
        _tell(say, url, example, answer)
        sent.append(
            {
                "vendor": example.vendor,
                "request": f"{example.method} {example.path}",
                "status": answer.status,
                "answer": answer.document,
            }
        )
    return sent


def _tell(say: Say, url: str, example: Example, answer: Answer) -> None:
    body = " ".join(example.body.decode().split())
    if len(body) > _BODY_SHOWN:
        body = body[:_BODY_SHOWN] + " …"
    said = orjson.dumps(answer.document, option=orjson.OPT_INDENT_2).decode()
    lines = [
        f"{example.vendor}, {example.what}, as its page prints it:",
        f"  > {example.method} {url}{example.path}",
        *(f"  > {name}: {value}" for name, value in example.headers.items()),
        *([f"  > {body}"] if body else []),
        f"  < {answer.status}",
        *(f"  < {printable(text)}" for text in said.splitlines()),
    ]
    say("\n" + "\n".join(lines))


async def _before(environment: Environment) -> _Stage:
    """What the books and the links say once nothing is in flight, or soon after."""
    found = await look(environment)
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            while not found.is_at_rest:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                found = await look(environment)
    except TimeoutError:
        pass  # others send too: what is the run's own is counted by its mark
    run = Run.named(f"run-{uuid7().hex}", environment.clock())
    async with postgres(environment) as connection:
        links = await read_links(connection)
    return _Stage(run, Tally(), links, found)


@asynccontextmanager
async def _followed(progress: Progress) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(progress.follow())
        try:
            yield
        finally:
            progress.end()


async def _recorded(
    environment: Environment, stage: _Stage, progress: Progress
) -> None:
    """Return when everything that was accepted is recorded, or the time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _RECORD_SECONDS
    while loop.time() < deadline:
        try:
            async with postgres(environment) as connection:
                found = await findings.arrived(connection, stage.run)
        except Unreachable:
            found = None
        await progress.refresh()
        # What had no answer may still be on its way.
        is_settled = not stage.tally.uncertain or progress.last.is_at_rest
        if found is not None and is_settled and findings.has_all(found, stage.tally):
            return
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _reckon(
    environment: Environment, stage: _Stage, examples: list[dict[str, Any]]
) -> dict[str, Any]:
    async with postgres(environment) as connection:
        found = await findings.arrived(connection, stage.run)
        links = await read_links(connection)
        people = await findings.people(connection, stage.run)
    grown = findings.growth(stage.links, links)
    checks = [
        _answered(examples),
        *findings.compare({**found, **grown}, stage.tally),
    ]
    verified = await verify(environment, _VERIFY_SECONDS)
    wrong = [check for check in checks if not check.is_right]
    return {
        "ok": not wrong and verified["ok"],
        "run": stage.run.mark,
        "examples": examples,
        **_answers(stage.tally),
        "recorded": findings.by_name(found),
        "top_links": findings.top_links(stage.links, links),
        **people,
        "checked": len(checks),
        "differences": [check.row() for check in wrong],
        "verify": verified,
    }


def _answered(examples: list[dict[str, Any]]) -> Check:
    answered = sum(example["status"] == _OK for example in examples)
    return Check(_ANSWERED, len(examples), len(examples), answered)


def _answers(tally: Tally) -> Mapping[str, Any]:
    return {
        "sent": dict(tally.sent),
        "accepted": tally.accepted,
        "accepted_events": tally.events,
        "refused": dict(tally.refused.most_common()),
        "unanswered": dict(tally.unanswered.most_common()),
        "uncertain": tally.uncertain,
        "skipped_leads": tally.skipped,
    }
