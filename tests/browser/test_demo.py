"""The demo's page in a real browser: every button shows what it says, on a phone and on a desk."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from demo_app.tour import STEPS, Step
from tests.demo.conftest import VARIANTS, demo

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PATIENCE = 30_000  # milliseconds; the policy of the page forbids to wait by a function of one's own


@asynccontextmanager
async def visit(browser: Browser, address: str, **options: Any) -> AsyncIterator[Page]:
    """The page, open. What it complains of fails the test, except for answers that the tour wants:
    a browser counts each 429 and 503 as an error.
    """
    context = await browser.new_context(reduced_motion="reduce", **options)
    complaints: list[str] = []
    page = await context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            if message.type in ("error", "warning") and "Failed to load" not in message.text
            else None
        ),
    )
    await page.goto(address)
    yield page
    await context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def tour() -> Iterator[str]:
    with demo() as address:
        yield address


async def press(page: Page, step: Step, number: int) -> list[str]:
    """Press a button of a step; what its results say then, or its verdict."""
    button = page.locator(f"#{step.name} .buttons button").nth(number)
    await button.click()
    await expect(button).to_be_enabled(timeout=PATIENCE)
    return await page.locator(f"#{step.name} .results .chip").all_inner_texts()


@pytest.mark.parametrize("variant", VARIANTS)
async def test_every_step_shows_what_it_says(browser: Browser, variant: str) -> None:
    with demo(*VARIANTS[variant]) as address:
        async with visit(browser, address, viewport={"width": 1440, "height": 900}) as page:
            page.set_default_timeout(60_000)
            assert variant in await page.locator(".variant").inner_text()
            for step in STEPS:
                for number, button in enumerate(step.buttons):
                    chips = await press(page, step, number)
                    shown = [ask for ask in button.asks if not ask.url.startswith("/backstage")]
                    assert len(chips) == len(shown)
                    if any(ask.wait for ask in shown):
                        continue  # what is shown after some seconds depends on how many they were
                    for chip, ask in zip(chips, shown, strict=True):
                        status, outcome = ask.sees.split()[:2]
                        assert re.split(r"\s+", chip.strip()) == [outcome, status], step.name
            assert await page.locator(".step.done").count() == len(STEPS)
            verdict = await page.locator("#stampede .verdict").inner_text()
            assert verdict.startswith("50 answers, 1 run of the handler.")
            why = await page.locator("#why-not .why").inner_text()
            assert why.startswith("stream: ")


async def test_the_log_shows_a_query_for_a_miss_and_none_for_a_hit(
    browser: Browser, tour: str
) -> None:
    async with visit(browser, tour) as page:
        await press(page, STEPS[6], 0)  # everything is obsolete, so the next is a miss
        await page.locator(".clear").click()
        await press(page, STEPS[0], 0)
        await press(page, STEPS[0], 0)
        words = page.locator(".log .word")
        await expect(words).to_have_count(4, timeout=PATIENCE)
        assert await words.all_inner_texts() == ["hit", "hit", "hit", "hit"]
        assert "hit" in await page.locator(".response dd").first.inner_text()
        lit = await page.locator(".path .nodes .lit text").all_text_contents()
        assert lit == ["you", "limits", "cache", "Redis"]
        await page.locator(".clear").click()
        await press(page, STEPS[6], 0)
        await expect(words).to_have_count(5, timeout=PATIENCE)
        assert await words.all_inner_texts() == ["miss", "query", "miss", "query", "answer"]


async def test_it_fits_and_can_be_read(browser: Browser, tour: str) -> None:
    for width in (360, 768, 1440):
        for scheme in ("light", "dark"):
            size = {"width": width, "height": 800}
            async with visit(browser, tour, viewport=size, color_scheme=scheme) as page:
                for step in (STEPS[0], STEPS[10]):
                    await press(page, step, 0)
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
                assert json.loads(await page.evaluate(CONTRASTS)) == []
                await page.locator(".theme").click()
                assert json.loads(await page.evaluate(CONTRASTS)) == []


async def test_a_phone_has_the_log_in_a_drawer(browser: Browser, tour: str) -> None:
    async with visit(browser, tour, viewport={"width": 360, "height": 740}) as page:
        await press(page, STEPS[0], 0)
        assert "hit" in await page.locator(".drawer .last").inner_text()
        assert not await page.locator(".log").is_visible()
        await page.locator(".drawer").click()
        assert await page.locator(".log").is_visible()


async def test_the_code_is_copied_as_it_is(browser: Browser, tour: str) -> None:
    options = {"permissions": ["clipboard-read", "clipboard-write"]}
    async with visit(browser, tour, **options) as page:
        await page.locator("#slow-page .copy").click()
        await page.locator("#slow-page .copy", has_text="Copied").wait_for()
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert "async def product(id: int)" in copied
        compile(copied, "copied", "exec")


# What is written in a colour that its background hardly differs from (WCAG 2: 4.5 to 1).
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const channels = (colour, under) => {
    canvas.globalCompositeOperation = "copy"; canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.globalCompositeOperation = "source-over"; canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
    return `rgb(${r}, ${g}, ${b})`;
  };
  const light = (colour) => {
    const part = colour.match(/\\d+/g).map(Number).map((value) => {
      const one = value / 255;
      return one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const ground = (element) => {
    const above = [];
    for (let one = element; one; one = one.parentElement) {
      above.push(getComputedStyle(one).backgroundColor);
    }
    return above.reverse().reduce((under, colour) => channels(colour, under), "white");
  };
  const faint = new Set();
  for (const element of document.querySelectorAll("main *, header *")) {
    const own = [...element.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!own || element.closest("svg, noscript, [disabled]") || !element.offsetParent) continue;
    const style = getComputedStyle(element);
    const under = ground(element);
    const a = light(channels(style.color, under)), b = light(under);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.add(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
  }
  return JSON.stringify([...faint]);
}"""
