"""Dub's routes of links and partners, as its SDKs call them and validate the answers.

`DELETE` switches a link off, since its events stay. Links that we know are found by `id`, or by
`ext_` and the external id.
"""

import secrets
from collections.abc import Mapping
from string import ascii_lowercase, digits
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from scripts.control.problems import invalid
from scripts.control.resources import add, change, resource
from scripts.control.serving import Answer, Call
from scripts.control.vendors import found
from scripts.services.noun import Row

#: Our fields by Dub's.
_FIELDS: Final = {
    "url": "url",
    "domain": "domain",
    "key": "code",
    "externalId": "external_id",
    "expiresAt": "expires_at",
    "expiredUrl": "fallback_url",
    "partnerId": "partner",
    "programId": "program",
}
_CANNOT: Final = (
    "password", "ios", "android", "geo", "proxy", "rewrite", "testVariants",
)  # fmt: skip
_IN_URL: Final = (
    "utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "ref",
)  # fmt: skip
_NULL: Final = (
    "tenantId", "disabledAt", "password", "title", "description", "image", "video", "ios",
    "android", "geo", "folderId", "comments", *_IN_URL[:-1], "userId", "tagId",
)  # fmt: skip
_KEY_CHARS: Final = 7
_PROGRAM: Final = "prog_"
EXTERNAL: Final = "ext_"
#: Rows of a page, and links of a request.
MOST: Final = 100

_LINKS: Final = resource("links")


async def create(call: Call) -> Answer:
    """Create a link. Without a domain it is on the workspace's oldest, without a key on a random one."""
    return _answer(await created(call, call.body))


async def created(call: Call, body: Any) -> Row:
    wanted = _ours(body)
    if "url" not in wanted:
        raise invalid("url is missing.", "url")
    if not wanted.get("domain"):
        wanted["domain"] = await found.first_domain(call)
        if wanted["domain"] is None:
            raise invalid(
                "The workspace has no domain: add one, `reftide domains add`.", "domain"
            )
    if not wanted.get("code"):
        prefix = str(body.get("prefix") or "").strip("/")
        key = "".join(
            secrets.choice(ascii_lowercase + digits) for _ in range(_KEY_CHARS)
        )
        wanted["code"] = f"{prefix}/{key}" if prefix else key
    row = await add(call, _LINKS, wanted)
    return await found.link(call, public_id=row["public_id"])


async def get_many(call: Call) -> Answer:
    """List links, newest first, a page at a time."""
    query = call.request.query
    listed = await found.links(
        call,
        after=query.get("startingAfter"),
        before=query.get("endingBefore"),
        **_filters(query),
        **page(query),
    )
    return Answer([shown(row) for row in listed])


async def count(call: Call) -> Answer:
    """How many links there are that a list of them would have."""
    query = call.request.query
    if "groupBy" in query:
        raise invalid("Links are counted together only.", "groupBy")
    return Answer(await found.count(call, **_filters(query)))


def _filters(query: Mapping[str, str]) -> dict[str, Any]:
    named = {name: query.get(name) for name in ("domain", "search")}
    return {**named, "with_off": query.get("showArchived") == "true"}


async def info(call: Call) -> Answer:
    """The link of a domain and a key, or of an id."""
    query = call.request.query
    if name := query.get("linkId") or query.get("externalId"):
        is_external = "linkId" not in query and not name.startswith(EXTERNAL)
        return Answer(
            shown(await the_link(call, f"{EXTERNAL}{name}" if is_external else name))
        )
    if not query.get("key"):
        raise invalid("Name the link: domain and key, linkId, or externalId.")
    domain = query.get("domain")
    return Answer(shown(await found.link(call, code=query["key"], domain=domain)))


async def update(call: Call) -> Answer:
    """Change a link; what is not given stays."""
    await call.alone(call.path("id"))
    row = await the_link(call, call.path("id"))
    return _answer(await changed(call, row, call.body))


async def upsert(call: Call) -> Answer:
    """Change the link with this URL, or create one."""
    wanted = _ours(call.body)
    await call.alone(f"url {wanted.get('url')}")
    named = {name: wanted[name] for name in ("url", "domain") if wanted.get(name)}
    known = await found.links(call, **named) if "url" in named else []
    if known:
        return _answer(await changed(call, known[0], call.body))
    return _answer(await created(call, call.body))


