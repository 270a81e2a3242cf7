"""Affixo over HTTP: who a visitor is, and what becomes of conversions."""

from typing import Any
from uuid import UUID

import pytest

from ingest.contracts import apikey
from ingest.contracts.directory import GENERATION_KEY
from ingest.contracts.envelope import Kind
from tests.support.servers.cli import SECRET
from tests.support.servers.installation import Installation
from workers.publish.publisher import publish_changes

CLICK, LEAD = "/v1/track/click", "/v1/track/lead"
Answer = tuple[int, Any]


async def ask(
    site: Installation, path: str, *, key: str = "sa_live_demo", **body: Any
) -> Answer:
    headers = {"Authorization": f"Bearer {key}"}
    answer = await site.edges[0].post(path, json=body, headers=headers)
    return answer.status, await answer.json()


async def add_key(site: Installation, key: str, *scopes: str) -> None:
    """Mint a key of the demo workspace, as operators do."""
    [key_hash] = apikey.hashes([SECRET.encode()], key)
    await site.database.execute(
        "insert into api_keys (id, workspace_id, key_hash, last_four, scopes)"
        " select gen_random_uuid(), id, $1, right($2, 4), $3 from workspaces"
        " where name = 'demo'",
        key_hash,
        key,
        list(scopes),
    )
    await publish_changes(site.database, site.redis)


async def test_a_visitor_is_known_by_its_id_then_by_its_fingerprint(
    site: Installation,
) -> None:
    status, new = await ask(site, CLICK, ref="jane", fingerprint="fp-1")
    visitor = new["visitor_id"]
    known = await ask(site, CLICK, ref="alice123", visitor_id=visitor)
    seen = await ask(site, CLICK, ref="jane", fingerprint="fp-1")
    _, other = await ask(site, CLICK, ref="jane", fingerprint="fp-2")

    assert (200, "none", 0) == (status, new["match_method"], new["match_confidence"])
    by = {"ok": True, "visitor_id": visitor}
    assert (200, {**by, "match_method": "cookie", "match_confidence": 1}) == known
    by_fingerprint = {"match_method": "fingerprint", "match_confidence": 0.8}
    assert (200, by | by_fingerprint) == seen
    assert other["visitor_id"] != visitor
    first, *later = await site.appended()
    assert [first.id, first.id, None] == [event.click.root_id for event in later]


@pytest.mark.parametrize(
    ("key", "scopes", "expected"),
    [
        ("sa_live_all", ["*"], (200, None)),
        ("sa_live_read", ["read", "write"], (403, "insufficient_scope")),
        ("sa_live_none", [], (403, "insufficient_scope")),
        ("refa_live_jane", ["read"], (403, "insufficient_scope")),
    ],
)
async def test_a_key_needs_the_scope_to_track(
    site: Installation, key: str, scopes: list[str], expected: Answer
) -> None:
    await add_key(site, key, *scopes)

    status, answer = await ask(site, CLICK, key=key, ref="jane")

    assert expected == (status, answer.get("error"))
    if status == 403:
        assert {"error": "insufficient_scope", "need": "track"} == answer


async def test_what_is_no_key_of_ours_is_unauthorized(site: Installation) -> None:
    unknown = await ask(site, CLICK, key="sa_live_nobody", ref="jane")
    without = await site.edges[0].post(CLICK, json={"ref": "jane"})

    assert (401, {"error": "unauthorized"}) == unknown
    assert (401, {"error": "unauthorized"}) == (without.status, await without.json())


async def test_what_is_not_there_is_not_found(site: Installation) -> None:
    code = await ask(site, CLICK, ref="nobody")
    path = await site.edges[0].get("/v1/affiliates")

    assert (404, {"error": "link_not_found"}) == code
    assert (404, {"error": "unknown_resource"}) == (path.status, await path.json())


async def test_a_conversion_is_recorded_once_if_any_caller_asks_again(
    site: Installation,
) -> None:
    _, click = await ask(site, CLICK, ref="jane")
    lead = {"visitor_id": click["visitor_id"], "external_id": "signup-1"}

    first = await ask(site, LEAD, **lead)
    again = await ask(site, LEAD, **lead)
    # Every hint is forgotten, and so is every mark.
    for name in await site.redis.keys("rt:claim:*"):
        await site.redis.delete(name)
    later = await ask(site, LEAD, **lead)
    site.start_worker()
    await site.rests()

    assert first == again == later
    status, answer = first
    assert (200, True, True) == (status, answer["ok"], answer["attributed"])
    assert click["visitor_id"] == answer["visitor_id"]
    counted = "select clicks, leads from links where code = 'jane' and domain = ''"
    assert [(1, 1)] == await site.rows(counted)
    assert [(2,)] == await site.rows("select sum(repeats)::int from ledger")


