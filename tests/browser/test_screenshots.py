"""The pictures of docs/dashboard.md. With CACHEMW_SCREENSHOTS=docs/img they are written there."""

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from cachemw import open_store
from tests.browser.conftest import OpenPage, refreshed, serving
from tests.browser.shop import shop, visit

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


async def test_pictures(
    valkey_url: str, browser: Browser, open_page: OpenPage, tmp_path: Path
) -> None:
    place = Path(os.environ.get("CACHEMW_SCREENSHOTS") or tmp_path)
    async with serving(shop(open_store(valkey_url + "?deadline=5s"), allow_purge=True)) as at:
        page: Page = await open_page()
        await page.goto(f"{at}/cache/")
        for _ in range(8):  # so that the chart has something to draw
            await visit(at)
            await refreshed(page)
        await page.close()
        for name, (path, width, height, scheme) in PICTURES.items():
            page = await open_page(width=width, height=height, color_scheme=scheme)
            await page.goto(f"{at}/cache/{path}")
            picture = await page.screenshot(path=place / f"{name}.png")
            assert 5_000 < len(picture) < LARGEST, name
            await page.close()
