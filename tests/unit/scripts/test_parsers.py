import pytest

from scripts.services import parsers


def test_a_public_id_is_a_prefix_and_twelve_base62_characters() -> None:
    made = {parsers.public_id("lnk_") for _ in range(50)}

    assert 50 == len(made)
    assert all(len(one) == 16 and one[4:].isalnum() and one.isascii() for one in made)


@pytest.mark.parametrize("code", ["SUMMER", "a b", "caf\u00e9", "x" * 190])
def test_what_can_be_printed_may_be_a_code(code: str) -> None:
    assert code == parsers.code(code)


@pytest.mark.parametrize("code", ["", " a", "a\n", "a\0b", "x" * 191, "\udcff"])
def test_what_cannot_be_typed_or_stored_is_no_code(code: str) -> None:
    with pytest.raises(ValueError, match=r"empty|longer|printed"):
        parsers.code(code)


@pytest.mark.parametrize("url", ["https://shop.example", "http://a:8080/b?c=d#e"])
def test_a_link_may_lead_to_a_web_page(url: str) -> None:
    assert url == parsers.url(url)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "//shop.example",
        "https://",
        "https://user@shop.example",
        "https://shop.example\\@evil.example",
        "https://shop.example/\r\nSet-Cookie: a=b",
        "https://[half",
        "https://shop.example/" + "x" * 2000,
    ],
)
def test_a_link_may_lead_nowhere_else(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|space|user name"):
        parsers.url(url)


def test_a_domain_is_kept_in_small_letters() -> None:
    assert "go.example.com:8080" == parsers.domain("Go.Example.com:8080")


@pytest.mark.parametrize("domain", ["https://go.example.com", "a b", "", "a..b", "-"])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(ValueError, match="is no domain"):
        parsers.domain(domain)


@pytest.mark.parametrize("number", ["abc", "0", "-1", "1.5", "\u0661", str(2**53)])
def test_what_is_no_number_of_a_program_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="reftide programs list"):
        parsers.program_number(number)


@pytest.mark.parametrize("key", ["old-key-1", "#!$%&~?=+-@"])
def test_a_key_of_another_system_may_be_whatever_a_header_carries(key: str) -> None:
    assert key == parsers.secret(key)


@pytest.mark.parametrize(
    "key", ["", "x", "seven77", "a b c d e", "caf\u00e9-key-1", "key\tkey-1"]
)
def test_what_no_client_could_send_safely_is_no_key(key: str) -> None:
    with pytest.raises(ValueError, match=r"characters|space") as refused:
        parsers.secret(key)

    assert not key or key not in str(refused.value)


@pytest.mark.parametrize("code", ["links", "Links/x", "console", "v1/links/a", "r/x"])
def test_a_code_that_no_edge_would_be_asked_for_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="choose another code"):
        parsers.link_code(code)
    assert parsers.link_code(f"my-{code}")
