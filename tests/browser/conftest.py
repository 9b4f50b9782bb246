"""A real Chromium, headless, for tests that click.

It is the one at CACHEMW_TEST_CHROMIUM, or the first that is found in the path. Where there is none
these tests are skipped, unless CACHEMW_TEST_BROWSER=required, as in CI. Each test has a page of its
own, and fails when the browser's console complained, a violated content policy included.
"""

import asyncio
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

OpenPage = Callable[..., Any]


def chromium() -> str:
    """The program, or the end of the test."""
    found = os.environ.get("CACHEMW_TEST_CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), ""
    )
    if not found:
        told = "no Chromium: install Debian's `chromium`, or say where in CACHEMW_TEST_CHROMIUM"
        if os.environ.get("CACHEMW_TEST_BROWSER") == "required":
            pytest.fail(told)
        pytest.skip(told)
    return found


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    program = chromium()
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Makes pages; what their consoles complain of fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    async def opened(*, width: int = 1440, height: int = 900, **options: Any) -> Page:
        viewport: Any = {"width": width, "height": height}
        context = await browser.new_context(viewport=viewport, reduced_motion="reduce", **options)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.set_default_timeout(20_000)
        return page

    yield opened
    for context in contexts:
        await context.close()
    assert complaints == []


async def refreshed(page: Page, times: int = 1) -> None:
    """Wait until the script has put in what is new, so many times from now."""
    body = page.locator("body")
    for _ in range(times):
        before = await body.get_attribute("data-refreshed")
        await expect(body).not_to_have_attribute("data-refreshed", before or "0", timeout=20_000)
        if before is None:  # it has none until the first time
            await expect(body).to_have_attribute("data-refreshed", re.compile("."), timeout=20_000)


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """An app on a port of its own, in this event loop; where it is."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()
