from ingest.contracts.envelope import Client
from scripts.demo import agents as demo_agents
from workers.enrich import bots, build_enrichers, geo


def test_the_demo_has_hundreds_of_distinct_user_agents() -> None:
    agents = demo_agents.agents()

    assert len(agents) == len({text for text, _ in agents})
    assert len(agents) >= 400
    assert sum(not is_bot for _, is_bot in agents) >= 150


def test_each_user_agent_of_the_demo_is_judged_as_it_expects() -> None:
    judged = [(text, bots.is_bot(text)) for text, _ in demo_agents.agents()]

    assert demo_agents.agents() == judged


def test_each_person_of_the_demo_has_a_device_and_a_browser() -> None:
    enrich = build_enrichers(None)
    people = [
        enrich(Client(user_agent=text))
        for text, is_bot in demo_agents.agents()
        if not is_bot and not text.startswith("okhttp/")
    ]

    assert {"desktop", "mobile", "tablet", "tv", "console"} == {
        seen.agent.device for seen in people
    }
    assert all(seen.agent.browser for seen in people)


def test_the_addresses_of_the_demo_come_from_many_countries() -> None:
    countries = {ip: geo.country_of(ip).country for ip in demo_agents.addresses()}

    assert "GB" == countries["81.2.69.142"]
    assert None not in countries.values()
    assert len(countries) >= 60
    assert len(set(countries.values())) >= 25
    assert any(":" in ip for ip in countries)
