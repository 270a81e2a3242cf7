"""Resolves an envelope's names to link, program, partner and workspace. Pure.

If the edge had a directory, most is resolved already and only checked. If not, the worker
authorises the event here.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from uuid import UUID

from msgspec.structs import replace

from ingest.contracts import ids
from ingest.contracts.apikey import MAY_GENERATE, MAY_TRACK, PUBLISHABLE
from ingest.contracts.clickid import NO_LINK
from ingest.contracts.directory import domain_of
from ingest.contracts.envelope import CLICK, Envelope, Kind, own_click_key
from ingest.contracts.storable import text
from workers.model.batch import Reason
from workers.model.rows import Resolution
from workers.resolve.lookups import KnownLink, KnownNames, namespaces, workspaces
from workers.resolve.own_clicks import own_click_alias

_CLOCK_SKEW_MS: Final = 5 * 60 * 1000
_DAY_MS: Final = 24 * 3600 * 1000


class _Named(NamedTuple):
    """The click that a lead names, and its link or one mentioned beside it."""

    click_id: UUID | None = None
    link: KnownLink | None = None
    #: Whether the link is the click's own, not one that is mentioned beside it.
    is_proven: bool = True


class Unresolvable(Exception):
    """The event cannot be resolved, for `reason`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """`detail` is shown to operators."""
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail


def resolve(envelope: Envelope, known: KnownNames, now_ms: int) -> Resolution:
    """Resolve one event; `now_ms` is Unix milliseconds. Raises Unresolvable."""
    if ids.millis(envelope.id) > now_ms + _CLOCK_SKEW_MS:
        raise Unresolvable("future_id", "minted more than five minutes ahead")
    if envelope.request.is_test:
        return _resolve_test(envelope, known)
    if envelope.kind is CLICK:
        return _resolve_click(envelope, known)
    is_somebodys = _names_click(envelope) or envelope.customer.external_id is not None
    if not is_somebodys and _names_link(envelope):
        return _on_link(envelope, known)
    return _resolve_lead(envelope, known)


def _resolve_test(envelope: Envelope, known: KnownNames) -> Resolution:
    number = envelope.target.program_number
    if number in known.programs:
        program_id, workspace_id = known.programs[number]
        return Resolution(workspace_id=workspace_id, program_id=program_id)
    owner_id, api_key_id = _authorised(envelope, known)
    if number is not None or owner_id is None:
        raise Unresolvable("unknown_program", f"program {number}")
    return Resolution(
        workspace_id=owner_id,
        program_id=envelope.target.program_id,
        api_key_id=api_key_id,
    )


def _resolve_click(envelope: Envelope, known: KnownNames) -> Resolution:
    place = _place_of_click(envelope, known)
    if envelope.click.root_id is None:
        return place
    if envelope.click.root_link_id is None:
        # A click id that was issued without a directory names no link to compare.
        return replace(place, click_id=envelope.click.root_id, is_click_ours=False)
    root_link = known.links.get(envelope.click.root_link_id)
    if root_link is None or root_link.workspace_id != place.workspace_id:
        return place
    return replace(place, click_id=envelope.click.root_id)


def _place_of_click(envelope: Envelope, known: KnownNames) -> Resolution:
    link_id = envelope.target.link_id
    if link_id is None or envelope.request.api_key_hashes:
        return _on_link(envelope, known)
    owner_id, key_id = envelope.request.workspace_id, envelope.request.api_key_id
    # Numbers: UUIDs' hash and comparison are Python code.
    named = (link_id.int, owner_id.int if owner_id else 0, key_id.int if key_id else 0)
    place: Resolution | None = known.places.get(named)
    if place is None:
        place = known.places[named] = _on_link(envelope, known)
    return place


def _on_link(envelope: Envelope, known: KnownNames) -> Resolution:
    """Resolve an event to the link that it names."""
    workspace_id, api_key_id = _authorised(envelope, known)
    link = _named_link(envelope, known, workspace_id)
    if workspace_id is not None and workspace_id != link.workspace_id:
        raise Unresolvable("unknown_link", "the link is not this workspace's")
    return Resolution(
        workspace_id=link.workspace_id,
        link_id=link.id,
        program_id=link.program_id,
        partner_id=link.partner_id,
        api_key_id=api_key_id,
    )


def _names_click(envelope: Envelope) -> bool:
    return envelope.click.id is not None or envelope.click.foreign_id is not None


def _names_link(envelope: Envelope) -> bool:
    return envelope.target.link_id is not None or envelope.target.code is not None


def _named_link(
    envelope: Envelope, known: KnownNames, workspace_id: UUID | None
) -> KnownLink:
    if envelope.target.link_id is not None:
        if link := known.links.get(envelope.target.link_id):
            return link
        raise Unresolvable("unknown_link", f"link {envelope.target.link_id}")
    code = envelope.target.code or ""
    for namespace in namespaces(envelope, workspace_id):
        link = known.codes.get((namespace, code))
        if link is not None and not link.is_active:
            raise Unresolvable("inactive_link", f"code {code}")
        if link is not None:
            return link
        if domain_of(namespace) in known.domains:
            break
    raise Unresolvable("unknown_link", f"code {code}")


