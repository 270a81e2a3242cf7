"""What an entry in quarantine waits for. Pure.

An entry that is refused because a link, key or click is missing is redriven when that is
created. It is named as in `directory_changes`: topic and reference (`code - SPRING`). A
recorded click is not published and named `event` and its id. An entry whose fate an operator
has to decide (an inactive link, an expired click) waits for nothing.
"""

from collections.abc import Callable, Iterator
from typing import Final

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.envelope import Envelope
from ingest.contracts.storable import text
from workers.model.rejected import Reason
from workers.resolve.lookups import KnownNames, namespaces, workspaces

#: Longer than any name that PostgreSQL could hold, so a reference that is cut never matches.
_CHARS: Final = 600


def waits_for(envelope: Envelope, reason: Reason, known: KnownNames) -> tuple[str, ...]:
    """References, any of which may make the event resolvable; `known` refused it."""
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
        for owner in owners:
            yield f"click {owner} {envelope.click.foreign_id}"
    elif envelope.target.link_id is not None and envelope.target.link_id != NO_LINK:
        yield f"link {envelope.target.link_id}"
    elif envelope.click.id is not None and not owners:
        yield f"event {envelope.click.id}"


def _key(envelope: Envelope, _known: KnownNames) -> Iterator[str]:
    for key_hash in envelope.request.api_key_hashes:
        yield f"key {key_hash.hex()}"


_FINDERS: Final[dict[Reason, Callable[[Envelope, KnownNames], Iterator[str]]]] = {
    "unknown_link": _link,
    "unknown_click": _click,
    "unauthorised": _key,
}
