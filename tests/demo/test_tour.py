"""The tour cannot rot: what its buttons send is sent here, and answered as they say."""

import re
import urllib.request
from contextlib import closing
from pathlib import Path

import anyio
import httpx2
import pytest

from demo_app import main, plain
from demo_app.asides import MORE
from demo_app.excerpt import excerpt
from demo_app.log import KEPT, Log, outcome
from demo_app.tour import STEPS, Ask, Button
from tests.demo.conftest import demo

pytestmark = pytest.mark.anyio

LONGEST = 30  # seconds until something that takes its time must have come true


class Visitor:
    """Does what the page's script does: one visitor, with a session if the button wants it."""

    def __init__(self, address: str) -> None:
        self.anonymous = httpx2.AsyncClient(base_url=address, timeout=30)
        self.logged_in = httpx2.AsyncClient(base_url=address, timeout=30)
        self.etag = ""

    async def send(self, ask: Ask) -> httpx2.Response:
        headers = dict(ask.headers)
        if ask.body:
            headers["Content-Type"] = "application/json"
        if ask.etag:
            headers["If-None-Match"] = self.etag
        if ask.cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in ask.cookies.items())
        client = self.logged_in if ask.logged_in else self.anonymous
        client_cookies = client.cookies if ask.logged_in else None
        url = ask.url.format(price="8.5", stock="7")
        response = await client.request(ask.method, url, headers=headers, content=ask.body)
        if client_cookies is None:
            client.cookies.clear()  # as fetch without credentials does
        self.etag = response.headers.get("etag", self.etag)
        return response

    async def sees(self, ask: Ask) -> str:
        """What came, in the tour's words; where time has to pass, whatever comes to be."""
        seen = ""
        with anyio.move_on_after(LONGEST if ask.wait else None):
            while True:
                seen = in_words(await self.send(ask))
                if not ask.wait or seen == ask.sees:
                    break
                await anyio.sleep(0.05)
        return seen

    async def presses(self, button: Button) -> list[str]:
        """What was not as the button says."""
        wrong = []
        for ask in button.asks:
            seen = await self.sees(ask)
            if seen != ask.sees:
                wrong.append(f"{button.label}: {ask.method} {ask.url}: {seen}, not {ask.sees}")
        return wrong

    async def aclose(self) -> None:
        await self.anonymous.aclose()
        await self.logged_in.aclose()


def in_words(response: httpx2.Response) -> str:
    detail = re.search(r"detail=([a-z-]+)", response.headers.get("cache-status", ""))
    words = [str(response.status_code), outcome(response.status_code, response.headers)]
    return " ".join([*words, detail[1]] if detail else words)


@pytest.mark.slow
async def test_every_button_of_the_tour_does_what_it_says(address: str) -> None:
    visitor = Visitor(address)
    wrong = []
    for step in STEPS:
        for button in step.buttons:
            wrong += await visitor.presses(button)
    await visitor.aclose()
    assert wrong == []


@pytest.mark.slow
async def test_every_other_behaviour_is_as_said(address: str) -> None:
    visitor = Visitor(address)
    wrong = []
    for button in MORE:
        wrong += await visitor.presses(button)
    await visitor.aclose()
    assert wrong == []


async def test_fifty_visitors_are_one_run(address: str) -> None:
    async with httpx2.AsyncClient(base_url=address, timeout=30) as client:
        said = (await client.post("/backstage/crowd")).json()
    outcomes = [visitor["outcome"] for visitor in said["visitors"]]
    assert said["runs"] == 1
    assert len(outcomes) == 50
    assert outcomes.count("miss") == 1


async def test_a_frozen_server_is_thawed_again(address: str) -> None:
    async with httpx2.AsyncClient(base_url=address, timeout=30) as client:
        assert (await client.get("/backstage/state")).json()["store"] is True
        await client.post("/backstage/pause")
        frozen = (await client.get("/backstage/state")).json()
        assert (frozen["store"], frozen["paused"]) == (False, True)
        assert (await client.get("/products/1")).json()["name"] == "Teapot"
        await client.post("/backstage/resume")
    visitor = Visitor(address)
    thawed = Ask("GET", "/products/1", "200 hit", wait=1)
    assert await visitor.sees(thawed) == thawed.sees
    await visitor.aclose()


def test_it_ends_without_a_word_although_a_page_is_open(capfd: pytest.CaptureFixture[str]) -> None:
    with demo() as address:
        page = urllib.request.urlopen(f"{address}/backstage/log", timeout=30)
        assert page.status == 200
    page.close()
    assert capfd.readouterr().err == ""


async def test_workers_that_share_a_file_share_the_log(tmp_path: Path) -> None:
    with (
        closing(Log(str(tmp_path / "shop"))) as here,
        closing(Log(str(tmp_path / "shop"))) as there,
    ):
        here.add("said", text="one")
        lines = there.follow()
        assert await anext(lines) == 'id: 1\ndata: {"kind": "said", "text": "one"}\n\n'
        for _ in range(KEPT):
            there.query("SELECT 1", 0.5)
        assert (await anext(lines)).startswith("id: 2\ndata: ")
        assert len(here.since(0)) == KEPT


@pytest.mark.parametrize("module", [main, plain])
def test_the_code_that_is_shown_is_there(module: object) -> None:
    source = Path(str(module.__file__))  # type: ignore[attr-defined]
    for step in STEPS:
        for name in step.code:
            assert name in excerpt(source, [name])


def test_a_name_that_is_not_there_is_no_excerpt(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("@mark\nasync def one():\n    ...\n\ntwo = 2\n")
    assert excerpt(file, ["one", "two"]) == "@mark\nasync def one():\n    ...\n\ntwo = 2\n"
    with pytest.raises(LookupError, match=r"app\.py defines no three"):
        excerpt(file, ["three"])
