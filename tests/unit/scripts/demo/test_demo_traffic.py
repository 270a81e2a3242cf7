from collections import Counter
from ipaddress import ip_address

import pytest

from scripts.demo.agents import agents
from scripts.demo.steps import Click, Codes, Lead, Step, Visit
from scripts.demo.traffic import ROUND, Traffic

CODES = Codes(
    active=[f"on-{number}" for number in range(10)], inactive=["off"], programs=[7, 8]
)


def played(clicks: int, seed: int = 1) -> list[Visit]:
    rounds = Traffic(CODES, clicks, seed).rounds()
    return [visit for visits in rounds for visit in visits]


def steps(clicks: int, seed: int = 1) -> list[Step]:
    return [step for visit in played(clicks, seed) for step in visit.steps]


@pytest.mark.parametrize("clicks", [1, 19, 20, 100, 1999, 2001, 5000])
def test_there_are_as_many_clicks_as_were_asked_for(clicks: int) -> None:
    assert clicks == sum(isinstance(step, Click) for step in steps(clicks))


def test_every_twentieth_click_brings_a_lead() -> None:
    assert 250 == sum(isinstance(step, Lead) for step in steps(5000))


def test_one_seed_makes_one_traffic() -> None:
    assert played(500) == played(500)
    assert played(500) != played(500, seed=2)


def test_some_codes_are_unknown_some_inactive_and_some_clicks_are_tests() -> None:
    clicks = [step for step in steps(2000) if isinstance(step, Click)]

    assert {"link": 1920, "unknown": 40, "inactive": 20, "test": 20} == Counter(
        click.purpose for click in clicks
    )
    assert {"off"} == {click.code for click in clicks if click.purpose == "inactive"}
    assert {7, 8} == {click.program for click in clicks if click.purpose == "test"}


def test_some_events_are_sent_twice_by_the_same_visitor_one_right_after_the_other() -> (
    None
):
    twice = [
        (first, again)
        for visit in played(2000)
        for first, again in zip(visit.steps, visit.steps[1:], strict=False)
        if first.event == again.event
    ]
    times = Counter(step.event for step in steps(2000))

    assert {1, 2} == set(times.values())
    assert len(twice) == sum(count == 2 for count in times.values())
    assert {Click: 60, Lead: 10} == Counter(type(first) for first, _ in twice)
    assert all(first == again for first, again in twice)


def test_visitors_who_come_back_have_clicked_before() -> None:
    back = [
        (visit.steps[0], step)
        for visit in played(2000)
        for step in visit.steps
        if isinstance(step, Click) and step.comes_back
    ]

    assert 120 == len(back)
    assert all(first.event < step.event for first, step in back)
    assert any(first.code == step.code for first, step in back)
    assert any(first.code != step.code for first, step in back)


def test_a_lead_follows_a_click_of_the_same_person_at_once_or_in_a_later_round() -> (
    None
):
    clicked: set[int] = set()
    at_once = later = 0
    for visits in Traffic(CODES, 2 * ROUND, 1).rounds():
        before = frozenset(clicked)
        for visit in visits:
            number = visit.visitor.number
            if isinstance(visit.steps[0], Lead):
                assert number in before
                later += 1
            else:
                clicked.add(number)
                at_once += any(isinstance(step, Lead) for step in visit.steps)

    assert at_once > 50
    assert later > 50


def test_no_lead_is_one_that_another_event_was_already() -> None:
    events = {
        (step.customer, step.event_name): step.event
        for step in steps(5000)
        if isinstance(step, Lead)
    }
    told = {step.event for step in steps(5000) if isinstance(step, Lead)}

    assert told == set(events.values())
    assert any(name == "Trial Started" for _, name in events)


def test_the_first_links_are_clicked_most() -> None:
    count = Counter(
        step.code
        for step in steps(5000)
        if isinstance(step, Click) and step.purpose == "link"
    )

    assert count["on-0"] > 3 * count["on-4"] > 0
    assert set(CODES.active) == set(count)


def test_visitors_are_many_have_public_addresses_and_known_user_agents() -> None:
    visitors = {visit.visitor.number: visit.visitor for visit in played(5000)}.values()

    assert {visitor.agent for visitor in visitors} <= {text for text, _ in agents()}
    assert len({visitor.agent for visitor in visitors}) >= 300
    assert len({visitor.ip for visitor in visitors}) >= 2000
    assert all(ip_address(visitor.ip).is_global for visitor in visitors)
    assert 0.08 < sum(v.is_bot for v in visitors) / len(visitors) < 0.16
