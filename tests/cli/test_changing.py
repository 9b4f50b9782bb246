"""`purge` and `bump`: what they ask, what they do, and what others see of it."""

import json

import pytest

from tests.cli.conftest import Shop
from tests.cli.test_looking import APP, objects


def fresh(shop: Shop) -> set[object]:
    return {one["name"] for one in objects(shop.piped("ls", "--state", "fresh", "--json"))}


USERS = {"user:0", "user:1", "user:2"}
PAGES = {"/about", "/feed", "/products/3?b=1&a=2"}


@pytest.mark.parametrize(
    ("order", "gone"),
    [
        (["--tag", "users"], USERS),
        (["--tag", "users", "--tag", "product:3"], USERS | {"/products/3?b=1&a=2"}),
        (["--namespace", "feed"], {"/feed"}),
        (["--route", "/products/{id}"], {"/products/3?b=1&a=2"}),
        (["--url", "/products/3?a=2&b=1"], {"/products/3?b=1&a=2"}),
        (["--url", "http://testserver/about"], {"/about"}),
        (["--key", "user:1"], {"user:1"}),
        (["--pattern", "user:[01]"], {"user:0", "user:1"}),
        (["--all"], USERS | PAGES),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_dry_run_tells_what_the_purge_then_does(
    shop: Shop, order: list[str], gone: set[str]
) -> None:
    assert fresh(shop) == USERS | PAGES
    (told,) = objects(shop.piped("purge", *order, "--dry-run", "--json"))
    assert told == {"would_purge": len(gone)}
    assert fresh(shop) == USERS | PAGES
    assert shop.piped("purge", *order, "--yes").code == 0
    assert fresh(shop) == (USERS | PAGES) - gone
    ended = shop.piped("purge", *order, "--dry-run", "--fail-empty")
    assert (ended.code, ended.out) == (3, "would purge\t0\n")


def test_softly_they_are_stale(shop: Shop) -> None:
    assert shop.piped("purge", "-t", "product:3", "--soft", "-y").code == 0
    states = {one["name"]: one["state"] for one in objects(shop.piped("ls", "--json"))}
    assert states["/products/3?b=1&a=2"] == "soft-purged"


def test_somebody_is_asked_first(shop: Shop) -> None:
    refused = shop.on_terminal("purge", "-t", "users", typed="n\n")
    assert refused.code == 1
    assert "Purge tag users in " in refused.out
    assert fresh(shop) >= USERS
    agreed = shop.on_terminal("purge", "-t", "users", typed="y\n")
    assert agreed.code == 0
    assert not fresh(shop) & USERS


def test_a_walk_over_the_keys_shows_how_far_it_is(shop: Shop) -> None:
    ended = shop.on_terminal("purge", "--pattern", "user:*", "-y", columns=120)
    assert ended.code == 0
    assert "keys like user:*" in ended.out
    assert "3/?" in ended.out
    assert shop.piped("purge", "--pattern", "user:*", "-y").err == ""  # no bar in a log


def test_where_nobody_can_be_asked_it_has_to_be_said(shop: Shop) -> None:
    ended = shop.piped("purge", "-t", "users")
    assert ended.code == 2
    assert "--yes" in ended.err
    assert fresh(shop) >= USERS


def test_an_app_tells_which_parameters_count(shop: Shop) -> None:
    ended = shop.piped("purge", "-u", "/products/3?b=1&a=2", "--app", APP, "-y", "--json")
    assert json.loads(ended.out)["found"] == 1


def test_a_bump_ends_a_namespace(shop: Shop) -> None:
    assert shop.piped("bump", "feed", "other").out == "bumped\tfeed\nbumped\tother\n"
    assert "/feed" not in fresh(shop)


def test_what_is_purged_in_a_region_is_noted_for_the_others(shop: Shop) -> None:
    def journals() -> list[str]:
        keys = shop.server.ask("KEYS", "*")
        return [key for key in keys if shop.server.ask("TYPE", key) == "stream"]

    assert shop.piped("purge", "--all", "-y", "--region", "eu").code == 0
    assert journals() == []  # each region has its own everything
    assert shop.piped("purge", "-t", "users", "-y", "--region", "eu").code == 0
    assert len(journals()) == 1
