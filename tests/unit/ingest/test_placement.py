"""Shards' numbers, their slots, and the servers of `STREAMS_URL`."""

from uuid import UUID

import pytest

from ingest.contracts.placement.cluster import Node, is_misrouted, slot_table
from ingest.contracts.placement.layout import SLOTS, Layout, mismatch, slot_of, spread
from ingest.contracts.placement.streams_url import (
    AT_HOME,
    node_of,
    place_of,
    stream_servers,
    url_at,
    without_secrets,
)


def shares(shards: int, nodes: int) -> list[int]:
    """How many shards each node has, if they have slots in equal ranges."""
    ends = [round(SLOTS * (node + 1) / nodes) for node in range(nodes)]
    slots = [slot_of(shard) for shard in spread(shards)]
    return [
        sum(start <= slot < end for slot in slots)
        for start, end in zip([0, *ends], ends, strict=False)
    ]


def test_the_slot_of_a_key_is_what_the_servers_make_of_it() -> None:
    # As `CLUSTER KEYSLOT` of Valkey 9.1 says.
    assert [14296, 10233, 6042, 1979] == [slot_of(shard) for shard in range(4)]


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("shards", [12, 24, 120])
def test_every_node_has_an_equal_share(shards: int, nodes: int) -> None:
    assert {shards // nodes} == {*shares(shards, nodes)}


@pytest.mark.parametrize(
    ("shards", "nodes"), [(3, 3), (4, 2), (4, 4), (6, 3), (6, 6), (8, 4), (9, 3)]
)
def test_fewer_shards_are_spread_as_well(shards: int, nodes: int) -> None:
    assert {shards // nodes} == {*shares(shards, nodes)}


def test_numbers_stay_when_there_are_more_of_them() -> None:
    assert (11, 43, 0, 1, 42, 40, 2, 41, 3, 12, 10, 13) == spread(12)
    assert spread(12) == spread(1024)[:12]
    assert 1024 == len({*spread(1024)})
    assert max(spread(1024)) < 1 << 15, "the database has them in two bytes"


def test_at_home_shards_are_numbered_from_zero() -> None:
    layout = Layout.at_home(4)

    assert ((0, 1, 2, 3), b"4") == layout
    assert layout == Layout.recorded(b"4")
    assert 3 == layout.shard_of(UUID(int=7))


def test_streams_of_their_own_are_written_down_with_their_numbers() -> None:
    layout = Layout.apart(4, "3 servers")

    assert b"11,43,0,1 on 3 servers" == layout.record
    assert layout == Layout.recorded(layout.record)
    assert 43 == layout.shard_of(UUID(int=5))


def test_what_is_recorded_by_nobody_is_an_error() -> None:
    for record in (b"", b"four", b"1,x on 2 servers"):
        with pytest.raises(ValueError, match="invalid literal"):
            Layout.recorded(record)


def test_a_mismatch_says_what_to_set() -> None:
    assert "is 8, but REFTIDE_SHARDS is 4: set" in mismatch(b"8", b"4")
    said = mismatch(b"4", Layout.apart(12, "3 servers").record)
    assert "says 4, but REFTIDE_SHARDS and STREAMS_URL say 12 on 3 servers" in said


@pytest.mark.parametrize("text", ["", "redis://a:6379/0"])
def test_streams_are_at_home_unless_they_are_elsewhere(text: str) -> None:
    assert AT_HOME == stream_servers(text, "redis://a:6379/0")


def test_a_list_has_urls_of_any_kind() -> None:
    urls = (
        "redis://u:p@a:6379/0",
        "redis+sentinel://x,y:26380/first?db=0",
        "unix:///run/valkey.sock?db=0",
    )

    found = stream_servers(f"{urls[0]},{urls[1]} , {urls[2]}", "redis://home")

    assert urls == found.urls
    assert found.are_apart


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://a", "must start with"),
        ("redis://a,b", "a whole URL for each"),
        ("redis://a,redis://a", "twice"),
    ],
)
def test_what_is_no_list_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        stream_servers(text, "")


def test_what_is_logged_has_no_password() -> None:
    named = [
        "rediss://u:secret@a:6379/0?x=1",
        "redis://:secret@b/2",
        "unix://u:secret@/s",
    ]
    assert ["a:6379", "b/2", "/s"] == [without_secrets(url) for url in named]


def test_a_place_says_of_how_many() -> None:
    assert b"1 of 3" == place_of(0, 3)


def test_a_cluster_is_named_by_some_of_its_nodes() -> None:
    found = stream_servers("rediss+cluster://u:p@a:7000,b/0?ssl_check_hostname=0", "")

    assert found.is_cluster
    assert found.are_apart
    assert ("u:p@a:7000", "u:p@b") == tuple(
        url.removeprefix("rediss://").partition("?")[0] for url in found.urls
    )
    assert [Node("a", 7000), Node("b", 6379)] == [node_of(url) for url in found.urls]
    assert Layout.apart(1, found.kind).record == b"11 on a cluster"
    assert "rediss://u:p@[::1]:7001?ssl_check_hostname=0" == url_at(
        found.urls[0], Node("::1", 7001)
    )


@pytest.mark.parametrize(
    "text", ["redis+cluster://a/1", "redis+cluster://a,,b", "redis+cluster://a:x"]
)
def test_what_is_no_cluster_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be like redis\+cluster://host:port"):
        stream_servers(text, "")


def test_a_node_says_who_has_which_shard() -> None:
    info = b"cluster_state:ok\r\ncluster_current_epoch:7\r\n"
    slots = [[0, 8191, [b"10.0.0.1", 7000, b"id"]], [8192, 16383, [b"", 7001, b"id"]]]

    table = slot_table([info, slots], Node("here", 1))

    assert (True, 7) == (table.is_ok, table.epoch)
    assert Node("here", 7001) == table.node_of(0)
    assert Node("10.0.0.1", 7000) == table.node_of(2)
    assert [Node("10.0.0.1", 7000), Node("here", 7001)] == table.nodes
    assert slot_table([info, slots[1:]], Node("here", 1)).node_of(2) is None


def test_what_is_no_node_of_a_cluster_says_so() -> None:
    error = Exception("ERR This instance has cluster support disabled")
    with pytest.raises(ValueError, match="cluster support disabled"):
        slot_table([error, []], Node("here", 1))


@pytest.mark.parametrize(
    "said", ["MOVED 1 a:1", "ASK 1 a:1", "CLUSTERDOWN x", "TRYAGAIN x"]
)
def test_a_node_that_has_no_such_slot_has_done_nothing(said: str) -> None:
    assert is_misrouted(Exception(said))
    assert not is_misrouted(Exception("WRONGTYPE x"))
