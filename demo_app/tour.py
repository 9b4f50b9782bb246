"""The tour as data: eleven steps. What else there is to see is `asides.py`.

A step names the code that makes it work (found in the app's source by name) and the requests that
show it, each with what it is answered on a fresh start. The page offers them as buttons; the tests
send the very same requests and compare.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ask:
    """One request. `sees` is its answer: status, outcome, and the detail of Cache-Status."""

    method: str
    url: str
    sees: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    logged_in: bool = False  # send and keep the session's cookie
    cookies: dict[str, str] = field(default_factory=dict)
    wait: float = 0  # seconds before it
    etag: bool = False  # send the ETag of the last answer as If-None-Match


@dataclass(frozen=True)
class Button:
    label: str
    asks: tuple[Ask, ...]
    note: str = ""
    primary: bool = False


@dataclass(frozen=True)
class Step:
    name: str  # in the page's address, and in tests
    title: str
    words: str
    code: tuple[str, ...]  # functions, variables and calls in the app's source
    buttons: tuple[Button, ...]
    special: str = ""  # a widget of its own: see static/tour.js


def get(url: str, sees: str, **more: object) -> Ask:
    return Ask("GET", url, sees, **more)  # type: ignore[arg-type]


def button(label: str, *asks: Ask, note: str = "", primary: bool = False) -> Button:
    return Button(label, asks, note, primary)


STEPS = (
    Step(
        "slow-page",
        "A slow page, twice",
        "The database takes 600 ms. The first visitor waits for it, and everybody after that does"
        " not. <code>Cache-Status</code> says which of the two it was.",
        ("cachemw", "product"),
        (
            button(
                "Open product 3",
                get("/products/3", "200 miss"),
                get("/products/3", "200 hit"),
                note="twice: a miss, then a hit",
                primary=True,
            ),
        ),
    ),
    Step(
        "not-modified",
        "A browser that has it already",
        "Every cached page gets an <code>ETag</code>. Who sends it back is told <b>304</b>: no"
        " body, no handler, no database.",
        ("product",),
        (
            button(
                "Ask with If-None-Match",
                get("/products/3", "200 hit"),
                get("/products/3", "304 hit", etag=True),
                note="a page, then 0 bytes",
                primary=True,
            ),
        ),
    ),
    Step(
        "stale",
        "Old, at once, and new behind",
        "Exchange rates are fresh for five seconds. For a minute after that the old ones are served"
        " <em>at once</em>, while one request in the background fetches new ones. Wait for the ring"
        " to run out, then ask again: the query appears in the log <em>after</em> the answer.",
        ("rates",),
        (
            button("Get the rates", get("/rates", "200 miss"), primary=True),
            button(
                "Wait until they are old, then ask twice",
                get("/rates", "200 stale stale-while-revalidate", wait=5.2),
                get("/rates", "200 hit", wait=1.2),
                note="stale at once, then fresh",
            ),
        ),
        special="countdown",
    ),
    Step(
        "stampede",
        "Fifty at once, one run",
        "Fifty visitors ask for a report that nobody has made yet. One request runs the handler,"
        " the others wait for its answer: in this process by following it, in others by a lease in"
        " Redis.",
        ("report",),
        (
            button(
                "Send fifty",
                Ask("POST", "/backstage/crowd", "200 answer"),
                note="all answers are one answer",
                primary=True,
            ),
        ),
        special="crowd",
    ),
    Step(
        "variants",
        "What makes it another page",
        "The language does, <code>utm_source</code> does not, and the order of parameters never"
        " does. The policy says so; nothing else of the request reaches the handler.",
        ("search",),
        (
            button(
                "English, German",
                get("/search?q=te&page=1", "200 miss", headers={"Accept-Language": "en"}),
                get("/search?q=te&page=1", "200 miss", headers={"Accept-Language": "de"}),
                note="two pages",
                primary=True,
            ),
            button(
                "Other order, and a tracker",
                get(
                    "/search?page=1&q=te&utm_source=mail",
                    "200 hit",
                    headers={"Accept-Language": "en"},
                ),
                note="the same page",
            ),
        ),
    ),
    Step(
        "tags",
        "Change a price, and three pages know",
        "The product's page, the list and the search have the tag <code>product:3</code>. Changing"
        " the price purges it: one write, whatever the number of pages, done before the change is"
        " answered. A <em>soft</em> purge lets the old page be served once more.",
        ("product", "products", "change_price", "change_stock"),
        (
            button(
                "Look at all three",
                get("/products/3", "200 hit"),
                get("/products", "200 miss"),
                get("/search?q=green", "200 miss"),
            ),
            button(
                "Change the price, look again",
                Ask("PUT", "/products/3/price?price={price}", "200 answer"),
                get("/products/3", "200 miss purged"),
                get("/products", "200 miss purged"),
                get("/search?q=green", "200 miss purged"),
                note="three misses",
                primary=True,
            ),
            button(
                "Look, change the stock softly, look again",
                # Soon after a hard purge the first page is perhaps not kept: it may be too old.
                get("/products/3", "200 hit", wait=0.1),
                Ask("PUT", "/products/3/stock?stock={stock}", "200 answer"),
                get("/products/3", "200 stale soft-purged"),
                note="old once more, and made anew",
            ),
        ),
    ),
    Step(
        "namespace",
        "Everything at once",
        "A new edition of the catalogue: one write makes all that is in the namespace obsolete, a"
        " page or a million.",
        ("bump",),
        (
            button(
                "Bump the catalogue",
                Ask("POST", "/catalog/bump", "200 answer"),
                get("/products/3", "200 miss purged"),
                get("/products", "200 miss purged"),
                note="nothing of it is left",
                primary=True,
            ),
        ),
    ),
    Step(
        "sessions",
        "Two users, and nobody's page is another's",
        "<code>/me</code> has a cache policy, by mistake if you like. It is never shared all the"
        " same: a request with a cookie passes by, and what was made while the session was read is"
        " not kept. Public pages stay cached for those who are logged in.",
        ("sessions", "login", "me", "account", "logout_everywhere"),
        (
            button(
                "Log in as Ada",
                Ask("POST", "/login?user=ada", "200 answer", logged_in=True),
                get("/me", "200 bypass cookie", logged_in=True),
                primary=True,
            ),
            button(
                "Log in as Bob",
                Ask("POST", "/login?user=bob", "200 answer", logged_in=True),
                get("/me", "200 bypass cookie", logged_in=True),
            ),
            button(
                "As nobody",
                get("/me", "200 miss session"),
                note="read, so not kept",
            ),
            button(
                "A public page, logged in",
                get("/products/3", "200 hit", logged_in=True),
                note="still a hit",
            ),
            button(
                "Log out everywhere",
                Ask("POST", "/logout-everywhere", "200 answer", logged_in=True),
                get("/account", "401 answer", logged_in=True),
            ),
        ),
    ),
    Step(
        "limits",
        "Too fast",
        "Ten in ten seconds, counted in one script on the server's clock. The eleventh hears"
        " <b>429</b>, why, and for how long, and costs Redis nothing from then on.",
        ("quota", "quote"),
        (
            button("Ask once", get("/quote", "200 answer")),
            button(
                "Hammer it",
                *(get("/quote", "200 answer") for _ in range(9)),
                *(get("/quote", "429 limited") for _ in range(5)),
                primary=True,
            ),
        ),
        special="limits",
    ),
    Step(
        "outage",
        "Take Redis away",
        "The server is frozen (SIGSTOP): it takes connections and answers nothing. Pages come from"
        " the app, after 100 ms for the first few and without any delay once the breaker is open."
        " The limiter counts for itself. A page that needs a session says 503, and nobody is logged"
        " out.",
        ("product", "account", "quota"),
        (
            button(
                "Log in, then freeze Redis",
                Ask("POST", "/login?user=ada", "200 answer", logged_in=True),
                Ask("POST", "/backstage/pause", "200 answer"),
                primary=True,
            ),
            button(
                "Open pages",
                get("/products/3", "200 miss store-unavailable"),
                get("/products/3", "200 miss store-unavailable"),
                get("/account", "503 error", logged_in=True),
                get("/quote", "200 answer", wait=0.1),
                note="slow, but there; no session without Redis",
            ),
            button(
                "Thaw it",
                Ask("POST", "/backstage/resume", "200 answer"),
                get("/account", "200 answer", logged_in=True, wait=1),
                note="still logged in",
            ),
        ),
        special="outage",
    ),
    Step(
        "why-not",
        "Why was this not cached?",
        "The word after <code>detail=</code> says it: one closed list of reasons, the same in"
        " headers, metrics and logs. Each of these routes has a policy of one minute.",
        (),
        (
            button(
                "Authorization",
                get(
                    "/more/plain",
                    "200 bypass authorization",
                    headers={"Authorization": "Bearer ada"},
                ),
                primary=True,
            ),
            button("Set-Cookie", get("/more/sets-cookie", "200 miss set-cookie")),
            button("no-store", get("/more/says-no-store", "200 miss no-store")),
            button("private", get("/more/says-private", "200 miss private")),
            button("Vary: *", get("/more/varies-on-all", "200 miss vary-star")),
            button("Too large", get("/more/too-large", "200 miss too-large")),
            button("Skipped", get("/more/draft", "200 miss skipped")),
            button("Event stream", get("/more/events", "200 miss stream")),
        ),
        special="why",
    ),
)
