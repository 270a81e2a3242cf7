from ipaddress import ip_network

import pytest

from ingest.core.client_ip import Proxies, truncate

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
