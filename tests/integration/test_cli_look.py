"""`reftide status`, `event`, `verify`, `doctor` and `quarantine`, on hand-made books."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest
from redis import Redis
from uuid_utils.compat import uuid7

from ingest.contracts import ids
from ingest.contracts.clickid import KeyRing
from ingest.contracts.envelope import Envelope, Kind, encode
from ingest.contracts.stream import (
    FIELD,
    GROUP,
    SHARDS_KEY,
    WORKERS_KEY,
    epoch_key,
    events_key,
    heartbeat_key,
    shard_of,
)
from scripts import streams
from tests.reftide import SECRET, Cli, servers_of

LINK = UUID(int=0x51)

_EVENT = """
with written as (
    insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch,
                        shard, entry_seq, entry_ms, workspace_id, link_id, program_id,
                        partner_id, dialect)
    select $1, to_timestamp($2 / 1000.0), 0, 'click', $3, false, false, 1, $4, $5, $6, $7,
           workspace_id, id, program_id, partner_id, 'biore'
      from links
    returning *
), booked as (
    insert into ledger (epoch, shard, consumer, recorded) values ($4, $5, 'by hand', 1)
    on conflict (epoch, shard, consumer) do update set recorded = ledger.recorded + 1
), counted as (
    update links set clicks = clicks + 1 where not $3
), enrolled as (
    update program_partners set clicks = clicks + 1 where not $3
)
insert into link_days (link_id, day, clicks)
select link_id, (at at time zone 'UTC')::date, 1 from written where not $3
on conflict (link_id, day) do update set clicks = link_days.clicks + 1
"""


@dataclass(frozen=True, slots=True)
class Hands:
    """Does what an edge and a worker do, a step at a time."""

    cli: Cli
    redis: Redis

    def send(self, event_id: UUID | None = None, raw: bytes | None = None) -> UUID:
        """Append a click."""
        event_id = event_id or uuid7()
        sealed = Envelope(
            id=event_id, kind=Kind.CLICK, dialect="biore", at=ids.millis(event_id)
        )
        shard = shard_of(event_id, 4)
        self.redis.xadd(events_key(shard), {FIELD: raw or encode(sealed)})
        return event_id

    def deliver(self) -> list[tuple[int, bytes]]:
        """Read what waits, as a worker; (shard, entry) of each."""
        keys = [events_key(shard) for shard in range(4)]
        found = self.redis.xreadgroup(GROUP, "by hand", dict.fromkeys(keys, ">"))
        return [
            (keys.index(key.decode()), entry)
            for key, read in found
            for entry, _ in read
        ]

    def acknowledge(self, entry: tuple[int, bytes]) -> None:
        self.redis.xack(events_key(entry[0]), GROUP, entry[1])

    def record(
        self, event_id: UUID, entry: tuple[int, bytes], *, is_test: bool = False
    ) -> None:
        """Write a click's row and count it."""
        shard, (ms, seq) = entry[0], map(int, entry[1].split(b"-"))
        self.cli.fetch(
            _EVENT,
            event_id,
            float(ids.millis(event_id)),
            is_test,
            self.epoch(shard),
            shard,
            seq,
            ms,
        )

    def settle(self, event_id: UUID) -> None:
        """All that becomes of an event: sent, delivered, recorded, acknowledged."""
        self.send(event_id)
        (entry,) = self.deliver()
        self.record(event_id, entry)
        self.acknowledge(entry)

    def epoch(self, shard: int) -> int:
        return int(self.redis.get(epoch_key(shard)))


@pytest.fixture
def cli(redis_url: str, database_url: str) -> Cli:
    made = servers_of(redis_url, database_url)
    made.document("programs", "add", "Shop")
    made.document("partners", "add", "jane")
    made.document("links", "add", "SUMMER", "--program", "1", "--partner", "jane")
    return made


@pytest.fixture
def hands(cli: Cli, redis_url: str) -> Iterator[Hands]:
    with Redis.from_url(redis_url) as redis:
        redis.set(SHARDS_KEY, 4)
        for shard in range(4):
            (row,) = cli.fetch(
                "insert into stream_epochs (shard) values ($1) returning epoch", shard
            )
            redis.set(epoch_key(shard), row["epoch"])
            redis.xgroup_create(events_key(shard), GROUP, id="0", mkstream=True)
        yield Hands(cli, redis)