async def delete(call: Call) -> Answer:
    """Switch a link off."""
    row = await the_link(call, call.path("id"))
    await switch_off(call, row)
    return Answer({"id": row["public_id"]}, links=[row["public_id"]])


async def switch_off(call: Call, row: Row) -> None:
    await _LINKS.action("disable").run(call.connection, row["id"], None)


async def changed(call: Call, row: Row, body: Any) -> Row:
    wanted = _ours(body)
    domain = wanted.pop("domain", None)
    if domain not in {None, row["domain"]}:
        raise invalid("A link stays on its domain.", "domain")
    await change(call, _LINKS, row, wanted)
    return await found.link(call, public_id=row["public_id"])


async def the_link(call: Call, name: str) -> Row:
    """By what it is called. Raises Problem for an unknown one."""
    return await found.link(call, **called(name))


def called(name: str) -> dict[str, Any]:
    """A link's id, or `ext_` and its external id."""
    is_external = name.startswith(EXTERNAL)
    return {"external_id" if is_external else "public_id": name.removeprefix(EXTERNAL)}


def _ours(body: Any) -> dict[str, Any]:
    """What a body says, under our names; what is null is not said, but where it clears."""
    if not isinstance(body, dict):
        raise invalid("The body is no JSON object.")
    for name in _CANNOT:
        if body.get(name):
            raise invalid(f"Links here have no {name}.", name)
    wanted = {
        ours: body[name]
        for name, ours in _FIELDS.items()
        if body.get(name) is not None
        or (name in {"expiresAt", "expiredUrl"} and name in body)
    }
    if isinstance(number := wanted.get("program"), str):
        wanted["program"] = number.removeprefix(_PROGRAM).lstrip("0")
    if isinstance(url := wanted.get("url"), str):
        wanted["url"] = _with_parameters(url, body)
    return wanted


def _with_parameters(url: str, body: Mapping[str, Any]) -> str:
    said = {name: body[name] for name in _IN_URL if isinstance(body.get(name), str)}
    if not said:
        return url
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise invalid(f"url: {error}", "url") from error
    query = "&".join(filter(None, (parts.query, urlencode(said))))
    return parts._replace(query=query).geturl()


def page(query: Mapping[str, str]) -> dict[str, int]:
    """The rows that a query for a page asks for. Raises Problem."""
    size = min(_whole(query, "pageSize", MOST), MOST)
    return {"limit": size, "offset": (_whole(query, "page", 1) - 1) * size}


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) == int(text)):
        raise invalid(f"{name} is a whole number from 1 on.", name)
    return int(text)


def short_link(row: Row) -> str:
    """A link as it is shared; without a domain, where it leads."""
    return f"https://{row['domain']}/{row['code']}" if row["domain"] else row["url"]


def sums(row: Row) -> dict[str, Any]:
    """Clicks are those of people, once an hour; amounts those of the first currency."""
    amounts = [each.split(" ") for each in row["amounts"] or ()]
    return {
        "clicks": row["unique_clicks"],
        "leads": row["leads"],
        "sales": row["sales"],
        "saleAmount": int(amounts[0][-1]) if amounts else 0,
    }


def _answer(row: Row) -> Answer:
    return Answer(shown(row), links=[row["public_id"]])


def shown(row: Row) -> dict[str, Any]:
    """A link in Dub's words."""
    made, owner = row["created_at"], f"ws_{row['workspace_id'].hex}"
    program = row["program"]
    return {
        **dict.fromkeys(_NULL),
        "id": row["public_id"],
        "domain": row["domain"],
        "key": row["code"],
        "url": row["url"],
        "externalId": row["external_id"],
        "programId": None if program is None else program_id(program),
        "partnerId": row["partner"],
        "expiresAt": row["expires_at"],
        "expiredUrl": row["fallback_url"],
        "tags": [],
        "shortLink": short_link(row),
        "qrCode": short_link(row),
        "workspaceId": owner,
        "projectId": owner,
        "lastClicked": row["last_clicked_at"],
        "createdAt": made,
        "updatedAt": made,
        "webhookIds": [],
        "trackConversion": True,
        "archived": not row["is_active"],
        **sums(row),
    }


def program_id(number: int) -> str:
    return f"{_PROGRAM}{number:03d}"
