"""`reftide milestones`."""

import pytest

from tests.support.servers.cli import Cli, servers_of


@pytest.fixture
def shop(redis_url: str, database_url: str) -> Cli:
    """A workspace with programs 1 and 2 and the partner jane."""
    cli = servers_of(redis_url, database_url)
    cli.document("programs", "add", "Shop")
    cli.document("programs", "add", "Club")
    cli.document("partners", "add", "jane")
    return cli


def _add(cli: Cli, name: str, program: int, converts: int) -> dict[str, object]:
    made: dict[str, object] = cli.document(
        "milestones", "add", name,
        "--program", str(program), "--converts", str(converts),
    )  # fmt: skip
    return made


def _awarded(cli: Cli) -> None:
    """What a worker does."""
    cli.fetch(
        "insert into awards (milestone_id, partner_id, event_id)"
        " select milestones.id, partners.id, partners.id from milestones, partners"
        " where converts = 5"
    )


def test_a_milestone_is_made_for_a_program(shop: Cli) -> None:
    made = _add(shop, "Five friends", 1, 5)

    assert (1, "Five friends", 5, 0, "default") == (
        made["program"],
        made["name"],
        made["converts"],
        made["awards"],
        made["workspace"],
    )


def test_milestones_are_listed_by_program_and_height(shop: Cli) -> None:
    _add(shop, "Many", 1, 100)
    _add(shop, "Few", 1, 5)
    _add(shop, "Few", 2, 3)
    _awarded(shop)

    listed = shop.document("milestones", "list")
    assert [(1, "Few", 1), (1, "Many", 0), (2, "Few", 0)] == [
        (one["program"], one["name"], one["awards"]) for one in listed
    ]
    assert [3] == [
        one["converts"] for one in shop.document("milestones", "list", "--program", "2")
    ]
    assert "Many" in shop.run("milestones", "list", "--workspace", "default").out


def test_a_program_has_a_milestone_of_one_name_once(shop: Cli) -> None:
    _add(shop, "Few", 1, 5)

    result = shop.run(
        "milestones", "add", "Few", "--program", "1", "--converts", "6"
    )  # fmt: skip
    assert (2, "") == (result.code, result.out)
    assert "reftide milestones list --program 1" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "Few", "--program", "9", "--converts", "5"),
        ("add", "Few", "--program", "1", "--converts", "0"),
        ("add", "Few", "--converts", "5"),
        ("add", "", "--program", "1", "--converts", "5"),
        ("list", "--program", "9"),
        ("list", "--workspace", "nobody"),
        ("awards", "--program", "9"),
    ],
)
def test_what_cannot_be_is_refused(shop: Cli, arguments: tuple[str, ...]) -> None:
    result = shop.run("milestones", *arguments)

    assert (2, "") == (result.code, result.out)
    assert result.err


def test_awards_say_who_earned_what(shop: Cli) -> None:
    _add(shop, "Five friends", 1, 5)
    _awarded(shop)

    found = shop.document("milestones", "awards", "--program", "1", "--partner", "jane")
    assert [("Five friends", "jane")] == [
        (one["milestone"], one["partner"]) for one in found
    ]
    assert [] == shop.document("milestones", "awards", "--partner", "joe")
    assert "jane" in shop.run("milestones", "awards").out
