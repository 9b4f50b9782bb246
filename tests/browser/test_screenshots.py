"""The pictures in the docs. With CACHEMW_SCREENSHOTS=docs/img they are written there."""

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from cachemw import open_store
from tests.browser.conftest import OpenPage, refreshed, serving
from tests.browser.shop import shop, visit
from tests.demo.conftest import demo
from tests.servers import Server

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.xdist_group("browser")]

LARGEST = 150_000  # bytes
PICTURES = {
    "dashboard": ("", 1200, 900, "light"),
    "dashboard-dark": ("", 1200, 900, "dark"),
    "dashboard-routes": ("routes", 1200, 700, "light"),
    "dashboard-entries": ("entries?kind=response", 1200, 640, "dark"),
    "dashboard-purge": ("purge?dry=1&kind=tag&what=product:1", 1200, 640, "light"),
    "dashboard-health": ("health", 1200, 760, "light"),
    "dashboard-phone": ("", 360, 760, "light"),
}


KEPT_IN = os.environ.get("CACHEMW_SCREENSHOTS")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return Path(KEPT_IN or tmp_path)


async def test_the_dashboard(
    valkey: Server, browser: Browser, open_page: OpenPage, place: Path
) -> None:
    async with serving(shop(open_store(valkey.url + "?deadline=5s"), allow_purge=True)) as at:
        page: Page = await open_page()
        await page.goto(f"{at}/cache/")
        for _ in range(8 if KEPT_IN else 1):  # so that the chart has something to draw
            await visit(at)
            await refreshed(page)
        await page.close()
        for name, (path, width, height, scheme) in PICTURES.items():
            page = await open_page(width=width, height=height, color_scheme=scheme)
            await page.goto(f"{at}/cache/{path}")
            picture = await page.screenshot(path=place / f"{name}.png")
            assert 5_000 < len(picture) < LARGEST, name
            await page.close()


async def test_the_tour(browser: Browser, open_page: OpenPage, place: Path) -> None:
    with demo() as address:
        page: Page = await open_page(width=1280, height=800)
        await page.goto(f"{address}/#slow-page")
        await page.locator("#slow-page .buttons button").click()
        await expect(page.locator("#slow-page .results .chip")).to_have_count(2)
        await expect(page.locator(".log li")).to_have_count(3)
        picture = await page.screenshot(path=place / "tour.png")
        assert 5_000 < len(picture) < LARGEST
