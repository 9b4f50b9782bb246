"""What may be kept, and what is kept of it: RFC 9111 §3, §5.2.2, and our own refusals."""

from hashlib import sha256

from cachemw.caching.etags import generate_etag
from tests.conformance.play import Scenario, Step, at, get, policy, request, says

MADE = generate_etag(sha256(b"x").digest(), weak=True).decode()
CODED = generate_etag(sha256(b"x").digest(), b"br").decode()
KEPT = "fwd=uri-miss stored"
FRESH = "Cache-Control: max-age=60"


def kept(about: str, title: str, *headers: str, status: int = 200, **options: object) -> Scenario:
    """The first answer is kept, and the second request gets it."""
    body = b"" if status == 204 else None
    steps = [
        get(app=says(*headers, status=status, body=body), told=KEPT, status=status),
        get(told="hit", status=status, run=1),
    ]
    return Scenario(about, title, steps, policy(**options))


def unkept(
    about: str, title: str, reason: str, *headers: str, status: int = 200, **options: object
) -> Scenario:
    """The answer is not kept, for this reason; the second request gets another."""
    told = f"fwd=uri-miss detail={reason}"
    again = [get(app=says(*headers, status=status), told=told, status=status) for _ in range(2)]
    return Scenario(about, title, again, policy(**options))


def once(about: str, title: str, *steps: Step, **options: object) -> Scenario:
    return Scenario(about, title, steps, policy(**options))


NOT_KEPT = [
    ("no-store", "no-store", ["Cache-Control: no-store, max-age=60"]),
    ("No-Store in any case", "no-store", ["Cache-Control: max-age=60, NO-STORE"]),
    ("no-store with an argument", "no-store", ["Cache-Control: max-age=60, no-store=1"]),
    ("no-store in a second line", "no-store", [FRESH, "Cache-Control: no-store"]),
    ("no-store behind an open quote", "no-store", ['Cache-Control: a="x, no-store, max-age=60']),
    ("no-store behind a quoted string", "no-store", ['Cache-Control: a="b, c", no-store']),
    ("private", "private", ["Cache-Control: private, max-age=60"]),
    ("Private in any case", "private", ["Cache-Control: PRIVATE, max-age=60"]),
    ("private with an empty list", "private", ['Cache-Control: private="", max-age=60']),
    ("private beside public", "private", ["Cache-Control: public, private, max-age=60"]),
    ("Vary: *", "vary-star", [FRESH, "Vary: *"]),
    ("Vary: * in a list", "vary-star", [FRESH, "Vary: Accept, *"]),
    ("Vary: * in a second line", "vary-star", [FRESH, "Vary: Accept", "Vary: *"]),
    ("an unreadable Vary", "vary-star", [FRESH, "Vary: Accept Encoding"]),
    ("Set-Cookie", "set-cookie", [FRESH, "Set-Cookie: a=b"]),
    (
        "Set-Cookie in spite of public",
        "set-cookie",
        ["Cache-Control: public, max-age=60", "Set-Cookie: a=b"],
    ),
    ("nothing about a lifetime", "no-lifetime", []),
    ("an Expires that is no date", "no-lifetime", ["Expires: soon"]),
    ("Expires: 0", "no-lifetime", ["Expires: 0"]),
    ("an Expires in the past", "no-lifetime", [f"Expires: {at(-60)}"]),
    ("Expires at the very Date", "no-lifetime", [f"Date: {at(0)}", f"Expires: {at(0)}"]),
    ("max-age=0 without a validator", "no-lifetime", ["Cache-Control: max-age=0"]),
    ("no-cache without a validator", "no-lifetime", ["Cache-Control: no-cache, max-age=60"]),
    ("an Age beyond the lifetime", "no-lifetime", [FRESH, "Age: 60"]),
    ("a stream of events", "stream", [FRESH, "Content-Type: text/event-stream"]),
    ("a stream of parts", "stream", [FRESH, "Content-Type: multipart/x-mixed-replace; boundary=x"]),
    ("a body that is to be handed on at once", "stream", [FRESH, "Incremental: ?1"]),
    ("must-understand with a status that is not", "must-understand", [FRESH + ", must-understand"]),
]
STATUS_OF = {"must-understand with a status that is not": 299}

WITH_LIFETIME = [200, 203, 204, 299, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 451]
ANSWERS_ONE_REQUEST = [401, 407, 408, 412, 413, 415, 416, 417, 421, 425, 426, 428, 429, 431, 511]
ERRORS = [400, 402, 403, 406, 409, 411, 422, 500, 501, 502, 503, 504, 505, 599]
BY_POLICY = [200, 203, 204, 300, 301, 308]

