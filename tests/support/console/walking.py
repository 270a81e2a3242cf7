"""An installation whose every text is hostile, and a path of every page that shows them."""

import asyncio
from uuid import UUID

from uuid_utils.compat import uuid7

from tests.support.servers.cli import Cli, servers_of

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"
EVENT, CUSTOMER = uuid7(), UUID(int=0x99)
#: An address of every page: by its name, with what it shows.
PATHS = {
    "overview": "overview",
    "streams": "streams",
    "rewind": "rewind?group=%3Cscript%3Ealert(1)%3C/script%3E",
    "quarantine": "quarantine",
    "quarantine-act": "quarantine-act?act=redrive+all",
    "quarantine-entry": "quarantine/1",
    "quarantine-progress": "quarantine/acts/2",
    "events": "events",
    "events-one": f"events/{EVENT}",
    "events-customer": f"customers/{CUSTOMER}",
    "replays": "replays",
    "replays-one": f"replays/{CUSTOMER}",
    "traffic": "traffic",
    "links": "links",
    "links-new": "new-link?partner=%3Cscript%3Ealert(1)%3C/script%3E",
    "links-import": "import",
    "links-one": "links/lnk_hostile",
    "links-partners": "partners",
    "links-partner": "partners/prt_hostile",
    "links-programs": "programs",
    "links-program": "programs/1",
    "links-milestones": "milestones",
    "operations": "operations",
    "operations-access": "operations/access",
    "operations-limits": "operations/limits",
    "operations-storage": "operations/storage",
    "operations-checks": "operations/checks",
    "operation": "operations/1",
}

_SHOP = (
    ("programs", "add", "Shop", "--url", "https://shop.example"),
    ("partners", "add", "jane"),
    ("links", "add", "SUMMER", "--program", "1", "--partner", "jane"),
)
_WRITE = """
update programs set name = $1;
update partners set name = $1, email = $1, public_id = 'prt_hostile', image = $1;
update links set code = $1, url = $1, fallback_url = $1, external_id = $1, public_id = 'lnk_hostile';
insert into milestones (id, program_id, name, converts)
select '00000000-0000-0000-0000-000000000096', id, $1, 1 from programs;
insert into awards (milestone_id, partner_id, event_id)
select '00000000-0000-0000-0000-000000000096', id, '%s' from partners;
insert into link_aliases select '-', 'alias ' || $1, id from links;
insert into operations (who, what, arguments, workspace_id)
select $1, $1, jsonb_build_object('link', 'lnk_hostile', 'partner', 'prt_hostile', $1, $1), workspace_id from links;
insert into operations (who, what, arguments, result)
values ($1, 'quarantine redrive', jsonb_build_object('text', $1), '{"discarded": 1}');
insert into quarantine (epoch, shard, entry_ms, entry_seq, kind, dialect, workspace_id, code, reason,
                        detail, payload, consumer)
select 9, 0, 1, 0, 'click', $1, workspace_id, $1, 'unknown_link', $1, convert_to($1, 'UTF8'), $1 from links;
insert into customers (id, workspace_id, external_id, seen_at, name)
select '00000000-0000-0000-0000-000000000099', workspace_id, $1, now(), $1 from links;
insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard, entry_seq, entry_ms,
                    workspace_id, link_id, program_id, partner_id, customer_id, dialect, name, page_url, session,
                    purpose, country, region, city, device, os, browser, referrer_host)
select '%s', now(), 0, 'lead', false, false, false, 1, 1, 0, 0, 1,
       workspace_id, id, program_id, partner_id, '00000000-0000-0000-0000-000000000099', $1, $1, $1, $1,
       $1, 'DE', $1, $1, $1, $1, $1, $1
  from links;
insert into replays (id, mode, requested)
select '00000000-0000-0000-0000-000000000099', 'missing',
       jsonb_build_object('from_ms', 0, 'to_ms', 1, 'dialect', $1, 'codes', array[$1]);
insert into switches (scope, subject, reason) values ('link', $1, $1);
insert into api_keys (id, workspace_id, name, key_hash, last_four, scopes)
select '00000000-0000-0000-0000-000000000098', workspace_id, $1, decode(repeat('00', 32), 'hex'), '<b>x', array['track'] from links;
insert into erasures (id, workspace_id, customer_id, customers, clicks, who, note)
select '00000000-0000-0000-0000-000000000097', workspace_id, id, '{}', '{}', $1, $1 from links;
insert into pauses (cause, detail, consumer) values ('bug', $1, $1)
"""


async def hostile_shop(redis_url: str, database_url: str) -> Cli:
    """An installation in which every page has something to show, hostile as it is."""
    cli = servers_of(redis_url, database_url)
    for arguments in _SHOP:
        await asyncio.to_thread(cli.document, *arguments)
    await poison(cli)
    return cli


async def poison(shop: Cli) -> None:
    """Put the hostile text wherever a client or a user may put one."""

    def write() -> None:
        quoted = "'" + HOSTILE.replace("'", "''") + "'::text"
        for statement in _WRITE.split(";\n"):
            shop.fetch(statement.replace("$1", quoted).replace("%s", str(EVENT)))

    await asyncio.to_thread(write)