async def test_leads_are_recorded_by_any_hint_and_without(site: Installation) -> None:
    _, click = await ask(site, CLICK, ref="jane", fingerprint="fp-1")
    hints: list[dict[str, Any]] = [
        {"visitor_id": click["visitor_id"]},
        {"fingerprint": "fp-1"},
        {"ref": "jane"},
        {"visitor_id": "vis_unknown", "fingerprint": "fp-9", "manual_code": "jane"},
        {"visitor_id": "vis_unknown", "ref": "nobody", "manual_code": "PAUSED10"},
    ]
    answers = [await ask(site, LEAD, **hint) for hint in hints]
    site.start_worker()
    await site.rests()

    assert [True] * 4 + [False] == [body["attributed"] for _, body in answers]
    assert (200, {"ok": True, "attributed": False}) == answers[-1]
    visitors = [body.get("visitor_id") for _, body in answers]
    assert [click["visitor_id"]] * 2 + [None] * 3 == visitors
    led = (
        "select code, count(*)::int from events left join links on links.id = link_id"
        " where kind = 'lead' group by code order by code nulls last"
    )
    assert [("jane", 4), (None, 1)] == await site.rows(led)
    counted = "select leads from links where code = 'jane' and domain = ''"
    assert [(4,)] == await site.rows(counted)
    assert [] == await site.rows("select reason from quarantine")


async def test_a_test_conversion_is_kept_counts_nothing_and_takes_no_place(
    site: Installation,
) -> None:
    _, click = await ask(site, CLICK, ref="jane")
    lead = {"visitor_id": click["visitor_id"], "external_id": "signup-1"}

    _, tried = await ask(site, LEAD, **lead, is_test=True)
    organic = await ask(site, LEAD, visitor_id="vis_x", is_test=True)
    _, real = await ask(site, LEAD, **lead)
    site.start_worker()
    await site.rests()

    assert (200, {"ok": True, "attributed": False}) == organic
    assert tried["conversion_id"] != real["conversion_id"]
    kept = "select is_test, count(*)::int from events where kind = 'lead' group by 1"
    assert [(False, 1), (True, 2)] == await site.rows(f"{kept} order by 1")
    counted = "select leads from links where code = 'jane' and domain = ''"
    assert [(1,)] == await site.rows(counted)


async def test_without_a_directory_a_lead_is_taken_and_placed_by_a_worker(
    site: Installation,
) -> None:
    await site.redis.delete(GENERATION_KEY)
    for name in await site.redis.keys("rt:dir:*"):
        await site.redis.delete(name)

    # Whose fingerprint it is cannot be asked without the key's workspace.
    answer = await ask(site, LEAD, fingerprint="fp-1", ref="jane", external_id="s-1")

    assert (200, {"ok": True, "attributed": False}) == answer
    [envelope] = await site.appended()
    assert (Kind.LEAD, "jane", None) == (
        envelope.kind,
        envelope.target.code,
        envelope.request.workspace_id,
    )
    site.start_worker()
    await site.rests()
    counted = "select leads from links where code = 'jane' and domain = ''"
    assert [(1,)] == await site.rows(counted)


async def test_a_workspace_sees_nothing_of_another(site: Installation) -> None:
    _, click = await ask(site, CLICK, ref="jane")
    elsewhere = UUID(int=77)
    await site.database.execute(
        "insert into workspaces (id, name) values ($1, 'elsewhere')", elsewhere
    )
    await add_key(site, "sa_live_other", "track")
    await site.database.execute(
        "update api_keys set workspace_id = $1 where last_four = 'ther'", elsewhere
    )
    await publish_changes(site.database, site.redis)

    clicked = await ask(site, CLICK, key="sa_live_other", ref="jane")
    visitor = click["visitor_id"]
    led = await ask(site, LEAD, key="sa_live_other", visitor_id=visitor, ref="jane")

    assert (404, {"error": "link_not_found"}) == clicked
    assert (200, {"ok": True, "attributed": False}) == led
