"""What is answered without the HTTP framework reads as what is answered with it."""

from pathlib import Path
from uuid import UUID

from msgspec.structs import replace

from ingest.contracts.envelope import Envelope
from tests.support.edge.redirecting import (
    DOMAIN,
    Landed,
    a_link,
    a_visitor,
    on_domain,
    publish,
)
from tests.support.servers.edges import recorded
from tests.support.servers.raw_http import an_edge

TARGETS = ("/r/ALICE?x=1", "/r/alice", "/alice", "/Alice", "/p/ALICE.gif", "/r/OFF")
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"User_Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/153.0"},
    {"Referer": "https://blog.example/post", "X_Forwarded_For": "198.51.100.7"},
    {"Referer": "x" * 3000, "User_Agent": "y" * 2000},
    {"Referer": ""},
    {"X_Forwarded_For": "2001:db8::1"},
    {"Sec_GPC": "1"},
    {"Sec_Purpose": "prefetch"},
)


def unnamed(event: Envelope) -> Envelope:
    return replace(event, id=UUID(int=0), request=replace(event.request, at=0))


def shape(landed: Landed) -> object:
    said = landed.headers.items() - {("date", landed.headers["date"])}
    texts = (f"{name}: {value}" for name, value in said)
    return landed.status, landed.body, {text.partition("clk_")[0] for text in texts}


async def test_a_visit_is_answered_and_recorded_alike_either_way(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url, on_domain("alice"), a_link("OFF", is_active=False))
    answers: list[list[object]] = [[], []]
    events: list[list[Envelope]] = [[], []]
    trusted = {"REFTIDE_TRUSTED_PROXIES": "127.0.0.0/8"}
    async with an_edge(redis_url, tmp_path, changes=trusted) as edge:
        for side, is_plain in enumerate((True, False)):
            async with a_visitor(edge, is_plain=is_plain) as visitor:
                for headers in HEADERS:
                    for target in TARGETS:
                        landed = await visitor.get(target, DOMAIN, **headers)
                        answers[side].append(shape(landed))
            known = {event.id for side in events for event in side}
            new = [each for each in await recorded(redis_url) if each.id not in known]
            events[side] = sorted(new, key=lambda event: event.id.bytes)

    assert answers[0] == answers[1]
    assert [*map(unnamed, events[0])] == [*map(unnamed, events[1])]
    assert len(events[0]) > len(HEADERS)
