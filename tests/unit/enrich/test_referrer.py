import pytest

from workers.enrich import referrer


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("https://example.com/path?q=1#x", "example.com"),
        ("https://WWW.Example.COM/", "example.com"),
        ("http://www.example.co.uk:8080/", "example.co.uk"),
        ("https://user:secret@news.example.com/", "news.example.com"),
        ("https://example.com./", "example.com"),
        ("  https://example.com/  ", "example.com"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://Bücher.example/", "bücher.example"),
        ("https://www2.example.com/", "www2.example.com"),
        ("https://www.com/", "www.com"),
        ("http://localhost:3000/", "localhost"),
        ("http://192.0.2.7/", "192.0.2.7"),
        ("http://[2001:db8::1]:80/", "2001:db8::1"),
        ("http://a_b.example/", "a_b.example"),
        ("android-app://com.reddit.frontpage/", "com.reddit.frontpage"),
        ("HTTPS://EXAMPLE.com", "example.com"),
    ],
)
def test_the_host_is_kept(sent: str, expected: str) -> None:
    assert expected == referrer.host_of(sent)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "   ",
        "direct",
        "example.com/path",
        "/path",
        "http://",
        "https:///path",
        "about:blank",
        "data:text/html,x",
        "javascript:alert(1)",
        "file:///home/me/x.html",
        "chrome-extension://abc/x",
        "http://[2001:db8::1",
        "http://exa mple.com/",
        "http://<script>/",
        "http://a\0b.example/",
        "http://\ud800.example/",
        "http://ex℀mple.com/",
        f"http://{'a' * 256}/",
        "http://..../",
    ],
)
def test_junk_has_no_host(sent: str | None) -> None:
    assert referrer.host_of(sent) is None


def test_the_longest_host_is_kept_whole() -> None:
    host = "a" * referrer.HOST_LIMIT

    assert host == referrer.host_of(f"https://{host}/")
