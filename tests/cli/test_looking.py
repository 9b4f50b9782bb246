"""`routes`, `explain`, `ls`, `get`, `doctor`: as people see them, and as programs read them."""

import json
import re
import subprocess
import sys

import pytest

from tests.cli.conftest import Shop
from tests.cli.terminal import CACHEMW, ROOT, Ended, environment, on_terminal, piped

APP = "tests.cli.shop_app"


def objects(ended: Ended) -> list[dict[str, object]]:
    assert ended.code == 0, ended
    return [json.loads(line) for line in ended.lines]


def test_every_thing_that_is_kept_is_a_line(shop: Shop) -> None:
    found = objects(shop.piped("ls", "--json"))
    assert [one["name"] for one in found] == [
        *("/about", "/feed", "/products/3?b=1&a=2", "/products/4"),
        *("user:0", "user:1", "user:2"),
    ]
    assert [one["state"] for one in found].count("purged") == 1
    lines = [line.split("\t") for line in shop.piped("ls", "/products/*").lines]
    assert [(line[0], line[5], line[6]) for line in lines] == [
        ("fresh", "/products/3?b=1&a=2", "product:3"),
        ("purged", "/products/4", "product:4"),
    ]
    assert len(shop.piped("ls", "--tag", "users", "--kind", "value").lines) == 3
    assert len(shop.piped("ls", "--state", "purged").lines) == 1
    assert len(shop.piped("ls", "--namespace", "feed").lines) == 1


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_a_table_keeps_within_the_terminal(shop: Shop, columns: int) -> None:
    ended = shop.on_terminal("ls", columns=columns)
    assert ended.code == 0
    assert "\x1b[" in ended.out  # in colour
    bare = [_without_colour(line) for line in ended.lines]
    assert max(map(len, bare)) <= columns
    assert (bare[0].split()[0] == "STATE") is (columns > 50)  # else each has its own paragraph
    text = "".join("".join(bare).split())
    assert "about" in text
    assert "user:2" in text


def test_no_color_is_obeyed(shop: Shop) -> None:
    ended = on_terminal("ls", "--store", shop.url, NO_COLOR="1")
    assert "fresh" in ended.out
    assert "\x1b[3" not in ended.out  # no colour; bold is not one


def test_what_a_client_has_sent_is_shown_and_not_obeyed(shop: Shop) -> None:
    evil = "user:[red]\x1b]0;owned\x07\u202e"
    shop.server.ask("SET", "cmw:d:{%1B]0;owned%07[bold]}", "x", "PX", 60_000)
    for ended in (shop.on_terminal("ls", "--kind", "value", columns=200), shop.piped("ls")):
        assert "\x1b]0" not in ended.out
        assert "\x07" not in ended.out
        assert "\\x1b]0;owned\\x07[bold]" in ended.out
    ended = shop.piped("get", evil)
    assert ended.code == 1
    assert "\x1b" not in ended.err


def test_nothing_found_can_be_made_an_end_of_its_own(shop: Shop) -> None:
    assert shop.piped("ls", "/none").code == 0
    assert shop.piped("ls", "/none", "--fail-empty").code == 3
    assert shop.piped("get", "nobody").code == 1
    assert shop.piped("get", "nobody", "--fail-empty").code == 3


def test_a_walk_that_was_cut_short_says_so(shop: Shop) -> None:
    ended = shop.piped("ls", "-n", "2")
    assert len(ended.lines) == 2
    assert "not all of it" in ended.err


def test_all_of_one_thing_is_shown(shop: Shop) -> None:
    told = shop.piped("get", "/about").out
    assert "field\tcontent-type: text/plain; charset=utf-8" in told
    assert "body\tpage page" in told
    (value,) = objects(shop.piped("get", "user:1", "--json"))
    assert (value["value"], value["tags"]) == ({"name": "Ada"}, ["users"])
    assert shop.piped("get", "/about", "--body").out == "page " * 500
    key = str(objects(shop.piped("ls", "/about", "--json"))[0]["key"])
    assert shop.piped("get", key, "--body").out == "page " * 500


