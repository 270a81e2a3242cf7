"""Which texts are URLs, whose host and which parameters they have.

The expectations are those of `new URL()` and `URLSearchParams` in Node.js 20.
"""

import pytest

from ingest.dialects import weburl


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://example.com", "example.com"),
        ("HTTPS://EXAMPLE.Com/", "example.com"),
        ("  https://example.com\r\n", "example.com"),
        ("ht\ntps://exa\tmple.com", "example.com"),
        ("https:example.com", "example.com"),
        ("https:/example.com", "example.com"),
        ("https:////example.com", "example.com"),
        ("https:\\\\example.com\\a", "example.com"),
        ("https://example.com:8443/a", "example.com"),
        ("https://example.com:/a", "example.com"),
        ("https://example.com:00080", "example.com"),
        ("https://example.com:65535", "example.com"),
        ("https://user:pass@example.com", "example.com"),
        ("https://a@b@c@example.com", "example.com"),
        ("https://example.com?a=@evil.test", "example.com"),
        ("https://example.com#@evil.test", "example.com"),
        ("https://example.com\\@evil.test", "example.com"),
        ("https://example.com.", "example.com."),
        ("https://ex%61mple.com", "example.com"),
        ("https://a_b.example-.com", "a_b.example-.com"),
        ("https://!$&'()*+,;=\"`{}~", "!$&'()*+,;=\"`{}~"),
        ("https://bücher.example", "xn--bcher-kva.example"),
        ("https://b%C3%BCcher.example", "xn--bcher-kva.example"),
        ("https://日本。example", "xn--wgv71a.example"),
        ("https://\uff25\uff38ample.com", "example.com"),
        ("https://localhost", "localhost"),
        ("https://1.2.3.4", "1.2.3.4"),
        ("https://1.2.3.4.", "1.2.3.4"),
        ("https://0x7f.1", "127.0.0.1"),
        ("https://010.0x.1", "8.0.0.1"),
        ("https://4294967295", "255.255.255.255"),
        ("https://1.16777215", "1.255.255.255"),
        ("https://123.example", "123.example"),
        ("https://[::1]:80/", "[::1]"),
        ("https://[2001:DB8:0:0::1]", "[2001:db8::1]"),
        ("ftp://example.com", "example.com"),
        ("wss://example.com", "example.com"),
        ("foo://Bar", "bar"),
        ("foo://bar:80/a", "bar"),
        ("foo://[::1]", "[::1]"),
        ("foo://", None),
        ("foo:///a", None),
        ("foo:bar", None),
        ("a+b-c.1:", None),
        ("mailto:a@example.com", None),
        ("file:///etc/hosts", None),
    ],
)
def test_a_url_has_this_host(text: str, host: str | None) -> None:
    assert host == weburl.parse(text).host


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "example.com",
        "example.com/a:b",
        "/a",
        "//example.com",
        "?aff=1",
        ":https://example.com",
        "1http://example.com",
        "ht tp://example.com",
        "https:",
        "https://",
        "https:///",
        "https://?a",
        "https://#a",
        "https://:80",
        "https://user@",
        "https://user@:80",
        "https://exa mple.com",
        "https://example.com:65536",
        "https://example.com:" + "9" * 5_000,
        "https://example.com:a",
        "https://example.com:-1",
        "https://example.com:80:80",
        "https://exa%20mple.com",
        "https://exa%00mple.com",
        "https://exa%2Fmple.com",
        "https://ex%mple.com",
        "https://ex%FFmple.com",
        "https://exa<mple.com",
        "https://exa^mple.com",
        "https://exa|mple.com",
        "https://exa\x7fmple.com",
        "https://1.2.3.4.5",
        "https://1.2.3.256",
        "https://256.1",
        "https://1.16777216",
        "https://4294967296",
        "https://1..2",
        "https://example.1",
        "https://example.0x",
        "https://example.09",
        "https://09",
        "https://" + "9" * 5_000,
        "https://[::1",
        "https://::1]",
        "https://[]",
        "https://[1:2]",
        "https://[::1]x",
        "https://[::1%25eth0]",
        "https://[::1.2.3.04]",
        "foo://a b",
        "foo://:80",
        "foo://user@/",
        "foo://a:b",
        "foo://a^b",
        "foo://[1:2]",
    ],
)
def test_what_browsers_refuse_is_no_url(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is for nobody
        weburl.parse(text)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("?aff=P1", "P1"),
        ("?a=1&aff=P1&aff=P2", "P1"),
        ("?&&aff=P1", "P1"),
        ("?aff=a=b", "a=b"),
        ("?aff=a;b", "a;b"),
        ("?aff=a?b", "a?b"),
        ("?aff=jane+doe", "jane doe"),
        ("?aff=a%2Bb%26c", "a+b&c"),
        ("?aff=caf%C3%A9", "café"),
        ("?aff=caf%c3%a9é🚀", "caféé🚀"),
        ("?aff=%FF%C3%28", "\ufffd\ufffd("),
        ("?aff=100%", "100%"),
        ("?aff=%zz", "%zz"),
        ("?aff=%00", "\0"),
        ("?aff=a\tb\n", "ab"),
        ("?%61%66f=P1", "P1"),
        ("/?x#?aff=P1", ""),
        ("/aff=P1", ""),
        ("?aff", ""),
        ("?aff=", ""),
        ("?aff&aff=P2", ""),
        ("?AFF=P1", ""),
        ("?xaff=P1", ""),
        ("", ""),
    ],
)
def test_a_parameter_is_read_like_url_search_params(query: str, value: str) -> None:
    assert value == weburl.parse("https://example.com" + query).parameter("aff")


def test_hosts_that_idna_cannot_encode_are_kept() -> None:
    assert "é..example" == weburl.parse("https://É..example").host


def test_a_host_longer_than_any_domain_is_not_encoded() -> None:
    assert "é" * 254 == weburl.parse("https://" + "é" * 254).host


@pytest.mark.parametrize("host", ["\ufdfa" * 253, "ß" * 64, ".".join(["é" * 63] * 4)])
def test_a_host_that_is_too_long_once_normalised_is_not_encoded(host: str) -> None:
    assert host.lower() == weburl.parse("https://" + host).host


def test_a_parameter_longer_than_any_name_stays_longer() -> None:
    url = weburl.parse("https://example.com/?aff=" + "%F0%9F%9A%80" * 5_000)

    assert 255 < len(url.parameter("aff")) < 5_000