# Status ------------------------------------------------------------------------------


def _ledger(cli: Cli) -> dict[str, int]:
    status = cli.document("status", "--window", "0")
    names = (
        "accepted",
        "recorded",
        "repeats",
        "quarantined",
        "lost",
        "in_flight",
        "balance",
    )
    return {name: status[name] for name in names if status[name]}


def test_an_event_goes_through_the_books_and_the_balance_stays_zero(
    hands: Hands,
) -> None:
    assert {} == _ledger(hands.cli)

    event_id = hands.send()
    assert {"accepted": 1, "in_flight": 1} == _ledger(hands.cli)

    (entry,) = hands.deliver()
    assert {"accepted": 1, "in_flight": 1} == _ledger(hands.cli)

    hands.record(event_id, entry)
    hands.acknowledge(entry)
    assert {"accepted": 1, "recorded": 1} == _ledger(hands.cli)


def test_an_entry_trimmed_unread_shows_as_an_imbalance(hands: Hands) -> None:
    event_id = hands.send()
    hands.redis.xtrim(events_key(shard_of(event_id, 4)), maxlen=0, approximate=False)

    assert {"accepted": 1, "balance": 1} == _ledger(hands.cli)

    hands.cli.fetch(
        "insert into ledger (epoch, shard, consumer, lost) values (1, 0, '', 1)"
    )

    assert {"accepted": 1, "lost": 1} == _ledger(hands.cli)


def test_what_was_recorded_stays_counted_when_the_stream_is_trimmed(
    hands: Hands,
) -> None:
    hands.settle(event_id := uuid7())
    hands.redis.xtrim(events_key(shard_of(event_id, 4)), maxlen=0, approximate=False)

    assert {"accepted": 1, "recorded": 1} == _ledger(hands.cli)


def test_a_former_life_of_a_stream_stays_in_the_books(hands: Hands) -> None:
    hands.cli.fetch("insert into stream_epochs (shard, entries_added) values (0, 5)")

    assert {"accepted": 5, "balance": 5} == _ledger(hands.cli)


def test_the_lag_is_the_age_of_the_oldest_entry_that_is_not_acknowledged(
    hands: Hands,
) -> None:
    seconds, _ = hands.redis.time()
    old = f"{(seconds - 90) * 1000}-0"
    hands.redis.xadd(events_key(2), {FIELD: b"{}"}, id=old)
    hands.redis.xadd(events_key(2), {FIELD: b"{}"}, id=f"{(seconds - 30) * 1000}-0")

    for delivered in (False, True):
        status = hands.cli.document("status", "--window", "0")
        assert 90 <= status["lag_seconds"] < 150
        assert delivered == (status["shards"][2]["oldest_pending_seconds"] >= 90)
        assert 2 == status["lag_entries"] == status["shards"][2]["in_flight"]
        hands.deliver()

    hands.acknowledge((2, old.encode()))
    status = hands.cli.document("status", "--window", "0")
    assert 30 <= status["lag_seconds"] < 90


def test_only_workers_with_a_heartbeat_are_alive(hands: Hands) -> None:
    hands.redis.sadd(WORKERS_KEY, "alive", "dead")
    hands.redis.set(heartbeat_key("alive"), b"1")

    status = hands.cli.document("status", "--window", "0")

    assert (1, ["alive"]) == (status["workers"], status["worker_names"])


def test_throughput_and_memory_are_told_where_they_can_be(hands: Hands) -> None:
    hands.send()

    measured = hands.cli.document("status", "--window", "0.05")
    not_measured = hands.cli.document("status", "--window", "0")

    assert 0.0 == measured["accepted_per_second"] == measured["recorded_per_second"]
    assert not_measured["recorded_per_second"] is None
    assert measured["bytes_per_event"] > 0
    assert measured["redis_memory_bytes"] > 0
    assert measured["hours_left"] is None  # nothing comes in


