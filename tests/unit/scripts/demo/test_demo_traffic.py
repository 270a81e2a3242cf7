from collections import Counter

from scripts.demo.agents import agents
from scripts.demo.records import differences
from scripts.demo.sender import Answer, Tally
from scripts.demo.traffic import DemoClick, clicks, lead

CODES = [f"demo-{number:03}" for number in range(1, 6)]
YES = Answer(200, b'{"success":true,"click_id":"clk"}')


def made(count: int = 330, seed: int = 1) -> list[DemoClick]:
    return list(clicks("run-1", CODES, count, seed))


def found(**counts: int) -> dict[str, int]:
    return {"clicks": 0, "leads": 0, "repeats": 0, "quarantined": 0, **counts}


def test_the_same_seed_makes_the_same_clicks() -> None:
    assert made() == made()
    assert made() != made(seed=2)


def test_some_links_are_clicked_more_than_others() -> None:
    codes = Counter(
        click.body["affiliate_url"].rpartition("aff=")[2] for click in made()
    )

    assert CODES[0] == codes.most_common(1)[0][0]
    assert set(CODES) == set(codes)


def test_every_twentieth_click_is_a_persons_and_has_a_lead() -> None:
    people = {text for text, is_bot in agents() if not is_bot}
    with_leads = [click for click in made() if click.has_lead]

    assert [20, 40] == [click.number for click in with_leads[:2]]
    assert {click.headers["User-Agent"] for click in with_leads} <= people
    assert not {click.headers["User-Agent"] for click in made()} <= people


def test_what_is_sent_twice_has_an_idempotency_key() -> None:
    twice = [click for click in made() if click.times > 1]

    assert 10 == len(twice)
    assert 10 == len({click.headers["Idempotency-Key"] for click in twice})
    assert all(
        "Idempotency-Key" not in click.headers for click in made() if click.times == 1
    )


def test_every_event_carries_the_name_of_its_run() -> None:
    click = made(1)[0]

    assert "run-1" == click.body["additional_data"]["demo"]
    assert "run-1" == lead("run-1", click, "clk")["metadata"]["demo"]
    assert "run-1-1" == lead("run-1", click, "clk")["customerExternalId"]


def test_what_is_accepted_must_be_found_and_nothing_else() -> None:
    tally = Tally()
    tally.take("clicks", YES, is_repeat=False)
    tally.take("clicks", YES, is_repeat=True)
    tally.take("clicks", Answer(400, b"{}"), is_repeat=False)

    assert [] == differences(found(clicks=1, repeats=1), tally)
    (missing,) = differences(found(repeats=1), tally)
    assert ("clicks", 1, 0, -1) == tuple(
        missing[name] for name in ("key", "expected", "found", "off_by")
    )
    assert ["clicks", "quarantined"] == [
        row["key"]
        for row in differences(found(clicks=2, repeats=1, quarantined=1), tally)
    ]


def test_a_request_without_a_clear_answer_may_be_found_or_not() -> None:
    tally = Tally()
    tally.lose(TimeoutError())
    tally.take("clicks", Answer(503, b""), is_repeat=False)

    assert 2 == tally.uncertain
    for clicks_found in (0, 1, 2):
        assert [] == differences(found(clicks=clicks_found), tally)
    assert differences(found(clicks=3), tally)
