"""Whose click a click is: a visitor known by a click id, by a fingerprint, or by nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from msgspec.structs import replace

from ingest.contracts.clickid import NO_LINK, ClickToken, clicked
from ingest.contracts.directory import LinkRecord, ProgramRecord
from ingest.contracts.envelope import CLICK, PURPOSES, Purpose
from ingest.contracts.variables import Gpc
from ingest.core.clicks import root_of
from ingest.core.ports import Claims
from ingest.core.recent import known_click, own_visitor_mark, visitor_mark
from ingest.core.resolve import Resolver
from ingest.core.resolved import Resolved
from ingest.core.seal import visitor_hash
from ingest.core.values import Mark, duplicate_mark
from ingest.dialects.spec.events import Draft
from ingest.dialects.spec.requests import RawRequest, Value


class Visit(Value, frozen=True):
    """A click, and the click by which its visitor was known before, if any: the root."""

    click: ClickToken
    root: ClickToken | None = None
    matched_by: Literal["click", "fingerprint"] | None = None
    #: Keyed hash of address and user agent.
    visitor: bytes | None = None
    #: The visitor's first click of the same link within the hour.
    first_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitors:
    """Recognises visitors. A click writes marks by which the next one is recognised."""

    claims: Claims
    resolver: Resolver
    visitor_key: bytes

    def visit(
        self,
        draft: Draft,
        resolved: Resolved,
        raw: RawRequest,
        event_id: UUID,
        at: int,
    ) -> Visit:
        """The visit of an unknown visitor, `at` Unix milliseconds."""
        click = clicked(event_id, resolved.link_id or NO_LINK, at)
        is_nobody = draft.is_test or draft.is_anonymous or draft.purpose
        if draft.kind is not CLICK or is_nobody:
            return Visit(click)
        return Visit(click, visitor=visitor_hash(self.visitor_key, raw, draft))

    async def known(
        self, visit: Visit, draft: Draft, resolved: Resolved, *, is_told_again: bool
    ) -> Visit:
        """The visit of a draft, by what is known of its visitor.

        `is_told_again`: a duplicate is told the first click's id. Else workers alone decide
        what is a duplicate.
        """
        link, visitor = resolved.link, visit.visitor
        if draft.existing_click:
            root = await self.resolver.root(draft, resolved)
            visit = replace(visit, root=root, matched_by="click" if root else None)
        marks: list[Mark] = []
        owner = resolved.owner
        if draft.own_visitor and owner and visit.root is None:
            visit, mark = _own(draft.own_visitor, visit, owner)
            marks.append(mark)
        if draft.fingerprint and resolved.owner:
            marks.append(_known_by(draft.fingerprint, visit, resolved.owner))
        if is_told_again and visitor and link:
            marks.append(duplicate_mark(link.link_uuid, visitor, visit.click.click_id))
        if not marks:
            return visit
        earlier = await self.claims.earlier(marks)
        if is_told_again and visitor and link:
            visit = _duplicate(visit, earlier[-1])
        return _known(visit, earlier[0]) if draft.fingerprint else visit


def asks_privacy(headers: Mapping[str, str], gpc: Gpc) -> bool:
    """Whether a browser asks not to be recognised, and is obeyed."""
    return headers.get("sec-gpc") == "1" and gpc != "count"


def as_browser_asks(draft: Draft, headers: Mapping[str, str], gpc: Gpc) -> Draft:
    """The draft of a browser, which may ask not to be recognised or show the page to nobody.

    The visitor of such a click is not recognised, so that a click on the page once it is
    shown is no duplicate.
    """
    purpose: Purpose | None = None
    if draft.kind is CLICK and (loaded_for := headers.get("sec-purpose")):
        purpose = next((each for each in PURPOSES if each in loaded_for), None)
    is_anonymous = asks_privacy(headers, gpc)
    if purpose is None and not is_anonymous:
        return draft
    purpose = purpose or draft.purpose
    return replace(draft, purpose=purpose, is_anonymous=is_anonymous, fingerprint=None)


def _own(
    visitor_id: str, visit: Visit, owner: LinkRecord | ProgramRecord
) -> tuple[Visit, Mark]:
    """The visit of a visitor that the caller has an id of its own for, and its mark."""
    workspace_id, click = owner.workspace_uuid, visit.click
    root = clicked(root_of(workspace_id, visitor_id), click.link_id, click.at)
    mark = own_visitor_mark(
        workspace_id, visitor_id, root, owner.attribution_window_days
    )
    return replace(visit, root=root, matched_by="click"), mark


def _known_by(
    fingerprint: str, visit: Visit, owner: LinkRecord | ProgramRecord
) -> Mark:
    click, window = visit.root or visit.click, owner.attribution_window_days
    return visitor_mark(owner.workspace_uuid, fingerprint, click, window)


def _duplicate(visit: Visit, mark: bytes | None) -> Visit:
    if mark is None or len(mark) != len(visit.click.click_id.bytes):
        return visit
    visit = replace(visit, first_id=UUID(bytes=mark))
    if visit.root is not None:
        return visit
    first = ClickToken(UUID(bytes=mark), visit.click.link_id)
    return replace(visit, root=first, matched_by="click")


def _known(visit: Visit, mark: bytes | None) -> Visit:
    click = known_click(mark) if mark else None
    if click is None or visit.root is not None:
        return visit
    return replace(visit, root=click, matched_by="fingerprint")
