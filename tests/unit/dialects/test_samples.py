"""Runs every folder of tests/samples through its dialect.

A sample is `request.json` (with a JSON `body` or a literal `text`) and the `reply.json` that
it must get, byte for byte. `draft.json` is what the dialect must have read, without the
fields that have their defaults. `outcome.json` scripts what became of it where that is not
the ordinary: a refusal, a link with other fields, or none, another click id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from ingest.contracts.directory import LinkRecord, ProgramRecord
from ingest.contracts.envelope import Dedupe
from ingest.dialects import DIALECTS
from ingest.dialects.spec import (
    ByClick,
    ByCode,
    ByProgram,
    Dialect,
    Draft,
    Endpoint,
    Outcome,
    RawRequest,
    Refusal,
    Reply,
)

SAMPLES = Path(__file__).parents[2] / "samples"

#: One second after the origin of test event numbers, with 5 in its 12 random bits.
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


def request_of(document: Mapping[str, Any]) -> RawRequest:
    body = document.get("text", "").encode()
    if "body" in document:
        body = orjson.dumps(document["body"])
    return RawRequest(headers=document["headers"], body=body)


def endpoint_of(dialect: Dialect, document: Mapping[str, Any]) -> Endpoint:
    there = [item for item in dialect.endpoints if item.path == document["path"]]
    if not there:
        raise Refusal("not_found")
    for endpoint in there:
        if endpoint.method == document["method"]:
            return endpoint
    raise Refusal("method_not_allowed")


def outcome_of(sample: Sample, draft: Draft) -> Outcome:
    script = sample.document("outcome") or {}
    if "refused" in script:
        raise Refusal(**script["refused"])
    changes = script.get("link", {})
    return Outcome(
        draft=draft,
        event_id=EVENT_ID,
        click_token=script.get("click_token", CLICK_TOKENS[sample.dialect.name]),
        link=None if changes is None else replace(LINK, **changes),
        program=PROGRAM,
    )


def reply_to(sample: Sample) -> Reply:
    document = sample.document("request")
    try:
        endpoint = endpoint_of(sample.dialect, document)
        drafts = endpoint.parse(request_of(document))
        outcomes = [outcome_of(sample, draft) for draft in drafts]
        return endpoint.collect([endpoint.answer(outcome) for outcome in outcomes])
    except Refusal as refusal:
        return sample.dialect.refuse(refusal)


def draft_of(document: dict[str, Any]) -> Draft:
    """The draft that a `draft.json` describes."""
    target = document.pop("target")
    makers = {"code": ByCode, "click": ByClick, "program": ByProgram}
    document["target"] = makers[target.pop("by")](**target)
    if "dedupe" in document:
        document["dedupe"] = Dedupe.of(*document["dedupe"])
    return Draft(**document)


@pytest.mark.parametrize("sample", all_samples())
def test_a_sample_gets_the_recorded_reply(sample: Sample) -> None:
    expected = sample.document("reply")

    reply = reply_to(sample)

    assert expected["status"] == reply.status
    assert orjson.dumps(expected["body"]) == orjson.dumps(reply.body)
    assert expected["headers"] == reply.headers


@pytest.mark.parametrize("sample", all_samples(with_file="draft.json"))
def test_a_sample_is_read_as_recorded(sample: Sample) -> None:
    document = sample.document("request")
    expected = draft_of(sample.document("draft"))

    (draft,) = endpoint_of(sample.dialect, document).parse(request_of(document))

    for name in (field.name for field in fields(Draft)):
        assert getattr(expected, name) == getattr(draft, name), name


def test_every_sample_that_succeeds_says_what_was_read() -> None:
    for file in SAMPLES.glob("*/*/reply.json"):
        is_success = orjson.loads(file.read_bytes())["status"] == 200
        is_scripted = (file.parent / "outcome.json").exists()
        assert is_scripted or (file.parent / "draft.json").exists() == is_success


def test_every_dialect_has_the_examples_of_its_vendor() -> None:
    assert all((SAMPLES / item.name / "vendor_example").is_dir() for item in DIALECTS)


def test_every_folder_belongs_to_a_dialect_and_holds_known_files() -> None:
    known = {"request.json", "reply.json", "draft.json", "outcome.json"}

    assert {item.name for item in DIALECTS} == {item.name for item in SAMPLES.iterdir()}
    assert {file.name for file in SAMPLES.glob("*/*/*")} <= known
