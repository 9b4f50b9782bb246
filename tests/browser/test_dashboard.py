"""The dashboard in a real browser: read, clicked, typed at, attacked, and with its scripts off."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from cachemw import open_store
from tests.browser.conftest import OpenPage, chromium, refreshed, serving
from tests.browser.shop import HOSTILE, shop, visit

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.xdist_group("browser")]

PAGES = [
    *("", "routes", "entries", "explain?url=/products/1", "purge"),
    *("limits?client=127.0.0.1", "sessions?subject=ann", "health"),
]
MANNERS = (Path(__file__).parent / "manners.js").read_text("utf-8")


@pytest.fixture
async def at(valkey_url: str, browser: Browser) -> AsyncIterator[str]:
    """A shop that has had visitors; where it is."""
    store = open_store(valkey_url + "?deadline=5s")
    async with serving(shop(store, allow_purge=True)) as at:
        await visit(at)
        yield at


async def cache_status(at: str, path: str) -> str:
    async with httpx2.AsyncClient() as client:
        return str((await client.get(at + path)).headers["cache-status"])


async def test_every_page_is_reached_by_clicking(at: str, open_page: OpenPage) -> None:
    page: Page = await open_page()
    await page.goto(f"{at}/cache/")
    links = page.get_by_role("navigation").get_by_role("link")
    for number in range(await links.count()):
        link = links.nth(number)
        name = await link.inner_text()
        await link.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(name)
        await expect(link).to_have_attribute("aria-current", "page")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
async def test_every_page_has_manners(
    at: str, open_page: OpenPage, width: int, scheme: str
) -> None:
    page: Page = await open_page(width=width, color_scheme=scheme)
    for name in [*PAGES, "entries?name=/products/*", "purge?dry=1&kind=tag&what=product:1"]:
        await page.goto(f"{at}/cache/{name}")
        assert await page.evaluate(MANNERS) == [], name
    await page.goto(f"{at}/cache/entries?name=/products/1")
    await page.get_by_role("link", name="/products/1").first.click()
    assert await page.evaluate(MANNERS) == []


async def test_what_looks_at_manners_finds_bad_ones(browser: Browser) -> None:
    page = await browser.new_page()
    await page.set_content(
        "<body><main><h3>x</h3><input><svg></svg><p style='color:#aaa;width:3000px'>grey</p></main>"
    )
    complaints = " ".join(await page.evaluate(MANNERS))
    for bad in (
        "<nav>",
        "<h1>",
        "skips a level",
        "no name",
        "without words",
        "contrast",
        "sideways",
    ):
        assert bad in complaints
    await page.close()


async def test_it_follows_what_happens_without_being_reloaded(at: str, open_page: OpenPage) -> None:
    page: Page = await open_page()
    await page.goto(f"{at}/cache/")
    row = page.get_by_role("row", name="/brand-new")
    await expect(row).to_have_count(0)
    async with httpx2.AsyncClient() as client:
        await client.get(f"{at}/products/brand-new")
    await expect(row.first).to_be_visible(timeout=20_000)
    await expect(page.locator("#pulse")).to_contain_text("Live")
    assert await page.evaluate("performance.getEntriesByType('navigation').length") == 1


async def test_it_can_be_paused_and_says_when_it_hears_nothing(
    at: str, open_page: OpenPage
) -> None:
    page: Page = await open_page()
    await page.goto(f"{at}/cache/")
    await refreshed(page)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#pulse")).to_contain_text("Paused")
    answers = {"status": 200, "json": {"at": "late", "parts": {}}}
    await page.route("**/live.json*", lambda route: route.fulfill(**answers))
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#pulse")).to_contain_text("late")
    await page.unroute("**/live.json*")
    broken = {"status": 200, "body": "no JSON"}
    await page.route("**/live.json*", lambda route: route.fulfill(**broken))
    await expect(page.locator("#pulse")).to_contain_text("No answer", timeout=20_000)


async def test_what_somebody_is_using_is_not_replaced(at: str, open_page: OpenPage) -> None:
    page: Page = await open_page()
    await page.goto(f"{at}/cache/health")
    summary = page.get_by_text("In numbers")
    await summary.click()
    table = page.get_by_role("table", name="Trips by how long they took")
    await expect(table).to_be_visible()
    await refreshed(page, 2)
    await expect(summary).to_be_focused()
    await page.get_by_role("link", name="Overview").focus()
    await refreshed(page, 2)
    await expect(table).to_be_visible()  # replaced by now, and open as it was


async def test_a_purge_with_the_keyboard_alone(at: str, open_page: OpenPage) -> None:
    assert "hit" in await cache_status(at, "/products/1")
    page: Page = await open_page()
    await page.goto(f"{at}/cache/purge")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.type("Tag")
    await page.keyboard.press("Tab")
    await page.keyboard.type("product:1")
    await page.keyboard.press("Enter")  # that is the dry run
    await expect(page.get_by_role("status")).to_contain_text("1 entry would go")
    assert "hit" in await cache_status(at, "/products/1")
    button = page.get_by_role("button", name="Purge it")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await button.evaluate("(one) => one === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("Purged tag product:1")
    log = page.get_by_role("table", name="Log of purges")
    await expect(log.get_by_role("row").nth(1)).to_contain_text("product:1")
    assert "token" not in page.url
    assert "purged" in await cache_status(at, "/products/1")
    await page.reload()  # which purges nothing again
    assert "hit" in await cache_status(at, "/products/1")


async def test_without_scripts_everything_can_be_read_and_a_purge_works(
    at: str, open_page: OpenPage
) -> None:
    page: Page = await open_page(java_script_enabled=False)
    await page.goto(f"{at}/cache/")
    await expect(page.get_by_role("table", name="Busiest routes")).to_contain_text("/products/{id}")
    await expect(page.locator("#pulse")).to_contain_text("Reload")
    await expect(page.get_by_role("button")).to_have_count(0)
    for name in PAGES:
        await page.goto(f"{at}/cache/{name}")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await page.goto(f"{at}/cache/entries?name=/products/1")
    await page.get_by_role("link", name="/products/1").first.click()
    await expect(page.get_by_text("Fresh for")).to_be_visible()
    await page.get_by_role("link", name="Purge this url").click()
    await page.get_by_role("button", name="Purge it").click()
    await expect(page.get_by_role("status")).to_contain_text("Purged url")
    assert "hit" not in await cache_status(at, "/products/1")


async def test_an_entry_counts_down(at: str, open_page: OpenPage) -> None:
    page: Page = await open_page()
    await page.goto(f"{at}/cache/entries?name=/products/1")
    left = page.locator("[data-left]").first
    before = await left.inner_text()
    await expect(left).not_to_have_text(before)
    assert await left.inner_text() < before


async def test_what_visitors_sent_does_nothing(at: str, open_page: OpenPage) -> None:
    page: Page = await open_page()
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    for name in [*PAGES, f"purge?dry=1&kind=tag&what={HOSTILE}"]:
        await page.goto(f"{at}/cache/{name}")
        assert await page.locator("main img").count() == 0
    await page.goto(f"{at}/cache/entries")
    await page.get_by_role("link", name=HOSTILE).first.click()
    await expect(page.get_by_role("main")).to_contain_text(HOSTILE)


async def test_its_policy_is_one_that_browsers_enforce(at: str, browser: Browser) -> None:
    page = await browser.new_page()  # whose console may complain
    await page.goto(f"{at}/cache/")
    blocked = await page.evaluate(
        """async () => {
            const heard = new Promise((resolve) => document.addEventListener(
                "securitypolicyviolation", (event) => resolve(event.effectiveDirective)));
            try { document.body.insertAdjacentHTML("beforeend", "<b>x</b>"); return "let in"; }
            catch { return await heard; }
        }"""
    )
    assert blocked == "require-trusted-types-for"
    await page.close()


def evil(target: str) -> Starlette:
    """A site that wants to purge by the hand of whoever visits it."""

    async def trap(request: Request) -> HTMLResponse:
        fields = "".join(
            f'<input name="{name}" value="{value}">'
            for name, value in {"kind": "tag", "what": "product:1", "token": "0" * 64}.items()
        )
        return HTMLResponse(
            f'<form method="post" action="{target}/cache/purge">{fields}<button>Win</button></form>'
            f'<iframe src="{target}/cache/purge"></iframe>'
        )

    return Starlette(routes=[Route("/", trap)])


async def test_another_site_cannot_purge_nor_frame_it(at: str, browser: Browser) -> None:
    page = await browser.new_page()
    await page.goto(f"{at}/cache/purge")  # so that there is a cookie
    async with serving(evil(at)) as elsewhere:
        await page.goto(elsewhere)
        assert "cachemw" not in await page.frames[1].content()
        async with page.expect_response("**/cache/purge") as posted:
            await page.get_by_role("button", name="Win").click()
        assert (await posted.value).status == 403
    await page.close()
    assert "hit" in await cache_status(at, "/products/1")


async def test_a_name_bound_to_this_machine_is_not_this_machine(at: str) -> None:
    """DNS rebinding: the browser believes that evil.example is at 127.0.0.1."""
    from playwright.async_api import async_playwright

    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    async with async_playwright() as playwright:
        fooled = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", rules]
        )
        page = await fooled.new_page()
        answer = await page.goto(at.replace("127.0.0.1", "evil.example") + "/cache/")
        assert answer is not None and answer.status == 403
        await fooled.close()
