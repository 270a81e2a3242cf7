"""The order of the demo: examples, traffic, waiting, checking."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from uuid_utils.compat import uuid7

from scripts.demo import records
from scripts.demo.links import CODES, furnished
from scripts.demo.progress import Following, shown
from scripts.demo.records import Run
from scripts.demo.sender import (
    TROUBLE,
    Answer,
    Sender,
    Tally,
    send_example,
    session,
)
from scripts.demo.traffic import LEAD_EVERY, clicks
from scripts.demo.vendors import EXAMPLES, VendorRequest
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.locking import alone
from scripts.output import printable
from scripts.servers import PostgresAway, postgres
from scripts.services.observe.verify import is_at_rest, verify
from scripts.sql import statements

_SQL: Final = statements("demo/demo")
_RECORD_SECONDS: Final = 60.0
_VERIFY_SECONDS: Final = 10.0
_LOOK_AGAIN_SECONDS: Final = 0.2
_BODY_SHOWN: Final = 100
_OK: Final = 200

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was asked for. `url` is None where the instance says it."""

    clicks: int
    seed: int
    url: str | None
    is_silent: bool


async def play(environment: Environment, plan: Plan, say: Say) -> dict[str, Any]:
    """Send, wait and compare; the report. Raises Unreachable and UsageProblem."""
    url = (plan.url or environment.edge_url()).rstrip("/")
    run = Run.named(f"run-{uuid7().hex}", environment.clock())
    async with session(url) as http, _alone(environment):
        await _require_ready(http, url)
        say(f"Sending to {url}")
        async with furnished(environment) as forward:
            examples = await _examples(http, url, say)
            leads = plan.clicks // LEAD_EVERY
            say(f"\n{plan.clicks:,} clicks and {leads:,} leads")
            tally = Tally()
            progress = await Following.of(environment, tally, plan.clicks + leads)
            async with shown(progress, is_silent=plan.is_silent):
                made = clicks(run.mark, CODES, plan.clicks, plan.seed)
                await Sender(http, run.mark, forward, tally).send(made)
                sent_in = progress.seconds
                await _recorded(environment, run, progress)
                recorded_in = progress.seconds
    return {
        "url": url,
        "seed": plan.seed,
        "seconds": {
            "sent": round(sent_in, 2),
            "recorded": round(recorded_in, 2),
            "requests_per_second": round(tally.sent.total() / max(sent_in, 0.001)),
        },
        **await _report(environment, run, tally, examples),
    }


@asynccontextmanager
async def _alone(environment: Environment) -> AsyncIterator[None]:
    """Two demos at once would make the same links.

    If PostgreSQL ends meanwhile, its links are made: the demo goes on without the lock.
    """
    problem = UsageProblem(
        "Another demo runs at this installation.", "wait until it has ended."
    )
    is_done = False
    try:
        async with alone(environment, _SQL["only_one"], otherwise=problem):
            yield
            is_done = True
    except PostgresAway:
        if not is_done:
            raise


async def _require_ready(http: aiohttp.ClientSession, url: str) -> None:
    remedy = "run `reftide up`, or say where an edge is with --url."
    try:
        async with http.get("/readyz") as answered:
            body = await answered.read()
    except TROUBLE as error:
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
        except TROUBLE as error:
            raise Unreachable(
                f"{example.vendor}'s example got no answer: {error}",
                "see whether the edge is still there: `reftide status`.",
            ) from error
        say(_shown(url, example, answer))
        sent.append(
            {
                "vendor": example.vendor,
                "request": f"{example.method} {example.path}",
                "status": answer.status,
                "answer": answer.document,
            }
        )
    return sent


def _shown(url: str, example: VendorRequest, answer: Answer) -> str:
    body = " ".join(example.body.decode().split())
    if len(body) > _BODY_SHOWN:
        body = body[:_BODY_SHOWN] + " …"
    said = orjson.dumps(answer.document, option=orjson.OPT_INDENT_2).decode()
    lines = [
        f"\n{example.vendor}, {example.what}, as its page prints it:",
        f"  > {example.method} {url}{example.path}",
        *(f"  > {name}: {value}" for name, value in example.headers.items()),
        *([f"  > {body}"] if body else []),
        f"  < {answer.status}",
        *(f"  < {printable(text)}" for text in said.splitlines()),
    ]
    return "\n".join(lines)


async def _recorded(environment: Environment, run: Run, progress: Following) -> None:
    """Return when everything that was accepted is recorded, or the time is up."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _RECORD_SECONDS
    while clock() < deadline:
        await progress.look()
        # What had no answer may still be on its way.
        is_settled = not progress.tally.uncertain or is_at_rest(progress.last)
        if is_settled and await _has_all(environment, run, progress.tally):
            return
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _has_all(environment: Environment, run: Run, tally: Tally) -> bool:
    try:
        async with postgres(environment) as connection:
            return records.has_all(await records.arrived(connection, run), tally)
    except Unreachable:
        return False


async def _report(
    environment: Environment, run: Run, tally: Tally, examples: list[dict[str, Any]]
) -> dict[str, Any]:
    async with postgres(environment) as connection:
        found = await records.arrived(connection, run)
        seen = await records.seen(connection, run)
    verified = await verify(environment, _VERIFY_SECONDS)
    wrong = records.differences(found, tally)
    all_answered = all(example["status"] == _OK for example in examples)
    return {
        "ok": not wrong and all_answered and verified["ok"],
        "run": run.mark,
        "examples": examples,
        "sent": dict(tally.sent),
        "accepted": tally.accepted,
        "accepted_events": tally.events,
        "refused": dict(tally.refused.most_common()),
        "unanswered": dict(tally.unanswered.most_common()),
        "uncertain": tally.uncertain,
        "skipped_leads": tally.skipped,
        "recorded": found,
        **seen,
        "checked": len(records.COMPARED),
        "differences": wrong,
        "verify": verified,
    }
