import pytest

from ingest.contracts.redis_address import redis_address
from ingest.redis_io.client import RedisBreaker, connect


@pytest.mark.parametrize(
    "url", ["redis://host:1/2", "rediss://host", "unix:///path?db=0"]
)
def test_the_url_of_a_server_stays_as_it_is(url: str) -> None:
    assert (url, ()) == redis_address(url)[:2]


@pytest.mark.parametrize(
    ("url", "server", "sentinels"),
    [
        ("redis+sentinel://a:1,b/s", "redis://primary?", (("a", 1), ("b", 26379))),
        ("redis+sentinel://a/s/3", "redis://primary?db=3", (("a", 26379),)),
        (
            "rediss+sentinel://user:p%40ss@[::1]:5, b:6/s?db=2",
            "rediss://user:p%40ss@primary?db=2",
            (("::1", 5), ("b", 6)),
        ),
    ],
)
def test_sentinels_stand_where_a_host_would(
    url: str, server: str, sentinels: tuple[tuple[str, int], ...]
) -> None:
    found = redis_address(url)

    assert (server, sentinels, "s") == found[:3]


def test_sentinels_have_a_password_of_their_own() -> None:
    url = "redis+sentinel://:p@a/s?sentinel_username=u&sentinel_password=s&db=1"
    found = redis_address(url)

    assert ("redis://:p@primary?db=1", "u", "s") == (
        found.url,
        found.username,
        found.password,
    )


@pytest.mark.parametrize(
    "url",
    [
        "host:6379",
        "http://host",
        "redis+sentinel://",
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+sentinel:///s",
        "redis+sentinel://a,/s",
        "redis+sentinel://a:port/s",
        "redis+sentinel://a/s?db=one",
        "redis+sentinel://a/s/one",
    ],
)
def test_what_is_no_such_url_is_refused_with_what_to_give(url: str) -> None:
    with pytest.raises(ValueError, match=r"must (start with|be like) redis"):
        redis_address(url)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_rights_and_encryption_go_for_each_primary(scheme: str) -> None:
    url = f"{scheme}+sentinel://user:p%40ss@a,b/s?db=2&sentinel_password=other"
    url += "&ssl_cert_reqs=none" if scheme == "rediss" else ""
    redis = connect(url, connections=1, breaker=RedisBreaker())

    made = redis.connection_pool.make_connection()
    assert ("user", "p@ss", 2) == (made.username, made.password, made.db)
    assert ("rediss" == scheme) == hasattr(made, "ssl_context")
    sentinels = redis.connection_pool.sentinel_manager.sentinels
    given = [each.connection_pool.connection_kwargs for each in sentinels]
    assert [("a", "other"), ("b", "other")] == [
        (each["host"], each["password"]) for each in given
    ]
    assert ("none" if scheme == "rediss" else None) == given[0].get("ssl_cert_reqs")
    await redis.aclose()
