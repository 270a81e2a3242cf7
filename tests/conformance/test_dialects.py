"""What holds for every dialect, whichever vendor's words it speaks."""

from itertools import combinations
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contracts.storable import Json
from ingest.dialects import DIALECTS
from ingest.dialects.spec.events import Draft
from ingest.dialects.spec.refusal import Refusal, RefusalCode
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Dialect, Endpoint

CODES: tuple[RefusalCode, ...] = get_args(RefusalCode)
OURS_TO_FIX = {"overloaded": 503, "switched_off": 503, "failed": 500}
#: Refusals that say what is wrong: a field, a status, a scope, the caller's own origin.
TELLING = {
    "field_missing",
    "field_invalid",
    "customer_advanced",
    "forbidden",
    "origin_unknown",
}
#: Refusals that a vendor answers with 200 and says so in the body.
SOFT = {
    ("affitor", "link_inactive"),
    ("bio_re", "link_unparsable"),
    ("bio_re", "link_code_missing"),
    ("bio_re", "link_unknown"),
    ("bio_re", "link_incomplete"),
    ("bio_re", "link_inactive"),
    ("bio_re", "overloaded"),
}

EVERY = [
    route
    for dialect in DIALECTS
    for route in dialect.endpoints
    if isinstance(route, Endpoint)
]
ENDPOINTS = [pytest.param(route, id=f"{route.method} {route.path}") for route in EVERY]
WITH_BODY = [param for param in ENDPOINTS if param.values[0].body is not None]  # type: ignore[attr-defined]  # an Endpoint
every_dialect = pytest.mark.parametrize(
    "dialect", [pytest.param(dialect, id=dialect.name) for dialect in DIALECTS]
)
every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS)
every_code = pytest.mark.parametrize("code", CODES)

#: Field names of all vendors, so that generated bodies get past the first check.
NAMES = [
    "affiliate_url",
    "additional_data",
    "test_mode",
    "program_id",
    "existing_click_id",
    "page_title",
    "clickId",
    "eventName",
    "customerExternalId",
    "customerEmail",
    "metadata",
    "participant_id",
    "campaign_id",
    "code",
    "referred_session_id",
    "ref",
    "visitor_id",
    "fingerprint",
    "manual_code",
    "external_id",
    "is_test",
    "click_id",
    "customer_key",
    "email",
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["https://a.example/?aff=P1", "https://[", "foo://%", "clk_"])
)
names = st.sampled_from(NAMES) | st.text()
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(names, inner),
    max_leaves=10,
)


PATH = dict.fromkeys(("code", "participant_id"), "ALICE")


def outcome_of_parsing(endpoint: Endpoint, body: bytes) -> list[Draft] | Refusal:
    """The drafts or the refusal; whatever else is raised fails the test."""
    try:
        return list(endpoint.parse(RawRequest(path=PATH, body=body)))
    except Refusal as refusal:
        return refusal


def refused(dialect: Dialect, code: RefusalCode, **facts: Any) -> Reply:
    return dialect.refuse(Refusal(code, **facts))


@every_dialect
@every_code
def test_every_refusal_has_words_and_a_status(
    dialect: Dialect, code: RefusalCode
) -> None:
    reply = refused(dialect, code, field="name", problem="must be a string")

    assert orjson.loads(orjson.dumps(reply.body)) == reply.body
    if (dialect.name, code) in SOFT:
        assert 200 == reply.status
    elif code in OURS_TO_FIX:
        assert OURS_TO_FIX[code] == reply.status
    else:
        assert 400 <= reply.status < 500


@every_dialect
@every_code
def test_a_refusal_has_words_even_without_a_field(
    dialect: Dialect, code: RefusalCode
) -> None:
    assert orjson.dumps(refused(dialect, code).body)


@every_dialect
@every_code
@pytest.mark.parametrize(("asked", "told"), [(7, 7), (0, 1), (-3, 1)])
def test_only_a_caller_who_may_come_back_is_told_when(
    dialect: Dialect, code: RefusalCode, asked: int, told: int
) -> None:
    reply = refused(dialect, code, retry_after=asked)

    expected = {"Retry-After": str(told)} if reply.status in {429, 503} else {}
    assert expected == reply.headers