def test_people_read_no_flags_and_no_raw_bytes(hands: Hands) -> None:
    hands.send()
    hands.redis.sadd(WORKERS_KEY, "alive")
    hands.redis.set(heartbeat_key("alive"), b"1")

    shown = hands.cli.run("status", "--window", "0").out

    assert "is still" not in shown
    assert "is exact" not in shown
    (memory,) = (line for line in shown.splitlines() if "redis memory" in line)
    assert "iB" in memory
    assert "1 (alive)" in shown


def test_a_large_backlog_is_taken_from_counters(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        hands.redis.xadd(events_key(1), {FIELD: b"{}"})
    hands.deliver()
    for _ in range(5):
        hands.redis.xadd(events_key(1), {FIELD: b"{}"})
    monkeypatch.setattr(streams, "COUNTED", 4)

    status = hands.cli.document("status", "--window", "0")

    assert (8, False) == (status["in_flight"], status["is_exact"])
    assert "backlog is large" in hands.cli.run("status", "--window", "0").out


def test_streams_longer_than_a_page_are_read_whole(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_PAGE", 2)
    for _ in range(5):
        hands.settle(uuid7())
    for _ in range(5):
        hands.redis.xadd(events_key(1), {FIELD: b"{}"})
    hands.deliver()
    for _ in range(4):
        hands.redis.xadd(events_key(1), {FIELD: b"{}"})

    report = _verify(hands.cli)

    assert ([], 9, 5) == (
        report["mismatches"],
        report["in_flight"],
        report["compared"]["entries"],
    )


def test_a_server_that_never_ran_has_empty_books(cli: Cli) -> None:
    assert {} == _ledger(cli)
    shown = cli.run("status", "--window", "0").out
    assert "No worker is alive" in shown


# Event -------------------------------------------------------------------------------


def _state(cli: Cli, event_id: object) -> str:
    result = cli.run("event", str(event_id), "--json")
    assert int(result.document["state"] in {"unknown", "missing"}) == result.code
    return result.document["state"]


def test_an_event_is_followed_to_its_row(hands: Hands) -> None:
    event_id = uuid7()
    assert "unknown" == _state(hands.cli, event_id)
    hands.send(event_id)
    assert "in_flight" == _state(hands.cli, event_id)
    (entry,) = hands.deliver()
    assert "in_flight" == _state(hands.cli, event_id)
    hands.record(event_id, entry)
    assert "recorded" == _state(hands.cli, event_id)


def test_an_entry_that_was_acknowledged_without_a_trace_is_missing(
    hands: Hands,
) -> None:
    event_id = hands.send()
    (entry,) = hands.deliver()
    hands.acknowledge(entry)

    assert "missing" == _state(hands.cli, event_id)
    assert "reftide verify" in hands.cli.run("event", str(event_id)).out


def test_a_click_id_leads_to_its_click(hands: Hands) -> None:
    hands.settle(click_id := uuid7())
    token = KeyRing([SECRET.encode()]).issue(click_id, LINK)

    found = hands.cli.document("event", token)

    assert ("recorded", str(click_id)) == (found["state"], found["id"])
    assert ("SUMMER", "jane", 1) == tuple(
        found["event"][name] for name in ("link", "partner", "program")
    )


def test_a_click_id_of_another_installation_is_refused(cli: Cli) -> None:
    token = KeyRing([b"somebody else's secret"]).issue(uuid7(), LINK)

    result = cli.run("event", token)

    assert (2, "") == (result.code, result.out)
    assert "REFTIDE_SECRET" in result.err


def test_a_test_event_is_found_by_its_number(hands: Hands) -> None:
    event_id = uuid7()
    number = ids.test_event_number(event_id)
    assert "unknown" == _state(hands.cli, number)
    hands.send(event_id)
    assert "in_flight" == _state(hands.cli, number)
    (entry,) = hands.deliver()
    hands.record(event_id, entry, is_test=True)

    found = hands.cli.document("event", str(number))
    assert ("recorded", str(event_id)) == (found["state"], found["id"])


def test_a_repeat_names_the_event_that_it_was(hands: Hands) -> None:
    first, again = uuid7(), uuid7()
    hands.settle(first)
    hands.cli.fetch(
        "insert into event_aliases (id, event_id) values ($1, $2)", again, first
    )

    found = hands.cli.document("event", str(again))

    assert ("repeat", str(first)) == (found["state"], found["repeat_of"])
    assert str(first) in hands.cli.run("event", str(again)).out


def test_a_quarantined_event_says_why(hands: Hands) -> None:
    event_id = uuid7()
    _quarantine(hands.cli, event_id=event_id)

    found = hands.cli.document("event", str(event_id))

    assert ("quarantined", "unknown_link") == (
        found["state"],
        found["quarantine"][0]["reason"],
    )


def test_what_is_no_id_is_refused(cli: Cli) -> None:
    result = cli.run("event", "yesterday")

    assert 2 == result.code
    assert "UUID" in result.err


# Verify ------------------------------------------------------------------------------


def _verify(cli: Cli) -> dict:
    result = cli.run("verify", "--json", "--wait", "0")
    report = result.document
    assert (0 if report["ok"] else 1) == result.code
    assert (report["mismatch_count"] == 0) == (not report["mismatches"])
    assert report["ok"] == (not report["mismatches"])
    return report


def _mismatches(cli: Cli) -> list[tuple[str, str, int, int]]:
    names = ("what", "counter", "expected", "found")
    return [tuple(one[name] for name in names) for one in _verify(cli)["mismatches"]]


def test_right_books_are_proven(hands: Hands) -> None:
    for _ in range(5):
        hands.settle(uuid7())

    report = _verify(hands.cli)

    assert (True, True, 0) == (report["ok"], report["settled"], report["balance"])
    assert 5 == report["compared"]["entries"]
    assert "All equal" in hands.cli.run("verify").out


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("update links set clicks = 7", ("link", "clicks", 1, 7)),
        ("update links set leads = 1", ("link", "leads", 0, 1)),
        ("update program_partners set clicks = 0", ("program_partner", "clicks", 1, 0)),
        ("update link_days set bot_clicks = 1", ("link_day", "bot_clicks", 0, 1)),
        ("delete from link_days", ("link_day", "clicks", 1, 0)),
        (
            "insert into link_amounts select id, 'USD', 5 from links",
            ("link_amount", "amount", 0, 5),
        ),
        (
            """insert into program_partner_amounts
               select program_id, partner_id, 'USD', 5 from program_partners""",
            ("program_partner_amount", "amount", 0, 5),
        ),
    ],
)
def test_a_counter_that_is_off_is_named(
    hands: Hands, statement: str, expected: tuple[str, str, int, int]
) -> None:
    hands.settle(uuid7())
    hands.cli.fetch(statement)

    assert [expected] == _mismatches(hands.cli)
    assert expected[0] in hands.cli.run("verify", "--wait", "0").out