def test_a_request_is_explained(shop: Shop) -> None:
    asked = ("explain", "GET", "/products/4", "--app", APP, "-H", "Accept-Language: de")
    (told,) = objects(shop.piped(*asked, "--json"))
    assert (told["outcome"], told["reason"]) == ("miss", "purged")
    assert "product:4" in str(told["why"])
    shown = shop.on_terminal(*asked).out
    assert "the stored response was purged: product:4" in " ".join(shown.split())
    refused = shop.piped("explain", "GET", "/about", "--app", APP, "-H", "Cookie: a=b")
    assert "outcome\tbypass" in refused.out
    assert shop.piped("explain", "GET", "/about", "--app", APP, "-H", "nonsense").code == 2


def test_every_route_is_listed_with_its_policy(shop: Shop) -> None:
    ended = shop.piped("routes", APP)
    assert "GET,HEAD /feed\tyes\tttl 30s" in ended.out
    assert "no route of the app matches '/nowhere'" in ended.err
    assert shop.piped("routes", APP, "--strict").code == 1
    cached = objects(shop.piped("routes", f"{APP}:app", "--cached", "--json"))
    assert all(one["policy"] for one in cached)


def test_the_doctor_ends_with_what_was_asked(shop: Shop) -> None:
    ended = shop.piped("doctor")
    assert ended.code == 0
    assert "no maxmemory" in ended.out
    assert shop.piped("doctor", "--fail-on", "warning").code == 1
    shop.server.ask("CONFIG", "SET", "maxmemory", "100mb")
    shop.server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    ended = shop.piped("doctor", "--fail-on", "warning", "--all", "--json")
    assert {one["severity"] for one in objects(ended)} == {"ok"}


def test_a_store_that_is_away_is_no_traceback(shop: Shop) -> None:
    shop.server.kill()
    for command in (["ls"], ["get", "user:1"], ["purge", "-t", "x", "-y"], ["bump", "x"]):
        ended = shop.piped(*command)
        assert (ended.code, ended.out) == (1, ""), ended
        assert ended.err.startswith("cachemw: "), ended
    assert shop.piped("doctor").code == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ls"], "--store redis://localhost:6379/0"),
        (["ls", "--store", "reddis://h"], "redis"),
        (["ls", "--app", "no.such.module"], "no.such.module"),
        (["ls", "--app", "tests.cli.terminal:nothing"], "has no 'nothing'"),
        (["ls", "--app", "tests.cli.terminal:piped"], "no cache"),
        (["explain", "GET", "about", "--app", "x"], "x"),
        (["purge", "--store", "memory://"], "nothing to purge"),
        (["purge", "--all", "--soft", "--store", "memory://"], "not soft"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2(arguments: list[str], complaint: str) -> None:
    ended = piped(*arguments)
    assert (ended.code, ended.out) == (2, ""), ended
    assert complaint in ended.err


@pytest.mark.parametrize("url", ["memory://", "embedded://"])
def test_a_store_of_another_process_is_not_taken_for_an_empty_one(url: str) -> None:
    ended = piped("ls", "--store", url)
    assert (ended.code, ended.out) == (0, "")
    assert "of one process" in ended.err


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_extra_the_command_says_what_it_needs(missing: str) -> None:
    code = (
        "import importlib.util as util; find = util.find_spec\n"
        f"util.find_spec = lambda name: None if name == {missing!r} else find(name)\n"
        "from cachemw.cli import main; main(['ls'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr == f"cachemw: the command needs {missing}: pip install 'cachemw[cli]'\n"


def test_whoever_has_read_enough_may_leave(shop: Shop) -> None:
    command = [*CACHEMW, "ls", "--json", "--store", shop.url]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({"PYTHONUNBUFFERED": "1"}),
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
        assert process.wait(timeout=30) == 1
    assert b"Traceback" not in complaint
    assert b"Exception" not in complaint


def _without_colour(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)