@every_dialect
@pytest.mark.parametrize("code", ["rate_limited", "overloaded", "switched_off"])
def test_coming_back_takes_few_seconds_where_nobody_knows_better(
    dialect: Dialect, code: RefusalCode
) -> None:
    if (dialect.name, code) not in SOFT:
        assert 1 <= int(refused(dialect, code).headers["Retry-After"]) <= 10


@every_dialect
@pytest.mark.parametrize("code", sorted(set(CODES) - TELLING))
def test_a_refusal_says_nothing_of_our_insides(
    dialect: Dialect, code: RefusalCode
) -> None:
    inside = "ZeroDivisionError in redis_sink.py"

    body = refused(dialect, code, field=inside, problem=inside).body

    assert refused(dialect, code).body == body


@every_dialect
def test_a_dialect_refuses_within_its_own_prefix(dialect: Dialect) -> None:
    assert all(
        endpoint.path.startswith(dialect.prefix + "/") for endpoint in dialect.endpoints
    )


def test_no_two_endpoints_share_method_and_path() -> None:
    routes = [(item.method, item.path) for d in DIALECTS for item in d.endpoints]

    assert len(set(routes)) == len(routes)


def test_no_two_dialects_share_a_name_or_a_prefix() -> None:
    for one, other in combinations(DIALECTS, 2):
        assert one.name != other.name
        assert not f"{one.prefix}/".startswith(f"{other.prefix}/")
        assert not f"{other.prefix}/".startswith(f"{one.prefix}/")


@pytest.mark.parametrize("endpoint", WITH_BODY)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"null",
        b"true",
        b"7",
        b'"text"',
        b"[]",
        b"[{}]",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 33 + b"1" + b"}" * 33,
        b'{"a":' * 100_000,
        b"\x1f\x8b",
        b"<xml/>",
    ],
)
def test_what_is_no_json_object_is_malformed(endpoint: Endpoint, body: bytes) -> None:
    got = outcome_of_parsing(endpoint, body)

    assert isinstance(got, Refusal)
    assert "body_malformed" == got.code


@every_endpoint
@pytest.mark.parametrize(
    "value",
    [
        b'"\\ud83d"',
        b'"\\ude00\\ud83d"',
        b'"\\u0000"',
        b"%d" % 2**70,
        b"-%d" % 2**70,
        b"1e308",
        b'""',
        b"null",
        b"[]",
        b'{"":{}}',
        b'"' + b"x" * 100_000 + b'"',
    ],
)
def test_odd_values_raise_nothing_but_refusals(
    endpoint: Endpoint, value: bytes
) -> None:
    for name in NAMES:
        outcome_of_parsing(endpoint, b'{"%s":%s}' % (name.encode(), value))


@every_endpoint
def test_an_empty_body_is_an_empty_object(endpoint: Endpoint) -> None:
    empty = outcome_of_parsing(endpoint, b"")

    assert repr(empty) == repr(outcome_of_parsing(endpoint, b"{}"))


#: Each example is for every endpoint: making one takes longer than reading it.
many = settings(max_examples=300)


@many
@given(body=st.binary() | st.text().map(str.encode))
def test_arbitrary_bytes_raise_nothing_but_refusals(body: bytes) -> None:
    for endpoint in EVERY:
        outcome_of_parsing(endpoint, body)


@many
@given(body=st.dictionaries(names, values))
def test_arbitrary_objects_raise_nothing_but_refusals(body: dict[str, Json]) -> None:
    for endpoint in EVERY:
        outcome_of_parsing(endpoint, orjson.dumps(body))


@many
@given(body=st.dictionaries(st.sampled_from(NAMES), values), extra=values)
def test_unknown_fields_are_ignored(body: dict[str, Json], extra: Json) -> None:
    for endpoint in EVERY:
        plain = outcome_of_parsing(endpoint, orjson.dumps(body))
        with_extra = outcome_of_parsing(
            endpoint, orjson.dumps({"zz_unknown": extra, **body, "zz_other": extra})
        )

        assert repr(plain) == repr(with_extra)
