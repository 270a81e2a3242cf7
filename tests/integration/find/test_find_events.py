"""`reftide events`: lists by event time, and follows what is recorded."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest

from scripts.commands.operate import events as command
from scripts.environment import Environment
from scripts.services.find import events
from tests.support.directory import (
    LINKS,
    NOON_MS,
    PARTNERS,
    a_click,
    a_lead,
    a_sale,
    an_id,
)
from tests.support.environment import inherited
from tests.support.servers.cli import NOW, Cli
from tests.support.servers.installation import ROOT
from tests.support.workers.recording import MANY_CLICKS, record
from workers.postgres.database import Pool

HOUR_MS = 3600 * 1000


async def _lines(cli: Cli, *arguments: str) -> list[Any]:
    """What `events list` prints with --json."""
    done = await asyncio.to_thread(cli.run, "events", "list", *arguments, "--json")
    assert 0 == done.code, done.err
    return [orjson.loads(line) for line in done.out.splitlines()]


def _ids(listed: Iterable[Any]) -> list[str]:
    return [event["id"] for event in listed]


async def _a_day(pool: Pool) -> None:
    """Two clicks, one of a bot, a test, and a lead and a sale of the first one's visitor."""
    await record(
        pool,
        a_click(1, is_test=False),
        a_click(2, at=NOON_MS + 1, link_id=LINKS[1], user_agent="curl/8.0"),
        a_click(3, at=NOON_MS + 2, is_test=True),
        a_lead(4, at=NOON_MS + 3, click_id=an_id(1), external_id="user_123"),
        a_sale(5, at=NOON_MS + 4, external_id="user_123"),
    )


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((), [5, 4, 3, 2, 1]),
        (("--link", "L0"), [5, 4, 1]),
        (("--link", "L0", "--kind", "click"), [1]),
        (("--partner", "prt34"), [2]),
        (("--customer", "user_123"), [5, 4, 1]),
        (("--customer", "user_123", "--link", "L1"), []),
        (("--workspace", "here", "--kind", "sale"), [5]),
        (("--workspace", "elsewhere"), []),
        (("--since", "2025-03-10T12:00:00.002"), [5, 4, 3]),
        (("--until", "2025-03-10T12:00:00.002"), [2, 1]),
        (("--limit", "2"), [5, 4]),
    ],
)
async def test_events_are_listed_by_what_they_are_about(
    pool: Pool, cli: Cli, filters: tuple[str, ...], expected: list[int]
) -> None:
    await _a_day(pool)

    listed = await _lines(cli, *filters)

    assert expected == [int(event["id"][-2:], 16) for event in listed]


async def test_an_event_is_listed_with_what_people_call_things(
    pool: Pool, cli: Cli
) -> None:
    await _a_day(pool)

    sale, _, test, bot, _ = await _lines(cli)

    assert ("here", "L0", 1, "prt33", "user_123", 4900, "USD", str(an_id(1))) == tuple(
        sale[name]
        for name in (
            "workspace", "link", "program", "partner", "customer", "amount", "currency",
            "attributed_id",
        )
    )  # fmt: skip
    assert (True, True) == (test["is_test"], bot["is_bot"])
    shown = await asyncio.to_thread(cli.run, "events", "list")
    assert "user_123" in shown.out
    assert re.search(r"click +L1 +prt34 +bot", shown.out)


