"""What every route of every dialect says to a credential: wrong, missing, another's."""

from collections.abc import AsyncIterator, Iterator

import orjson
import pytest
import pytest_asyncio

from ingest.dialects.spec.refusal import Refusal
from tests.support.edge.calling import call, every, is_taken, is_word_for_word, words
from tests.support.edge.showcase import SHOWN, Client, Shown, an_edge, publish
from tests.support.servers.valkey import running_valkey

every_key = every([each for each in SHOWN if each.route.credential])
every_refused_key = every([each for each in SHOWN if each.refuses_keys])
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def emptied(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """An edge whose directory knows API keys only."""
    with running_valkey() as valkey:
        await publish(valkey.url, is_empty=True)
        async with an_edge(valkey.url, tmp_path_factory.mktemp("edge")) as made:
            yield made


def refused_headers(shown: Shown) -> Iterator[tuple[dict[str, str], Refusal]]:
    assert shown.route.credential
    header = next(iter(shown.credential("")))
    malformed = Refusal("credential_malformed")
    yield {header: ""}, malformed
    yield {header: "  "}, malformed
    if header == "Authorization":
        yield {header: "own"}, malformed
        yield {header: "Bearer"}, malformed
        yield {header: "Basic b3duOg=="}, malformed
    yield shown.credential("x" * 513), malformed
    yield shown.credential("nobody's"), Refusal("unauthorised")
    yield shown.credential("rt_mistyped"), Refusal("unauthorised")
    yield shown.credential("kéy"), Refusal("unauthorised")
    scope = shown.route.credential.scope
    yield shown.credential("scopeless"), Refusal("forbidden", field=scope)


@every_refused_key
async def test_a_wrong_credential_is_refused(client: Client, shown: Shown) -> None:
    for headers, refusal in refused_headers(shown):
        answer = await call(client, shown, headers=headers)

        assert await is_word_for_word(answer, words(shown, refusal)), headers


@every_key
async def test_a_missing_credential_is_refused_unless_it_is_optional(
    client: Client, shown: Shown
) -> None:
    assert shown.route.credential
    headers = {"Content-Type": "application/json"}
    data = orjson.dumps(shown.body)
    answer = await client.request(
        shown.route.method, shown.url, data=data, headers=headers
    )

    if shown.route.credential.is_optional:
        assert await is_taken(shown, answer)
    else:
        missing = words(shown, Refusal("credential_missing"))
        assert await is_word_for_word(answer, missing)


@every_key
async def test_another_workspace_is_told_what_it_would_be_told_of_nothing(
    client: Client, emptied: Client, shown: Shown
) -> None:
    foreign = shown.credential("foreign")
    of_ours = await call(client, shown, headers=foreign)
    of_nothing = await call(emptied, shown, headers=foreign)

    assert of_nothing.status == of_ours.status
    assert await of_nothing.json() == await of_ours.json()