def test_books_that_count_what_has_no_row_are_named(hands: Hands) -> None:
    hands.settle(uuid7())
    hands.cli.fetch("update ledger set repeats = 1")

    assert [("books", "settled", 1, 2), ("ledger", "repeats", 0, 1)] == _mismatches(
        hands.cli
    )


def test_an_acknowledged_entry_without_a_trace_is_named(hands: Hands) -> None:
    hands.settle(uuid7())
    hands.send()
    (entry,) = hands.deliver()
    hands.acknowledge(entry)

    found = _verify(hands.cli)["mismatches"]

    assert {"entry", "books"} == {one["what"] for one in found}
    assert any(one["key"].endswith(entry[1].decode()) for one in found)


@pytest.mark.parametrize("table", ["repeats", "quarantine"])
def test_repeats_and_quarantine_account_for_their_entries(
    hands: Hands, table: str
) -> None:
    event_id = hands.send()
    (entry,) = hands.deliver()
    shard, (ms, seq) = entry[0], map(int, entry[1].split(b"-"))
    place = (hands.epoch(shard), shard, ms, seq)
    if table == "repeats":
        hands.cli.fetch(
            "insert into repeats values ($1, $2, $3, $4, $5)", *place, event_id
        )
    else:
        _quarantine(hands.cli, place=place)
    column = {"repeats": "repeats", "quarantine": "quarantined"}[table]
    hands.cli.fetch(
        f"insert into ledger (epoch, shard, consumer, {column}) values ($1, $2, 'x', 1)",  # noqa: S608
        *place[:2],
    )
    hands.acknowledge(entry)

    assert [] == _mismatches(hands.cli)