@pytest.mark.parametrize("filters", [(), ("--link", "L0"), ("--customer", "user")])
async def test_pages_hold_every_event_once_though_many_happen_at_one_time(
    pool: Pool, cli: Cli, filters: tuple[str, ...]
) -> None:
    click = a_click(1)
    leads = [
        a_lead(number, at=NOON_MS + number // 4, click_id=click.id, name=str(number))
        for number in range(2, 12)
    ]
    await record(pool, click, *leads)

    found: list[str] = []
    after: tuple[str, ...] = ()
    while page := _ids(await _lines(cli, *filters, *after, "--limit", "3")):
        found += page
        after = ("--after", page[-1])

    assert found == _ids(await _lines(cli, *filters))
    assert 11 == len(set(found))


async def test_a_full_page_says_how_to_go_on(pool: Pool, cli: Cli) -> None:
    await _a_day(pool)

    shown = await asyncio.to_thread(cli.run, "events", "list", "--limit", "2")

    assert f"--after {an_id(4, NOON_MS + 3)}" in shown.out
    refused = cli.refusal
    unknown = await asyncio.to_thread(
        refused, "events", "list", "--after", str(an_id(99))
    )
    assert "is recorded" in unknown


async def test_an_event_of_long_ago_is_listed_behind_those_of_today(
    pool: Pool, cli: Cli
) -> None:
    today = int(NOW * 1000)
    times = [today - ago * HOUR_MS for ago in (0, 2, 48, 24 * 60, 24 * 365)]
    clicks = [a_click(number, at=at) for number, at in enumerate(times)]
    await record(pool, *clicks, now=today)

    assert [str(click.id) for click in clicks] == _ids(await _lines(cli))


async def test_a_list_is_csv_where_it_is_asked_for(pool: Pool, cli: Cli) -> None:
    await _a_day(pool)

    listed = await asyncio.to_thread(cli.run, "events", "list", "--csv")

    head, sale, *_ = (line.split(",") for line in listed.out.splitlines())
    told = dict(zip(head, sale, strict=True))
    assert ("sale", "4900", "user_123", "2025-03-10T12:00:00.004000+00:00") == (
        told["kind"], told["amount"], told["customer"], told["at"],
    )  # fmt: skip


class _Turns:
    """Between two looks at the database, the next thing happens; then it ends."""

    def __init__(self, *happenings: Callable[[], Any]) -> None:
        self._left = list(happenings)

    async def __call__(self) -> bool:
        if not self._left:
            return False
        await self._left.pop(0)()
        return True


async def test_events_are_followed_as_they_are_recorded_each_once(pool: Pool) -> None:
    await record(pool, a_click(1))
    turns = _Turns(
        lambda: record(pool, a_click(2), a_click(3, link_id=LINKS[1])),
        # Its time is long past; it is news all the same.
        lambda: record(pool, a_click(4, at=NOON_MS - 24 * HOUR_MS)),
        lambda: record(pool, a_click(2)),
    )

    async with pool.acquire() as connection:
        everything = events.EventFilter()
        followed = [
            event["id"]
            async for event in events.follow(connection, everything, 2, turns)
        ]

    assert sorted([an_id(2), an_id(3)]) == sorted(followed[:2])
    assert [an_id(4, NOON_MS - 24 * HOUR_MS)] == followed[2:]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"link": "L1"}, [3]),
        ({"customer": "user"}, [5]),
        ({"kind": "click", "workspace": "here"}, [2, 3]),
    ],
)
async def test_what_is_followed_is_chosen_like_what_is_listed(
    pool: Pool,
    cli: Cli,
    capsys: pytest.CaptureFixture[str],
    chosen: dict[str, str],
    expected: list[int],
) -> None:
    await record(pool, a_lead(1))
    turns = _Turns(
        lambda: record(
            pool, a_click(2), a_click(3, link_id=LINKS[1]), a_lead(5, name="again")
        )
    )
    nothing = dict.fromkeys(
        ("workspace", "link", "domain", "partner", "kind", "customer")
    )
    asked = {**nothing, **chosen, "as_json": True, "as_csv": False}

    await command.tailed(Environment(cli.variables, lambda: NOW), asked, turns)

    told = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [str(an_id(number)) for number in expected] == sorted(_ids(told))


async def test_each_list_is_read_by_an_index(pool: Pool) -> None:
    await record(pool, *[a_click(number) for number in range(8)])
    await pool.execute(MANY_CLICKS)
    await pool.execute("vacuum analyze events")
    noon = await pool.fetchval("select at from events where id = $1", an_id(1))
    hour = (noon.replace(hour=13), noon.replace(hour=14))
    of_anybody, of_a_link = (None,) * 4, (None, None, None, LINKS[1])
    rest = (None, None, 50)
    present = await pool.fetchval("select now()")
    asked = [
        ("by_customer", *of_anybody, None, None, *rest, [an_id(1)], [an_id(1)]),
        ("by_time", *of_anybody, *hour, *rest),
        ("by_time", *of_a_link, None, None, *rest),
        ("by_time", None, PARTNERS[1], None, None, None, None, *rest),
        ("by_ids", [an_id(1)]),
        ("news", *of_anybody, None, None, *rest, None, None, present, []),
    ]

    for name, *values in asked:
        plan = "\n".join(
            row[0] for row in await pool.fetch(f"explain {events._SQL[name]}", *values)
        )
        assert not re.search(r"Seq Scan on events", plan), (name, plan)


def test_ctrl_c_ends_it_without_a_word(shop: Cli) -> None:
    command = [sys.executable, "-m", "scripts.cli", "events", "tail", "--csv"]
    # Else the command ignores it where tests run in the background of a shell.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    tail = subprocess.Popen(
        command,
        env={**inherited(), **shop.variables},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    assert tail.stdout
    assert tail.stdout.readline().startswith("id,at,kind")

    tail.send_signal(signal.SIGINT)

    assert ("", "") == tail.communicate(timeout=60)
    assert 0 == tail.returncode
