"""Methods, paths and origins that a route takes, and what is said to others."""

import pytest

from ingest.dialects import DIALECTS
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.routes import Dialect
from tests.support.edge.calling import call, every_route, is_word_for_word, words
from tests.support.edge.showcase import SHOWN, Client, Shown

every_dialect = pytest.mark.parametrize(
    "dialect", [pytest.param(each, id=each.name) for each in DIALECTS]
)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@every_route
async def test_a_method_that_the_path_does_not_take_is_refused(
    client: Client, shown: Shown
) -> None:
    taken = {each.route.method for each in SHOWN if each.url == shown.url}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - taken:
        answer = await call(client, shown, method=method)

        refused = words(shown, Refusal("method_not_allowed"))
        assert await is_word_for_word(answer, refused)
        assert taken <= {*answer.headers["Allow"].split(",")}


@every_route
async def test_head_is_refused_without_a_body(client: Client, shown: Shown) -> None:
    answer = await call(client, shown, method="HEAD", data=b"")

    expected = words(shown, Refusal("method_not_allowed")).status
    assert (expected, b"") == (answer.status, await answer.read())


@every_route
async def test_options_are_for_browsers(client: Client, shown: Shown) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    answer = await client.options(shown.url, headers=asked)

    if shown.route.from_browsers:
        assert (204, b"") == (answer.status, await answer.read())
        assert "*" == answer.headers["Access-Control-Allow-Origin"]
        assert shown.route.method in answer.headers["Access-Control-Allow-Methods"]
    else:
        refused = words(shown, Refusal("method_not_allowed"))
        assert await is_word_for_word(answer, refused)


@every_route
async def test_browsers_read_what_is_for_them_and_nothing_else(
    client: Client, shown: Shown
) -> None:
    expected = "*" if shown.route.from_browsers else None
    for changes in (
        {},
        {"data": b"{"},
        {"data": b"x" * 65_537},
        {"headers": {"Content-Encoding": "gzip"}},
        {"headers": shown.credential("nobody's")},
    ):
        answer = await call(client, shown, **changes)

        assert expected == answer.headers.get("Access-Control-Allow-Origin"), changes


@every_dialect
async def test_an_unknown_path_is_refused_in_the_dialects_words(
    client: Client, dialect: Dialect
) -> None:
    for path in (
        "",
        "/",
        "/nothing",
        "/nothing/at/all",
        "/%00",
        "//",
        "/%ff",
        "/..;/x",
    ):
        answer = await client.post(dialect.prefix + path, data=b"{}")

        assert await is_word_for_word(answer, dialect.refuse(Refusal("not_found")))


async def test_no_two_endpoints_share_a_route() -> None:
    for one in SHOWN:
        # A template is a path too: who takes it takes all that it stands for.
        taking = [
            each.name
            for each in SHOWN
            if each.route.method == one.route.method
            and len(each.route.path.split("/")) == len(one.route.path.split("/"))
            and all(
                mine == theirs or "{" in mine or "{" in theirs
                for mine, theirs in zip(
                    one.route.path.split("/"), each.route.path.split("/"), strict=True
                )
            )
        ]
        assert [one.name] == taking
