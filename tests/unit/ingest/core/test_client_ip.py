from ipaddress import ip_network

import pytest

from ingest.core.client_ip import Forwarders, Proxies, truncate

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        # Nobody vouches for what an untrusted peer says.
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        # To the left of the first stranger is the stranger's own text.
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "junk,198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2 ,10.0.0.3", "198.51.100.1"),
        # All of them are ours: the first one called.
        ("10.0.0.1", "10.0.0.2,10.0.0.3", "10.0.0.2"),
        ("10.0.0.1", "198.51.100.1,junk", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1,", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("fd00::1", "[2001:db8::1]:443", "2001:db8::1"),
        ("fd00::1", "[2001:db8::1]", "2001:db8::1"),
        ("fd00::1%eth0", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        (None, "198.51.100.1", None),
        ("", "198.51.100.1", None),
    ],
)
def test_the_caller_is_the_nearest_address_that_no_proxy_of_ours_has(
    peer: str | None, forwarded: str, expected: str | None
) -> None:
    assert expected == Proxies(TRUSTED).caller(peer, forwarded)


def test_without_trusted_proxies_the_peer_is_the_caller() -> None:
    assert "10.0.0.1" == Proxies([]).caller("10.0.0.1", "198.51.100.1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.7", "198.51.100.1", "198.51.100.1"),
        # Behind a proxy of ours, which appended who called it.
        ("10.0.0.1", "198.51.100.1, 203.0.113.7", "198.51.100.1"),
        # Whom it vouches for, nobody vouches for.
        ("203.0.113.7", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 203.0.113.7", "198.51.100.1"),
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "junk", "203.0.113.7"),
        (None, "198.51.100.1", None),
    ],
)
def test_a_caller_that_is_vouched_for_says_who_called_it(
    peer: str | None, forwarded: str, expected: str | None
) -> None:
    assert expected == Proxies(TRUSTED).caller(peer, forwarded, is_vouched=True)


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("junk", None),
    ],
)
def test_an_address_is_cut_to_its_neighbourhood(ip: str, expected: str | None) -> None:
    assert expected == truncate(ip)


MINUTE_MS = 60_000
NOW = 1_790_000_000_000


def asked(forwarders: Forwarders, **counts: int) -> None:
    for peer, count in counts.items():
        for _ in range(count):
            forwarders.count(peer)


def test_who_forwards_most_requests_without_being_trusted_is_named() -> None:
    proxies = Proxies(TRUSTED)
    proxies.forwarders.main(NOW, 1000)
    for _ in range(60):
        proxies.told("203.0.113.7", "198.51.100.1")
        proxies.told("10.0.0.1", "198.51.100.1")
        proxies.told("10.0.0.1", "junk")
        proxies.told("203.0.113.8", "")

    found = proxies.forwarders.main(NOW + 1000, 1000 + 100)
    assert {"address": "203.0.113.7", "requests": 60, "of": 100} == found
    assert proxies.forwarders.main(NOW + 2000, 1000 + 120) is None


def test_a_few_requests_prove_nothing() -> None:
    forwarders = Forwarders()
    forwarders.main(NOW, 0)
    asked(forwarders, few=19)

    assert forwarders.main(NOW, 19) is None


def test_who_forwarded_is_forgotten_after_two_minutes() -> None:
    forwarders = Forwarders()
    forwarders.main(NOW, 0)
    asked(forwarders, proxy=50)

    assert forwarders.main(NOW + MINUTE_MS, 50)
    assert forwarders.main(NOW + 2 * MINUTE_MS - 1, 50)
    assert forwarders.main(NOW + 2 * MINUTE_MS, 50) is None


def test_of_many_forwarders_the_first_are_counted() -> None:
    forwarders = Forwarders()
    forwarders.main(NOW, 0)
    asked(forwarders, proxy=1)
    for number in range(100_000):
        forwarders.count(f"stranger {number}")
    asked(forwarders, proxy=200_000)

    found = forwarders.main(NOW, 300_001)
    assert found
    assert ("proxy", 200_001) == (found["address"], found["requests"])
    assert len(forwarders._latest.counts) < 1000
