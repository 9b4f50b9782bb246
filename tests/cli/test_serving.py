"""`serve`, `dashboard`, `demo` and `warm`: processes that listen, and one that asks them."""

import gzip
import json
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.conftest import Shop
from tests.cli.terminal import CACHEMW, ROOT, environment, piped
from tests.servers import free_ports, until

Run = Callable[..., str]


@pytest.fixture
def run(shop: Shop) -> Iterator[Run]:
    """`run("serve", "app")`: the address of a command that listens; it ends with the test."""
    with ExitStack() as at_the_end:

        def start(*arguments: str) -> str:
            port = free_ports(1)[0]
            env = {"CACHEMW_STORE": shop.url, "SHOP_STORE": shop.url}
            process = subprocess.Popen(
                [*CACHEMW, *arguments, "--port", str(port)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**environment(env), "PYTHONWARNINGS": ""},
                cwd=ROOT,
            )
            at_the_end.enter_context(process)
            at_the_end.callback(process.send_signal, signal.SIGINT)
            address = f"http://127.0.0.1:{port}"

            def answers() -> bool:
                assert process.poll() is None, process.stderr and process.stderr.read()
                try:
                    urllib.request.urlopen(address + "/", timeout=5).close()
                except urllib.error.HTTPError:
                    return True
                except OSError:
                    return False
                return True

            until(answers, f"{arguments} to answer")
            return address

        yield start


def test_an_app_is_served_and_warmed(run: Run, tmp_path: Path) -> None:
    address = run("serve", "tests.cli.shop_app", "--log-level", "warning")
    wanted = tmp_path / "urls.txt"
    wanted.write_text("/me\n/about?warm=1\n/about?warm=2\n/plain\n")
    ended = piped("warm", str(wanted), "--base", address, "--json")
    assert (ended.code, json.loads(ended.out)) == (
        *(0, {"stored": 3, "hit": 0, "uncached": 1, "failed": 0}),
    )
    sitemap = tmp_path / "sitemap.xml.gz"
    text = "<urlset><url><loc>https://shop.example/about?warm=1</loc></url></urlset>"
    sitemap.write_bytes(gzip.compress(text.encode()))
    ended = piped("warm", str(sitemap), "-b", address, "-H", "Accept-Language: de", "-r", "1000")
    assert "hit\t1" in ended.out
    wanted.write_text("/about?_status=500\n/me\n")
    ended = piped("warm", str(wanted), "-b", address, "-n", "1")
    assert ended.code == 1
    assert "status 500" in ended.err


def test_the_dashboard_of_a_store_is_served(run: Run) -> None:
    address = run("dashboard")
    with urllib.request.urlopen(address + "/", timeout=20) as answer:
        assert "cachemw" in answer.read().decode()


def test_the_busiest_pages_of_an_access_log_are_warmed(run: Run, tmp_path: Path) -> None:
    address = run("serve", "tests.cli.shop_app", "--log-level", "warning")
    log = tmp_path / "access.log"
    line = '203.0.113.7 - - [01/Nov/2026:08:00:00 +0000] "GET {} HTTP/1.1" 200 512\n'
    log.write_text("".join(map(line.format, ("/rare", "/about?warm=1", "/about?warm=1"))))
    ended = piped("warm", str(log), "-b", address, "-n", "1", "-c", "2", "--json")
    assert json.loads(ended.out) == {"stored": 1, "hit": 0, "uncached": 0, "failed": 0}


@pytest.mark.slow
def test_the_demo_is_served(run: Run) -> None:
    with urllib.request.urlopen(run("demo") + "/", timeout=20) as answer:
        assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["warm", "/no/such/file", "-b", "http://h"], "No such file"),
        (["warm", __file__, "-b", "shop.example"], "no place"),
        (["warm", __file__, "-b", "http://h", "-c", "0"], "more than 0"),
        (["serve", "x", "--workers", "2", "--reload"], "--reload"),
        (["dashboard"], "--store"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2(arguments: list[str], complaint: str) -> None:
    ended = piped(*arguments)
    assert ended.code == 2, ended
    assert complaint in ended.err


SECRET = "s" * 32


def test_an_order_is_sent_to_an_app(run: Run, shop: Shop) -> None:
    address = run("serve", "tests.cli.purge_app") + "/purge"
    order = ("purge", "--to", address, "--tag", "users", "--key", "user:1", "-y", "--json")
    ended = piped(*order, CACHEMW_PURGE_KEY=f"ci:{SECRET}")
    assert (ended.code, json.loads(ended.out)["found"]) == (0, 1)
    states = [json.loads(line)["state"] for line in shop.piped("ls", "user:*", "--json").lines]
    assert states == ["purged"] * 2
    assert piped(*order).code == 2
    refused = piped(*order, CACHEMW_PURGE_KEY="ci:" + "x" * 32)
    assert refused.code == 2
    assert "401: the signature is not good" in refused.err
    assert piped(*order, "--pattern", "x", CACHEMW_PURGE_KEY=f"ci:{SECRET}").code == 2
    missed = piped(*order[:2], address + "/no", *order[3:], CACHEMW_PURGE_KEY=f"ci:{SECRET}")
    assert "404" in missed.err
    shop.server.kill()
    away = piped(*order, CACHEMW_PURGE_KEY=f"ci:{SECRET}")
    assert away.code == 1
    assert "503" in away.err
    nobody = piped(*order[:2], "http://127.0.0.1:1/", *order[3:], CACHEMW_PURGE_KEY=f"ci:{SECRET}")
    assert nobody.code == 1