KEPT_FIELDS = [
    "Link: <a>; rel=x",
    "Link: <b>; rel=y",
    "X-Unknown: 1",
    "Content-Language: de",
    "Warning: 199 - x",
]
NOT_KEPT_FIELDS = [
    *("Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "TE: trailers"),
    *("Proxy-Authenticate: Basic", "Proxy-Authentication-Info: x", "Upgrade: h2c", "Trailer: X"),
    *("X-Request-ID: 1", "X-Correlation-ID: 1", "Traceparent: 00-1-1-01", "Server-Timing: db"),
    *("RateLimit: a;r=1", "RateLimit-Remaining: 1", "X-RateLimit-Limit: 5"),
    *("Retry-After: 5", "X-Process-Time: 1", "CF-Ray: 1", "X-Amzn-Trace-Id: Root=1"),
]

SCENARIOS = [
    # what is not kept
    *(
        unkept(
            "9111 §3", f"{title} is not kept", reason, *headers, status=STATUS_OF.get(title, 200)
        )
        for title, reason, headers in NOT_KEPT
    ),
    # statuses
    *(
        kept("9111 §3", f"{status} with a lifetime is kept", FRESH, status=status)
        for status in WITH_LIFETIME
    ),
    *(
        unkept("9111 §3", f"{status} is never kept", "per-request", FRESH, status=status)
        for status in ANSWERS_ONE_REQUEST
    ),
    *(
        unkept(
            "safety", f"{status} is not kept by its headers alone", "error", FRESH, status=status
        )
        for status in ERRORS
    ),
    *(
        kept(
            "policy",
            f"{status} is kept where the policy names it",
            status=status,
            ttl_by_status={status: 60},
        )
        for status in (400, 403, 404, 500, 503)
    ),
    *(
        kept("policy", f"a ttl makes {status} cacheable", status=status, ttl=60)
        for status in BY_POLICY
    ),
    *(
        unkept(
            "policy",
            f"a plain ttl does not make {status} cacheable",
            "status",
            status=status,
            ttl=60,
        )
        for status in (201, 302, 303, 307, 400, 500, 503)
    ),
    unkept(
        "9111 §3.3", "206 is not kept", "partial", FRESH, "Content-Range: bytes 0-1/9", status=206
    ),
    unkept("9111 §3", "302 without a lifetime is not kept", "status", status=302),
    # directives that permit
    kept(
        "9111 §5.2.2.9",
        "public lets 302 be kept for its heuristic lifetime",
        "Cache-Control: public",
        f"Last-Modified: {at(-1000)}",
        status=302,
    ),
    kept(
        "9111 §5.2.2.3",
        "must-understand overrules no-store for a known status",
        "Cache-Control: must-understand, no-store, max-age=60",
    ),
    kept("9111 §5.2.3", "unknown directives are ignored", "Cache-Control: x-y, z=1, max-age=60"),
    kept("9111 §3.1", "no-store in the request's field is not ours to obey by default", FRESH),
    kept("9111 §5.4", "Pragma in a response means nothing", FRESH, "Pragma: no-cache"),
    kept("9111 §5.5", "Warning means nothing", FRESH, 'Warning: 110 - "stale"'),
    # fields
    once(
        "9111 §3.1",
        "every field is kept, in order and repeated",
        get(app=says(FRESH, *KEPT_FIELDS), told=KEPT),
        get(told="hit", run=1, has=tuple(KEPT_FIELDS)),
    ),
    once(
        "9111 §3.1",
        "fields of the hop and of the exchange reach the first client only",
        get(
            app=says(FRESH, *NOT_KEPT_FIELDS), told=KEPT, has=("x-request-id: 1", "retry-after: 5")
        ),
        get(told="hit", run=1, lacks=tuple(line.partition(":")[0] for line in NOT_KEPT_FIELDS)),
    ),
    once(
        "9111 §5.2.2.7",
        "private with field names keeps all but these",
        get(
            app=says(
                'Cache-Control: max-age=60, private="X-Me, x-you"',
                "X-Me: 1",
                "X-You: 2",
                "X-All: 3",
            ),
            told=KEPT,
            has=("x-me: 1",),
        ),
        get(told="hit", run=1, has=("x-all: 3",), lacks=("x-me", "x-you")),
    ),
    once(
        "9111 §5.2.2.4",
        "no-cache with field names keeps all but these",
        get(
            app=says('Cache-Control: max-age=60, no-cache="X-Me"', "X-Me: 1", "X-All: 3"), told=KEPT
        ),
        get(told="hit", run=1, has=("x-all: 3",), lacks=("x-me",)),
    ),
    once(
        "9111 §3.3",
        "a body shorter than its Content-Length is not kept",
        get(
            app=says(FRESH, "Content-Length: 99", body=b"short"),
            told="fwd=uri-miss detail=incomplete",
        ),
        get(app=says(FRESH), told=KEPT),
    ),
    once(
        "9111 §3.3",
        "a body longer than its Content-Length is not kept",
        get(
            app=says(FRESH, "Content-Length: 2", body=b"longer"),
            told="fwd=uri-miss detail=incomplete",
        ),
        get(app=says(FRESH), told=KEPT),
    ),
    # authorized requests, as far as a policy lets them come here at all
    *(
        once(
            "9111 §3.5",
            f"an authorized answer with {directive} is kept",
            get(
                "Authorization: B a",
                app=says(f"Cache-Control: max-age=60, {directive}"),
                told=KEPT,
                saw=("!authorization",),
            ),
            get(told="hit", run=1),
            credentials="strip",
        )
        for directive in ("public", "must-revalidate", "s-maxage=60")
    ),
    once(
        "9111 §3.5",
        "an authorized request passes by, unless the policy says more",
        get(
            "Authorization: B a",
            app=says("Cache-Control: public, max-age=60"),
            told="fwd=bypass detail=authorization",
            saw=("authorization: b a",),
        ),
        get(app=says(FRESH), told=KEPT),
        get("Authorization: B a", app=says(), told="fwd=bypass detail=authorization"),
    ),
    # what the policy says
    unkept("policy", "without a ttl nothing is kept that has no lifetime", "no-lifetime"),
    unkept("policy", "no-store wins over a ttl", "no-store", "Cache-Control: no-store", ttl=60),
    unkept("policy", "private wins over a ttl", "private", "Cache-Control: private", ttl=60),
    kept("policy", "force wins over no-store", "Cache-Control: no-store", ttl=60, force=True),
    kept("policy", "force wins over private", "Cache-Control: private", ttl=60, force=True),
    kept("policy", "force wins over no-cache", "Cache-Control: no-cache", ttl=60, force=True),
    kept("policy", "force wins over max-age=0", "Cache-Control: max-age=0", ttl=60, force=True),
    unkept(
        "safety",
        "force does not win over Set-Cookie",
        "set-cookie",
        "Set-Cookie: a=b",
        ttl=60,
        force=True,
    ),
    unkept("safety", "force does not win over Vary: *", "vary-star", "Vary: *", ttl=60, force=True),
    once(
        "policy",
        "what is larger than max_body is not kept, and reaches the client whole",
        get(
            app=says(FRESH, body=b"x" * 101), told="fwd=uri-miss detail=too-large", text=b"x" * 101
        ),
        get(app=says(FRESH, body=b"x" * 100), told=f"{KEPT} detail=uncacheable", text=b"x" * 100),
        get(told="hit", text=b"x" * 100),
        max_body=100,
    ),
    once(
        "policy",
        "a Content-Length beyond max_body is refused at once",
        get(
            app=says(FRESH, "Content-Length: 101", body=b"x" * 101),
            told="fwd=uri-miss detail=too-large",
            text=b"x" * 101,
        ),
        max_body=100,
    ),
    once(
        "policy",
        "max_variants of one URL are kept",
        get("Accept: a", app=says(FRESH, "Vary: Accept"), told=KEPT),
        get("Accept: b", app=says(FRESH, "Vary: Accept"), told="fwd=vary-miss stored"),
        get("Accept: b", told="hit", run=2),
        get("Accept: a", app=says(FRESH, "Vary: Accept"), told="fwd=vary-miss stored"),
        max_variants=1,
    ),
    once(
        "handler",
        "skip() leaves the response unkept",
        get(
            app=says(FRESH, handler=lambda cache: cache.skip("draft")),
            told="fwd=uri-miss detail=skipped",
        ),
    ),
    once(
        "handler",
        "ttl() gives the lifetime",
        get(app=says(handler=lambda cache: cache.ttl("10s")), told=KEPT, ttl=10),
        get(after=9, told="hit", run=1),
        get(after=1, app=says(), told="fwd=uri-miss detail=no-lifetime"),
    ),
    once(
        "handler",
        "ttl() wins over the policy's and over the origin's",
        get(app=says(FRESH, handler=lambda cache: cache.ttl(5)), told=KEPT, ttl=5),
        ttl=500,
    ),
    *(
        once(
            "handler",
            f"ttl() does not keep {status}, which comes from a failure after it",
            get(
                app=says(status=status, handler=lambda cache: cache.ttl(60)),
                told="fwd=uri-miss detail=status",
                status=status,
            ),
        )
        for status in (400, 403, 500, 503)
    ),
    once(
        "handler",
        "ttl() keeps a 404 that the handler means",
        get(app=says(status=404, handler=lambda cache: cache.ttl(60)), told=KEPT, status=404),
        get(told="hit", status=404, run=1),
    ),
    once(
        "handler",
        "ttl(0) is not kept",
        get(app=says(handler=lambda cache: cache.ttl(0)), told="fwd=uri-miss detail=no-lifetime"),
        ttl=60,
    ),
    # ETag
    once(
        "policy",
        "an ETag is made where there is none, and is the same on miss and hit",
        get(app=says(FRESH, body=b"x"), told=KEPT, has=(f"etag: {MADE}",)),
        get('If-None-Match: "no"', told="hit", text=b"x", has=(f"etag: {MADE}",)),
        get(f"If-None-Match: {MADE}", told="hit", status=304, has=(f"etag: {MADE}",)),
        etag=True,
    ),
    once(
        "9110 §8.8.3.3",
        "what is plain gets a weak ETag, as somebody may still encode it",
        get(app=says(FRESH, body=b"x"), told=KEPT, has=(f"etag: {MADE}",)),
        get("Range: bytes=0-0", f"If-Range: {MADE}", told="hit", text=b"x"),
        get("Range: bytes=0-0", told="hit", text=b"x", status=206),
    ),
    once(
        "9110 §8.8.3.3",
        "what is encoded gets a strong one",
        get(app=says(FRESH, "Content-Encoding: br", body=b"x"), told=KEPT, has=(f"etag: {CODED}",)),
        get("Range: bytes=0-0", f"If-Range: {CODED}", told="hit", text=b"x", status=206),
    ),
    once(
        "policy",
        "etag=False makes none",
        get(app=says(FRESH), told=KEPT, lacks=("etag",)),
        get(told="hit", run=1, lacks=("etag",)),
        etag=False,
    ),
    once(
        "policy",
        "the app's own ETag stays",
        get(app=says(FRESH, 'ETag: "own"'), told=KEPT, has=('etag: "own"',)),
        get(told="hit", run=1, has=('etag: "own"',)),
    ),
    # what clients are told
    once(
        "policy",
        "a browser is told to ask each time where only the policy made it cacheable",
        get(app=says(), told=KEPT, has=("cache-control: no-cache",)),
        get(told="hit", run=1, has=("cache-control: no-cache",)),
        ttl=60,
    ),
    once(
        "policy",
        "browser_ttl is what a browser is told",
        get(app=says(), told=KEPT, has=("cache-control: max-age=7",)),
        get(told="hit", run=1, has=("cache-control: max-age=7",)),
        ttl=60,
        browser_ttl=7,
    ),
    once(
        "policy",
        "where the origin spoke, its word reaches the browser",
        get(app=says("Cache-Control: max-age=30"), told=KEPT, has=("cache-control: max-age=30",)),
        get(told="hit", run=1, has=("cache-control: max-age=30",)),
        ttl=60,
        browser_ttl=7,
    ),
    once(
        "policy",
        "force replaces what the origin told browsers",
        get(
            app=says("Cache-Control: max-age=30", f"Expires: {at(30)}"),
            told=KEPT,
            has=("cache-control: no-cache",),
            lacks=("expires",),
            ttl=60,
        ),
        get(told="hit", run=1, has=("cache-control: no-cache",), lacks=("expires",)),
        ttl=60,
        force=True,
    ),
    once(
        "policy",
        "what is for one user is private for caches behind us",
        get("Cookie: sid=a", app=says(), told=KEPT, has=("cache-control: private, no-cache",)),
        get("Cookie: sid=a", told="hit", run=1, has=("cache-control: private, no-cache",)),
        ttl=60,
        credentials="identity",
    ),
    # methods that have no policy
    once(
        "9111 §3",
        "OPTIONS passes by",
        request("OPTIONS", app=says(FRESH), told="fwd=method detail=method"),
        request("OPTIONS", app=says(FRESH), told="fwd=method detail=method"),
    ),
]
