"""`reftide import`: lists of another system."""

from pathlib import Path
from typing import Any

import pytest

from ingest.contracts.encoding.envelopes import decode
from ingest.contracts.stream import FIELD, SEALED_ID, events_key
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import Hands


def _import(cli: Cli, what: str, path: Path, text: str, *options: str) -> Any:
    file = path / "list.csv"
    file.write_text(text, "utf-8")
    done = cli.run("import", what, str(file), *options, "--json")
    assert done.code in {0, 1}, done.err
    return done.document


def _counts(document: Any) -> tuple[int, ...]:
    names = ("created", "changed", "unchanged", "refused")
    return tuple(document[name] for name in names)


LINKS = """\
\ufeffID,code,url,program,partner,inactive
1,ONE,https://a.example/,1,jane,
2,TWO,javascript:x,1,jane,
3,SUMMER,,,,
4,FOUR,"https://b.example/?a=1,2",1,,true
"""


def test_links_are_imported_line_by_line_and_again(shop: Cli, tmp_path: Path) -> None:
    named = ("--map", "external_id=ID")
    dry = _import(shop, "links", tmp_path, LINKS, *named, "--dry-run")
    assert (2, 0, 0, 2) == _counts(dry)
    assert 1 == len(shop.document("links", "list"))

    first = _import(shop, "links", tmp_path, LINKS, *named)
    again = _import(shop, "links", tmp_path, LINKS.replace("b.ex", "c.ex"), *named)

    assert (2, 0, 0, 2) == _counts(first)
    assert [3, 4] == [each["line"] for each in first["refusals"]]
    assert (0, 1, 1, 2) == _counts(again)
    four = shop.document("links", "show", "FOUR")
    assert ("https://c.example/?a=1,2", False) == (four["url"], four["is_active"])


def test_partners_are_imported_by_their_codes(shop: Cli, tmp_path: Path) -> None:
    text = "code,name,email,public_id\njane,Jane,,\nbob,Bob,b@example.com,pn_1\nbob,B,,\nx,X,,pn_1\n"
    first = _import(shop, "partners", tmp_path, text)
    again = _import(shop, "partners", tmp_path, text)

    assert (1, 1, 0, 2) == _counts(first)
    assert (0, 0, 2, 2) == _counts(again)
    bob = shop.document("partners", "show", "bob")
    assert ("Bob", "b@example.com", "pn_1") == tuple(
        bob[name] for name in ("name", "email", "public_id")
    )
    assert "Jane" == shop.document("partners", "show", "jane")["name"]


def test_click_ids_are_known_and_their_clicks_appended_once(
    hands: Hands, tmp_path: Path
) -> None:
    text = "click_id,link,clicked_at\nold-1,SUMMER,2026-11-01\nold-2,NOBODY,\nold-1,SUMMER,\n"
    dry = _import(hands.cli, "clicks", tmp_path, text, "--dry-run")
    first = _import(hands.cli, "clicks", tmp_path, text)
    again = _import(hands.cli, "clicks", tmp_path, text)

    assert [(1, 0, 0, 2), (1, 0, 0, 2), (0, 0, 1, 2)] == [
        *map(_counts, (dry, first, again))
    ]
    [known] = hands.cli.fetch("select token, click_id from imported_clicks")
    entries = [
        fields[FIELD.encode() if isinstance(FIELD, str) else FIELD]
        for shard in range(4)
        for _, fields in hands.redis.xrange(events_key(shard))
    ]
    [click] = map(decode, entries)
    assert ("old-1", click.id) == tuple(known)
    assert 1_793_491_200_000 == click.request.at


def test_clicks_are_appended_to_the_shards_that_are_not_sealed(
    hands: Hands, tmp_path: Path
) -> None:
    text = "click_id,link\n" + "".join(f"old-{n},SUMMER\n" for n in range(40))
    for shard in (0, 2, 3):
        hands.redis.execute_command("XSETID", events_key(shard), SEALED_ID)
    some = _import(hands.cli, "clicks", tmp_path, text)
    hands.redis.execute_command("XSETID", events_key(1), SEALED_ID)
    more = tmp_path / "more.csv"
    more.write_text(text + "new,SUMMER\n")
    none = hands.cli.run("import", "clicks", str(more))
    # As `reftide shards` does when it is taken back.
    hands.redis.execute_command("XSETID", events_key(2), "9-0")
    rest = hands.cli.run("import", "clicks", str(more), "--json")

    assert (40, 0, 0, 0) == _counts(some)
    assert 1 == none.code
    assert "no stream takes events" in none.err
    assert "once `reftide shards` is done" in none.err
    assert (1, 0, 40, 0) == _counts(rest.document)
    lengths = [hands.redis.xlen(events_key(shard)) for shard in range(4)]
    assert [0, 40, 1, 0] == lengths


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("name\nx\n", (), "has no column external_id"),
        ("external_id\nx\n", ("--map", "code=Slug"), "has no column Slug"),
        ("external_id\nx\n", ("--map", "colour=x"), "--map colour"),
        ('external_id,code\n1,"x\n', (), "cannot be read"),
    ],
)
def test_files_that_cannot_be_read_are_told(
    shop: Cli, tmp_path: Path, text: str, options: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "list.csv"
    file.write_text(text, "utf-8")
    done = shop.run("import", "links", str(file), *options)

    assert 2 == done.code
    assert said in done.err


def test_people_read_which_lines_were_refused(shop: Cli, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("external_id,code\n1,a b\n2,B\n")
    done = shop.run("import", "links", str(file))

    assert 1 == done.code
    assert "1 created, 0 changed, 0 unchanged, 1 refused." in done.out
    assert "white space" in done.out
    assert 2 == shop.run("import", "links", str(tmp_path / "none.csv")).code
