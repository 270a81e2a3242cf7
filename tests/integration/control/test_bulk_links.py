"""Links in bulk, by the ids of another system."""

from typing import Any

from tests.support.control.api import Api


async def _put(api: Api, *links: Any) -> Any:
    said = await api("PUT", "/links/bulk", list(links))
    assert 200 == said.status, said.body
    return said.body


async def test_links_are_made_changed_and_left_alone_by_their_external_ids(
    api: Api,
) -> None:
    a, b = (
        {"external_id": f"e{n}", "code": f"B{n}", "program": 1, "partner": "jane"}
        for n in range(2)
    )
    first = await _put(api, a, b)
    second = await _put(api, a, {**b, "url": "https://b.example/", "inactive": True})
    third = await _put(api, {"external_id": "e0", "code": "RENAMED"})

    assert ["created", "created"] == [each["status"] for each in first["data"]]
    assert ["unchanged", "changed"] == [each["status"] for each in second["data"]]
    assert (1, 1) == (second["unchanged"], second["changed"])
    assert 1 == third["changed"]
    one = (await api("GET", f"/links/{first['data'][0]['public_id']}")).body
    assert ("RENAMED", ["B0"], "https://shop.example") == (
        one["code"],
        one["former_codes"],
        one["url"],
    )
    other = (await api("GET", f"/links/{first['data'][1]['public_id']}")).body
    assert ("https://b.example/", False, 1, "jane") == (
        other["url"],
        other["is_active"],
        other["program"],
        other["partner"],
    )


async def test_what_is_refused_leaves_the_others_alone(api: Api) -> None:
    body = await _put(
        api,
        {"external_id": "a", "code": "SUMMER"},
        {"external_id": "b", "code": "GOOD"},
        {"external_id": "b", "code": "AGAIN"},
        {"external_id": "c", "code": "GOOD"},
        {"external_id": "d", "code": "X", "program": 99},
        {"external_id": "e", "code": "Y", "partner": "nobody"},
        {"external_id": "f", "code": "Z", "domain": "not.ours.example"},
        {"external_id": "g"},
        {"code": "W", "url": "javascript:1"},
        {"code": "V", "colour": "red"},
        "no link",
        {"code": "mailed", "url": "mailto:a@example.com"},
        {"code": "PLAIN"},
    )

    done = [each["status"] for each in body["data"]]
    assert ["refused", "created", *["refused"] * 10, "created"] == done
    assert all(each["error"] for each in body["data"] if each["status"] == "refused")
    assert (2, 11) == (body["created"], body["refused"])


async def test_on_a_domain_codes_are_its_own_and_in_small_letters_too(api: Api) -> None:
    await api("POST", "/domains", {"domain": "go.shop.example"})
    link = {"external_id": "d1", "code": "Summer", "domain": "go.shop.example"}

    made = await _put(api, {**link, "url": "https://x.example/"})
    again = await _put(api, link)
    moved = await _put(api, {**link, "domain": None, "code": "Other"})

    assert (1, 1) == (made["created"], again["unchanged"])
    named = await api("GET", f"/links/{made['data'][0]['public_id']}")
    assert ["summer"] == named.body["former_codes"]
    assert ["refused"] == [each["status"] for each in moved["data"]] or 1 == moved[
        "changed"
    ]


async def test_an_array_has_at_most_a_thousand_links(api: Api) -> None:
    assert 422 == (await api("PUT", "/links/bulk", [])).status
    assert 422 == (await api("PUT", "/links/bulk", [{"code": "x"}] * 1001)).status
    assert 422 == (await api("PUT", "/links/bulk", {"code": "x"})).status
