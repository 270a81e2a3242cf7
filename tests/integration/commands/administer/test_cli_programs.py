"""`reftide programs`."""

import pytest

from tests.support.servers.cli import Cli


def test_a_program_has_the_terms_it_was_given(cli: Cli) -> None:
    made = cli.document(
        "programs", "add", "Shop", "--number", "7", "--model", "first_click",
        "--cookie-window", "30", "--attribution-window", "90",
    )  # fmt: skip

    assert (7, "first_click", 30, 90) == (
        made["number"],
        made["model"],
        made["cookie_window_days"],
        made["attribution_window_days"],
    )


def test_numbers_go_on_after_one_that_was_chosen(cli: Cli) -> None:
    cli.document("programs", "add", "Chosen", "--number", "2")
    numbers = [cli.document("programs", "add", name)["number"] for name in "ab"]

    assert [3, 4] == numbers


def test_a_low_number_chosen_late_does_not_bring_numbers_back(cli: Cli) -> None:
    cli.document("programs", "add", "Chosen", "--number", "9")
    cli.document("programs", "add", "Low", "--number", "3")

    assert 10 == cli.document("programs", "add", "Next")["number"]


def test_a_program_changes_only_where_it_is_told_to(shop: Cli) -> None:
    changed = shop.document("programs", "set", "1", "--attribution-window", "14")

    assert 14 == changed["attribution_window_days"]
    assert ("Shop", "https://shop.example", 60) == (
        changed["name"],
        changed["url"],
        changed["cookie_window_days"],
    )


def test_a_program_shows_its_partners(shop: Cli) -> None:
    shown = shop.document("programs", "show", "1")

    assert [("jane", 0)] == [
        (one["partner"], one["leads"]) for one in shown["partners"]
    ]
    assert "jane" in shop.run("programs", "show", "1").out
    assert "Shop" in shop.run("programs", "list").out


def test_names_and_numbers_of_programs_are_taken_once(shop: Cli) -> None:
    shop.document("programs", "add", "Other")

    assert "already" in shop.refusal("programs", "add", "Shop")
    assert "already" in shop.refusal("programs", "add", "New", "--number", "1")
    assert "called" in shop.refusal("programs", "set", "2", "--name", "Shop")


def test_an_unknown_program_is_refused_with_a_way_to_make_it(cli: Cli) -> None:
    assert "reftide programs add" in cli.refusal("programs", "show", "5")
    assert "reftide programs list" in cli.refusal("programs", "show", "abc")


@pytest.mark.parametrize("days", ["0", "366", "many"])
def test_a_window_has_between_a_day_and_a_year(cli: Cli, days: str) -> None:
    assert "cookie-window" in cli.refusal(
        "programs", "add", "Shop", "--cookie-window", days
    )


def test_a_program_is_told_where_leads_come_from_and_whether_it_has_stats(
    cli: Cli,
) -> None:
    def flags(*arguments: str) -> tuple[bool, bool]:
        row = cli.document("programs", *arguments)
        return row["needs_server_lead"], row["has_stats"]

    assert (False, False) == flags("add", "Shop")
    assert (True, True) == flags("add", "Other", "--server-leads", "--stats")
    assert (True, False) == flags("set", "1", "--server-leads")
    assert (True, True) == flags("set", "1", "--stats")
    assert (False, True) == flags("set", "1", "--no-server-leads")
    assert (False, False) == flags("set", "1", "--no-stats")
