"""The client's address, as trusted proxies report it.

Each proxy appends the address that it was called from to `X-Forwarded-For`. Only what a
trusted proxy appended is true; everything to the left of that is the caller's own text.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import AF_INET, inet_pton
from typing import Final

from ingest.settings import Network

_IPV6_KEPT: Final = 48
_IPV6_OF_A_HOST: Final = 64
_PROXIES_KEPT: Final = 4096
_ADDRESSES_KEPT: Final = 4096
_FORWARDERS_KEPT: Final = 256
#: Fewer requests within a minute prove nothing.
_FEW: Final = 20
_MINUTE_MS: Final = 60_000


class Forwarders:
    """Counts who sends X-Forwarded-For without being trusted, for the last minute or two.

    If most requests come from one of them, it is likely a proxy that should be trusted: all
    its visitors share one address, and the limits of one.
    """

    def __init__(self) -> None:
        self._former, self._latest = _Minute(0), _Minute(0)
        self._since = 0

    def count(self, peer: str) -> None:
        counts = self._latest.counts
        if peer in counts or len(counts) < _FORWARDERS_KEPT:
            counts[peer] += 1

    def main(self, now: int, requests: int) -> Mapping[str, object] | None:
        """The address that most requests come from, with how many; None: there is none.

        `now` is in Unix milliseconds. There have been so many `requests` of any kind.
        """
        age = abs(now - self._since)
        if age >= _MINUTE_MS:
            self._since = now
            self._former = self._latest if age < 2 * _MINUTE_MS else _Minute(requests)
            self._latest = _Minute(requests)
        counts = self._former.counts + self._latest.counts
        total = requests - self._former.began_at
        [(address, count)] = counts.most_common(1) or [("", 0)]
        if count < _FEW or 2 * count <= total:
            return None
        return {"address": address, "requests": count, "of": total}


class _Minute:
    """A minute's requests by address; how many of any kind there had been before it."""

    def __init__(self, began_at: int) -> None:
        self.began_at = began_at
        self.counts: Counter[str] = Counter()


class Proxies:
    """The trusted proxies: those with an address in a trusted network."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        """Without networks no proxy is trusted."""
        self._trusted = trusted
        # Proxies are few, and to look for an address in a network takes microseconds.
        self._is_trusted = lru_cache(_PROXIES_KEPT)(self._is_within)
        self.forwarders = Forwarders()

    def told(self, peer: str | None, forwarded: str) -> str | None:
        """What `caller` says; who is not trusted and says addresses is counted."""
        caller = self.caller(peer, forwarded)
        if forwarded and caller == peer:
            self.notice(caller)
        return caller

    def host(self, peer: str | None, host: str, forwarded: str) -> str:
        """The host that was asked for: the last that a trusted proxy says, else the header."""
        if forwarded and peer is not None and self._is_trusted(peer):
            return forwarded.rpartition(",")[2]
        return host

    def notice(self, peer: str | None) -> None:
        """Count a request that says addresses, if its peer is not trusted."""
        if peer is not None and not self._is_trusted(peer):
            self.forwarders.count(peer)

    def caller(
        self, peer: str | None, forwarded: str, *, is_vouched: bool = False
    ) -> str | None:
        """The caller's address; `forwarded` is every line of the header, joined by commas.

        None where not even the peer has an address (a Unix socket). If the caller is
        vouched for, it is trusted like a proxy, and who called it is the caller.
        """
        called = nearest = normalized(peer or "")
        if nearest is None or not forwarded:
            return nearest
        for text in reversed(forwarded.split(",")):
            if not self._is_trusted(nearest):
                if not is_vouched:
                    break
                is_vouched = False
            address = normalized(text)
            if address is None:
                return called
            nearest = address
        return nearest

    def _is_within(self, address: str) -> bool:
        return any(ip_address(address) in network for network in self._trusted)


@lru_cache(_ADDRESSES_KEPT)
def truncate(ip: str) -> str | None:
    """The first address of the /24 or /48 around `ip`; None where it is no address."""
    address = ip if _is_ipv4(ip) else normalized(ip)
    if address is None:
        return None
    if ":" in address:
        return str(ip_network((address, _IPV6_KEPT), strict=False)[0])
    return f"{address[: address.rindex('.')]}.0"


def network_of(ip: str) -> str:
    """What limits count an address as: itself; of IPv6 its /64, which one host is given."""
    return ip if ":" not in ip else _network_of(ip)


@lru_cache(_ADDRESSES_KEPT)
def _network_of(ip: str) -> str:
    return str(ip_network((ip, _IPV6_OF_A_HOST), strict=False)[0])


def normalized(text: str) -> str | None:
    """An address, without a port, brackets, zone or the IPv4-in-IPv6 disguise; else None."""
    if _is_ipv4(text):
        return text
    address = _parse(text.strip())
    return None if address is None else str(address)


def _is_ipv4(text: str) -> bool:
    # Most addresses are such, and this is twenty times quicker than `ip_address`.
    try:
        inet_pton(AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