def test_test_events_and_events_in_flight_count_nothing(hands: Hands) -> None:
    event_id = hands.send()
    (entry,) = hands.deliver()
    hands.record(event_id, entry, is_test=True)
    hands.acknowledge(entry)
    hands.send()

    report = _verify(hands.cli)

    assert ([], False, 1) == (
        report["mismatches"],
        report["settled"],
        report["in_flight"],
    )


def test_verify_waits_for_what_is_in_flight_but_not_for_ever(hands: Hands) -> None:
    hands.send()

    result = hands.cli.run("verify", "--wait", "0.3")

    assert 0 == result.code
    assert 1 == hands.cli.run("verify", "--wait", "0", "--at-rest").code
    assert "All equal" not in result.out
    assert "Not at rest (1 event in flight)" in result.out


def test_one_of_a_thing_is_named_as_one(hands: Hands) -> None:
    hands.settle(uuid7())

    right = hands.cli.run("verify").out
    assert "1 link, 1 program partner, 1 link day" in right
    assert "1 ledger, 1 entry)" in right
    hands.cli.fetch("update links set leads = 1")
    assert "1 difference (0 not shown)" in hands.cli.run("verify").out


def test_of_many_differences_twenty_are_shown_and_all_are_counted(hands: Hands) -> None:
    hands.cli.fetch(
        "insert into link_days (link_id, day, clicks)"
        " select $1, date '2026-01-01' + n, 1 from generate_series(1, 30) as n",
        LINK,
    )

    report = _verify(hands.cli)

    assert (20, 30) == (len(report["mismatches"]), report["mismatch_count"])
    assert "30 differences (10 not shown)" in hands.cli.run("verify").out


# Doctor ------------------------------------------------------------------------------


def test_the_doctor_judges_both_servers(hands: Hands) -> None:
    result = hands.cli.run("doctor", "--json")

    levels = {one["check"]: one["level"] for one in result.document["checks"]}
    assert {"version", "appendonly", "shards", "groups", "fsync", "schema"} <= set(
        levels
    )
    assert ("ok", "ok", "ok") == (levels["schema"], levels["groups"], levels["shards"])
    assert result.document["ok"] == (result.code == 0)
    assert "fsync" in hands.cli.run("doctor").out


def test_a_clock_that_is_off_is_wrong(hands: Hands) -> None:
    result = hands.cli.run("doctor", "--json")  # the test's clock stands still

    (clocks,) = (one for one in result.document["checks"] if one["check"] == "skew")
    assert ("wrong", 1) == (clocks["level"], result.code)
    assert "NTP" in clocks["advice"]


def test_missing_groups_are_a_warning_that_only_strict_minds(cli: Cli) -> None:
    checks = cli.run("doctor", "--strict", "--json").document["checks"]

    (groups,) = (one for one in checks if one["check"] == "groups")
    assert "warn" == groups["level"]
    assert "start a worker" in groups["advice"]


@pytest.mark.parametrize(
    ("variable", "url", "away", "there"),
    [
        ("DATABASE_URL", "postgresql://reftide@127.0.0.1:1/r", "Postgres", "Redis"),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "Redis", "Postgres"),
    ],
)
def test_a_server_is_checked_while_the_other_is_away(
    hands: Hands, variable: str, url: str, away: str, there: str
) -> None:
    result = Cli({**hands.cli.variables, variable: url}).run("doctor", "--json")

    checks = result.document["checks"]
    assert 3 == result.code
    (reach,) = (one for one in checks if one["server"] == away)
    assert ("wrong", "cannot be reached") == (reach["level"], reach["found"])
    assert variable in reach["advice"]
    assert {"version"} < {one["check"] for one in checks if one["server"] == there}


# Quarantine --------------------------------------------------------------------------


