"""Runs every folder of tests/samples through its dialect.

A sample is `request.json` (with a JSON `body` or a literal `text`) and the `reply.json` that
it must get, byte for byte. `draft.json` is what the dialect must have read, without the
fields that have their defaults. `outcome.json` scripts what became of it where that is not
the ordinary: a refusal, a link with other fields, or none, another click id, a customer,
a sale, stats, a key that came along, a repeat. Of several drafts `draft.json` is a list; of a query
it is the target. A vendor's own examples are in folders that begin with `vendor_example`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import UUID

import msgspec
import orjson
import pytest

from ingest.contracts.directory import (
    CustomerRecord,
    LinkRecord,
    ProgramRecord,
    SaleRecord,
    StatsRecord,
)
from ingest.contracts.envelope import Dedupe
from ingest.core.idempotency import as_keyless
from ingest.dialects import DIALECTS
from ingest.dialects.spec.events import (
    ByClick,
    ByCode,
    ByCustomer,
    ByFingerprint,
    ByOwnId,
    ByPartner,
    ByProgram,
    BySale,
    ByVisitor,
    Draft,
    Finding,
    FirstOf,
    Outcome,
    StatsOf,
    Target,
)
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Dialect, Endpoint, Query, Route
from tests.support.differences import differences

SAMPLES = Path(__file__).parents[2] / "samples"

#: One second after the origin of test event numbers, with 5 in its 12 random bits.
AT = 1_790_000_000_000
EVENT_ID = UUID(int=(1_704_067_201_000 << 80) | (0x7005 << 64) | (2 << 62))

LINK = LinkRecord(
    link_uuid=UUID(int=1),
    workspace_uuid=UUID(int=2),
    public_id="lnk_abc",
    namespace="-",
    code="alice",
    domain="go.yoursite.com",
    url="https://yoursite.com",
    is_active=True,
    program_uuid=UUID(int=3),
    program_number=1,
    partner_uuid=UUID(int=4),
    partner_code="PARTNER123",
)
PROGRAM = ProgramRecord(program_uuid=UUID(int=3), workspace_uuid=UUID(int=2), number=1)
CLICK_TOKENS = {
    "affitor": "clk_AQGWg1Qc4HAAgAAAAAAAAAABAZaDVBzgcACAAAAAAAAAAAKHTm8uIyeV0k4b1xQ",
    "refport": "clk_xyz",
    "dub": "rLnWe1uz9t282v7g",
    "tracker": "clk_AQGWg1Qc4HAAgAAAAAAAAAABAZaDVBzgcACAAAAAAAAAAAKHTm8uIyeV0k4b1xQ",
}


@dataclass(frozen=True)
class Sample:
    folder: Path

    @property
    def dialect(self) -> Dialect:
        return next(
            dialect for dialect in DIALECTS if dialect.name == self.folder.parent.name
        )

    def document(self, name: str) -> Any:
        file = self.folder / f"{name}.json"
        return orjson.loads(file.read_bytes()) if file.exists() else None


def all_samples(with_file: str = "request.json") -> list[Any]:
    return [
        pytest.param(Sample(file.parent), id=f"{file.parts[-3]}-{file.parts[-2]}")
        for file in sorted(SAMPLES.glob(f"*/*/{with_file}"))
    ]


def request_of(route: Route, document: Mapping[str, Any]) -> RawRequest:
    body = document.get("text", "").encode()
    if "body" in document:
        body = orjson.dumps(document["body"])
    path, _, query = document["path"].partition("?")
    found = _pattern(route).fullmatch(path)
    return RawRequest(
        path={name: unquote(text) for name, text in found.groupdict().items()}
        if found
        else {},
        query=dict(parse_qsl(query)),
        headers=document["headers"],
        body=body,
    )


def _pattern(route: Route) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)(?::[^}]*)?\}", r"(?P<\1>.+)", route.path))


def route_of(dialect: Dialect, document: Mapping[str, Any]) -> Endpoint | Query:
    path = document["path"].partition("?")[0]
    there = [item for item in dialect.endpoints if _pattern(item).fullmatch(path)]
    if not there:
        raise Refusal("not_found")
    for route in there:
        if route.method == document["method"]:
            return route
    raise Refusal("method_not_allowed")


def outcome_of(sample: Sample, draft: Draft) -> Outcome:
    script = sample.document("outcome") or {}
    if "refused" in script:
        raise Refusal(**script["refused"])
    changes, customer = script.get("link", {}), script.get("customer")
    return Outcome(
        draft=draft,
        event_id=EVENT_ID,
        at=AT,
        click_token=script.get("click_token", CLICK_TOKENS.get(sample.dialect.name)),
        matched_by=script.get("matched_by"),
        link=None if changes is None else replace(LINK, **changes),
        program=PROGRAM,
        customer=None if customer is None else CustomerRecord(**customer),
        sale=SaleRecord(**script["sale"]) if "sale" in script else None,
        has_key=script.get("has_key", False),
        is_expired=script.get("is_expired", False),
        is_certain=script.get("is_certain", True),
    )


def finding_of(sample: Sample) -> Finding:
    script = sample.document("outcome") or {}
    if "refused" in script:
        raise Refusal(**script["refused"])
    changes, stats = script.get("link", {}), script.get("stats")
    return Finding(
        link=None if changes is None else replace(LINK, **changes),
        stats=stats and StatsRecord(**stats),
    )


def answer_of(sample: Sample, endpoint: Endpoint, draft: Draft) -> Reply:
    """The answer to one draft, or to its repeat where the script says that it is one."""
    try:
        outcome = outcome_of(sample, draft)
        if endpoint.credential is not None and not outcome.has_key:
            keyless = as_keyless(draft, outcome.link)
            outcome = msgspec.structs.replace(outcome, draft=keyless)
        outcome = msgspec.structs.replace(
            outcome, draft=endpoint.judge(outcome) or draft
        )
    except Refusal as refusal:
        refusal.target = draft.target
        raise
    reply = endpoint.answer(outcome)
    is_repeat = (sample.document("outcome") or {}).get("is_repeat")
    return endpoint.repeat(outcome, reply) if is_repeat else reply


def reply_to(sample: Sample) -> Reply:
    document = sample.document("request")
    try:
        route = route_of(sample.dialect, document)
        request = request_of(route, document)
        if isinstance(route, Query):
            route.ask(request)
            return route.answer(finding_of(sample))
        drafts = route.parse(request)
        return route.collect([answer_of(sample, route, draft) for draft in drafts])
    except Refusal as refusal:
        return sample.dialect.refuse(refusal)


def target_of(document: dict[str, Any]) -> Target:
    maker = _TARGETS[document.pop("by")]
    if maker is FirstOf:
        return FirstOf(tuple(target_of(item) for item in document["targets"]))  # type: ignore[arg-type]  # of those it takes
    if maker is ByPartner:
        document["program_id"] = UUID(document["program_id"])
    return maker(**document)


_TARGETS: dict[str, Callable[..., Target]] = {
    "code": ByCode,
    "click": ByClick,
    "own_id": ByOwnId,
    "fingerprint": ByFingerprint,
    "visitor": ByVisitor,
    "customer": ByCustomer,
    "program": ByProgram,
    "sale": lambda dedupe: BySale(Dedupe.of(*dedupe)),
    "partner": ByPartner,
    "stats": StatsOf,
    "first": FirstOf,
}


def draft_of(document: dict[str, Any]) -> Draft:
    """The draft that a `draft.json` describes."""
    document["target"] = target_of(document["target"])
    if "dedupe" in document:
        document["dedupe"] = Dedupe.of(*document["dedupe"])
    return Draft(**document)


@pytest.mark.parametrize("sample", all_samples())
def test_a_sample_gets_the_recorded_reply(sample: Sample) -> None:
    expected = sample.document("reply")

    reply = reply_to(sample)

    found = {"status": reply.status, "headers": reply.headers, "body": reply.body}
    assert {} == differences({name: expected[name] for name in found}, found)
    # The order of fields, too.
    assert orjson.dumps(expected["body"]) == orjson.dumps(reply.body)


@pytest.mark.parametrize("sample", all_samples(with_file="draft.json"))
def test_a_sample_is_read_as_recorded(sample: Sample) -> None:
    document, described = sample.document("request"), sample.document("draft")
    route = route_of(sample.dialect, document)
    request = request_of(route, document)

    if isinstance(route, Query):
        assert target_of(described) == route.ask(request)
        return
    drafts = route.parse(request)
    all_described = described if isinstance(described, list) else [described]
    for expected, draft in zip(map(draft_of, all_described), drafts, strict=True):
        assert {} == differences(expected, draft)


def test_every_sample_that_succeeds_says_what_was_read() -> None:
    for file in SAMPLES.glob("*/*/reply.json"):
        is_success = orjson.loads(file.read_bytes())["status"] == 200
        is_scripted = (file.parent / "outcome.json").exists()
        assert is_scripted or (file.parent / "draft.json").exists() == is_success


def test_every_dialect_has_the_examples_of_its_vendor() -> None:
    for dialect in DIALECTS:
        assert list((SAMPLES / dialect.name).glob("vendor_example*")), dialect.name


def test_every_folder_belongs_to_a_dialect_and_holds_known_files() -> None:
    known = {"request.json", "reply.json", "draft.json", "outcome.json"}

    assert {item.name for item in DIALECTS} == {item.name for item in SAMPLES.iterdir()}
    assert {file.name for file in SAMPLES.glob("*/*/*")} <= known
