"""While Redis fills, what comes without a key leaves fewer marks, and is taken all the same."""

from ingest.contracts.directory import LinkRecord
from ingest.contracts.envelope import Kind
from ingest.contracts.shares import HourlyShares
from ingest.contracts.variables import Variables
from ingest.core.recent import MarkShares
from ingest.dialects.spec.events import ByCode, Draft
from ingest.durable.degradation import Degradation, Pressure
from ingest.settings import Spooling
from tests.support.edge.accepting import Edge, a_link

_AT = 1_741_608_000_000
_HOUR_MS = 3_600_000
CLICK = Draft(kind=Kind.CLICK, target=ByCode("ALICE"))


def _admitted(
    shares: MarkShares,
    times: int,
    link: LinkRecord | None = None,
    ip: str | None = None,
    at: int = _AT,
) -> int:
    return sum(shares.admit(link, ip, at, has_key=False) for _ in range(times))


def test_while_redis_has_room_everybody_leaves_marks() -> None:
    assert 1000 == _admitted(MarkShares(lambda: False, HourlyShares(16)), 1000)


def test_while_redis_fills_a_workspace_a_link_and_a_network_have_their_shares() -> None:
    shares = MarkShares(lambda: True, HourlyShares(160))

    assert 10 == _admitted(shares, 50, a_link(1), "203.0.113.7")
    assert 0 == _admitted(shares, 1, a_link(1), "203.0.113.200")
    assert 30 == _admitted(shares, 50, a_link(1))
    assert 40 == _admitted(shares, 50, a_link(2))
    # The workspace has no more.
    assert 0 == _admitted(shares, 1, a_link(3), "198.51.100.1")
    assert shares.admit(a_link(1), "203.0.113.7", _AT, has_key=True)
    assert 10 == _admitted(shares, 50, a_link(1), "203.0.113.7", _AT + _HOUR_MS)


def test_redis_fills_from_half_of_the_threshold_on() -> None:
    degradation = Degradation(Spooling.load(Variables({})))
    for memory, is_filling in ((39.0, False), (40.0, True), (None, False)):
        degradation.observe(Pressure(memory=memory))
        assert is_filling == degradation.is_filling


async def test_a_click_beyond_its_share_is_taken_with_its_short_id() -> None:
    edge = Edge(
        has_short_clicks=True, shares=MarkShares(lambda: True, HourlyShares(16))
    )
    edge.publish(a_link())

    first = await edge.take(CLICK)
    marks = dict(edge.claims.marks)
    edge.headers["user-agent"] = "another visitor's"
    second = await edge.take(CLICK)

    assert [200, 200] == [first.status, second.status]
    assert marks
    assert marks == edge.claims.marks
    assert second.body["click"] == edge.sink.envelopes[-1].click.token