def _quarantine(
    cli: Cli,
    *,
    event_id: UUID | None = None,
    place: tuple[int, int, int, int] = (9, 0, 1, 0),
    reason: str = "unknown_link",
    payload: bytes = b"{}",
) -> int:
    (row,) = cli.fetch(
        "insert into quarantine (epoch, shard, entry_ms, entry_seq, event_id, kind, dialect,"
        " workspace_id, code, reason, detail, payload, consumer)"
        " values ($1, $2, $3, $4, $5, 'click', 'biore', (select id from workspaces limit 1),"
        " 'NOBODY', $6::text::quarantine_reason, 'why', $7, 'w') returning id",
        *place,
        event_id,
        reason,
        payload,
    )
    return row["id"]


def test_quarantine_is_listed_by_reason_time_and_workspace(cli: Cli) -> None:
    _quarantine(cli, place=(9, 0, 1, 0))
    _quarantine(cli, place=(9, 0, 2, 0), reason="expired")
    cli.document("workspaces", "add", "other")

    def reasons(*arguments: str) -> list[str]:
        found = cli.document("quarantine", "list", *arguments)
        assert found["count"] >= len(found["entries"])
        return [one["reason"] for one in found["entries"]]

    assert ["expired", "unknown_link"] == reasons()
    assert ["expired"] == reasons("--reason", "expired")
    assert ["expired"] == reasons("--limit", "1")
    assert [] == reasons("--workspace", "other")
    assert [] == reasons("--since", "2100-01-01")
    assert ["expired", "unknown_link"] == reasons("--since", "2020-01-01T00:00:00Z")
    assert [] == reasons("--status", "discarded")
    assert ["expired", "unknown_link"] == reasons("--status", "all")
    assert "NOBODY" in cli.run("quarantine", "list").out


def test_a_span_counts_back_from_now(cli: Cli) -> None:
    _quarantine(cli)
    (row,) = cli.fetch("select extract(epoch from now())::float8 + 7200 as later")
    later = Cli(cli.variables, now=row["later"])

    assert 0 == later.document("quarantine", "list", "--since", "1h")["count"]
    assert 1 == later.document("quarantine", "list", "--since", "3h")["count"]
    assert 1 == later.document("quarantine", "list", "--since", "1d")["count"]


def test_an_envelope_in_quarantine_is_shown_decoded(cli: Cli) -> None:
    envelope = Envelope(
        id=uuid7(),
        kind=Kind.CLICK,
        dialect="biore",
        at=1,
        code="NOBODY",
        visitor=b"v" * 8,
    )
    number = _quarantine(cli, payload=encode(envelope))

    shown = cli.document("quarantine", "show", str(number))

    assert {
        "id": str(envelope.id),
        "kind": "click",
        "dialect": "biore",
        "at": 1,
        "code": "NOBODY",
        "quantity": 1,
        "visitor": (b"v" * 8).hex(),
    } == shown["envelope"]
    assert ("unknown_link", "why", 1) == (
        shown["reason"],
        shown["detail"],
        shown["attempts"],
    )


def test_bytes_that_are_no_envelope_are_shown_harmlessly(cli: Cli) -> None:
    number = _quarantine(cli, payload=b"\xff\x1b[2J\x00", reason="undecodable")

    shown = cli.document("quarantine", "show", str(number))
    assert shown["envelope"] is None
    assert "\\xff\\x1b[2J\\x00" in cli.run("quarantine", "show", str(number)).out


def test_every_reason_can_be_asked_for(cli: Cli) -> None:
    (row,) = cli.fetch("select enum_range(null::quarantine_reason)::text[] as reasons")

    for reason in row["reasons"]:
        assert 0 == cli.document("quarantine", "list", "--reason", reason)["count"]


def test_a_number_that_is_not_in_quarantine_is_refused(cli: Cli) -> None:
    result = cli.run("quarantine", "show", "99")

    assert (2, "") == (result.code, result.out)
    assert "quarantine list" in result.err


def test_what_is_no_time_is_refused(cli: Cli) -> None:
    assert "90m" in cli.run("quarantine", "list", "--since", "lately").err