def _resolve_lead(envelope: Envelope, known: KnownNames) -> Resolution:
    workspace_id, api_key_id = _authorised(envelope, known)
    if _names_click(envelope):
        click_id, link, is_proven = _named_click(envelope, known, workspace_id)
    else:
        mentioned = _mentioned_link(envelope, known, workspace_id)
        click_id, link, is_proven = _Named(link=mentioned)
    if workspace_id is None and link is not None:
        workspace_id = link.workspace_id
    if workspace_id is None or (link and link.workspace_id != workspace_id):
        raise Unresolvable("unknown_click", "the click is not this workspace's")
    if link and click_id and envelope.request.workspace_id is None:
        dated = envelope.click.dated
        clicked = ids.millis(click_id) if dated is None else dated
        age_ms = envelope.request.at - clicked
        if age_ms > link.attribution_window_days * _DAY_MS:
            raise Unresolvable("expired", f"the click is {age_ms // _DAY_MS} days old")
    return Resolution(
        workspace_id=workspace_id,
        click_id=click_id,
        is_click_ours=is_proven,
        asked_program_id=link.program_id if link else None,
        api_key_id=api_key_id,
    )


def _authorised(
    envelope: Envelope, known: KnownNames
) -> tuple[UUID | None, UUID | None]:
    """The workspace and key that authorise an event. Raises Unresolvable."""
    if not envelope.request.api_key_hashes:
        return envelope.request.workspace_id, envelope.request.api_key_id
    needed = MAY_GENERATE if envelope.kind is Kind.LINK else MAY_TRACK
    for key_hash in envelope.request.api_key_hashes:
        key = known.keys.get(key_hash)
        if key is None:
            continue
        if not needed.isdisjoint(key.scopes):
            return key.workspace_id, key.id
        if _may_publish(envelope) and not PUBLISHABLE.isdisjoint(key.scopes):
            return key.workspace_id, None
    raise Unresolvable(
        "unauthorised", f"no live API key may {' or '.join(sorted(needed))}"
    )


def _may_publish(envelope: Envelope) -> bool:
    """Whether a publishable key is enough: it vouches for no sale, nor for who came how."""
    if envelope.kind is CLICK:
        return True
    return _names_click(envelope) and envelope.kind in {Kind.LEAD, Kind.DEFERRED}


def _named_click(
    envelope: Envelope, known: KnownNames, workspace_id: UUID | None
) -> _Named:
    click_id, link_id = envelope.click.id, envelope.target.link_id
    if envelope.click.foreign_id and workspace_id:
        place = (workspace_id, envelope.click.foreign_id)
        own_key = own_click_key(envelope.click.foreign_id)
        is_own = own_key is not None and (workspace_id, own_key) in known.own_clicks
        if not is_own and (own_key is not None or place not in known.clicks):
            raise Unresolvable("unknown_click", "no click has this id")
        if own_key is not None:
            # Which click and link that is may change with the next click.
            return _Named(own_click_alias(envelope.id, workspace_id, own_key))
        click_id, link_id = known.clicks[place]
    if link_id is None or link_id == NO_LINK:
        if envelope.target.code is not None:
            mentioned = _mentioned_link(envelope, known, workspace_id)
            return _Named(click_id, mentioned, is_proven=False)
        # With a workspace it must not matter whether the click is recorded already.
        if workspace_id is not None:
            return _Named(click_id, is_proven=False)
        return _Named(click_id, known.recorded.get(click_id) if click_id else None)
    if link_id not in known.links:
        raise Unresolvable("unknown_click", f"link {link_id}")
    return _Named(click_id, known.links[link_id])


def _mentioned_link(
    envelope: Envelope, known: KnownNames, workspace_id: UUID | None
) -> KnownLink | None:
    """The link beside a customer or click: it limits attribution to its program.

    If the workspace is known, the lead is recorded even if the link cannot be found.
    """
    if not _names_link(envelope):
        return None
    try:
        link = _named_link(envelope, known, workspace_id)
    except Unresolvable:
        if workspace_id is None:
            raise
        return None
    return link if workspace_id in {None, link.workspace_id} else None


#: Longer than any name that PostgreSQL could hold, so a reference that is cut never matches.
_CHARS: Final = 600


def waits_for(envelope: Envelope, reason: Reason, known: KnownNames) -> tuple[str, ...]:
    """References, any of which may make the event resolvable; `known` refused it.

    An entry that is refused because a link, key or click is missing is redriven when that is
    created. A reference is a topic and a name as in `directory_changes` (`code - SPRING`), or
    `event` and the id of a click, `own-click` and the key of the id that its client gave it:
    clicks are not published when they are recorded. An entry whose
    fate an operator has to decide (an inactive link, an expired click) waits for nothing.
    """
    find = _FINDERS.get(reason)
    if find is None:
        return ()
    return tuple(dict.fromkeys(text(one, _CHARS) for one in find(envelope, known)))


def _link(envelope: Envelope, known: KnownNames) -> Iterator[str]:
    if envelope.target.link_id is not None and envelope.target.link_id != NO_LINK:
        yield f"link {envelope.target.link_id}"
    elif envelope.target.code:
        for workspace_id in workspaces(envelope, known):
            for namespace in namespaces(envelope, workspace_id):
                yield f"code {namespace} {envelope.target.code}"


def _click(envelope: Envelope, known: KnownNames) -> Iterator[str]:
    owners = [owner for owner in workspaces(envelope, known) if owner]
    if envelope.click.foreign_id and owners:
        key = own_click_key(envelope.click.foreign_id)
        for owner in owners:
            if key is None:
                yield f"click {owner} {envelope.click.foreign_id}"
            else:
                yield f"own-click {owner} {key.hex()}"
    elif envelope.target.link_id is not None and envelope.target.link_id != NO_LINK:
        yield f"link {envelope.target.link_id}"
    elif envelope.click.id is not None and not owners:
        yield f"event {envelope.click.id}"


_FINDERS: Final[dict[Reason, Callable[[Envelope, KnownNames], Iterator[str]]]] = {
    "unknown_link": _link,
    "unknown_click": _click,
    "unauthorised": lambda envelope, _: (
        f"key {key_hash.hex()}" for key_hash in envelope.request.api_key_hashes
    ),
}
