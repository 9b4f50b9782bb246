"""Which stored response a request selects: RFC 9111 §2 and §4.1, keys, and methods with a body."""

from collections.abc import Iterator

from starlette.requests import HTTPConnection

from tests.conformance.play import Scenario, Step, get, policy, request, says

KEPT = "fwd=uri-miss stored"
OTHER = "fwd=vary-miss stored"
FRESH = "Cache-Control: max-age=60"


def who(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-tenant")


def same(
    about: str, title: str, vary: str, one: tuple[str, ...], other: tuple[str, ...]
) -> Scenario:
    return Scenario(
        about,
        f"Vary: {vary}: {title}",
        [
            get(*one, app=says(FRESH, f"Vary: {vary}"), told=KEPT),
            get(*other, told="hit", run=1),
        ],
    )


def differ(
    about: str, title: str, vary: str, one: tuple[str, ...], other: tuple[str, ...]
) -> Scenario:
    answer = says(FRESH, f"Vary: {vary}")
    return Scenario(
        about,
        f"Vary: {vary}: {title}",
        [
            get(*one, app=answer, told=KEPT),
            get(*other, app=answer, told=OTHER),
            get(*one, told="hit", run=1),
            get(*other, told="hit", run=2),
        ],
    )


def urls(
    title: str, one: str, other: str, *, equal: bool, about: str = "9111 §2", **options: object
) -> Scenario:
    second: Step = (
        get(path=other, told="hit", run=1) if equal else get(path=other, app=says(FRESH), told=KEPT)
    )
    return Scenario(
        about,
        f"{title} {'are one' if equal else 'are two'}",
        [get(path=one, app=says(FRESH), told=KEPT), second],
        policy(**options),
    )


def _scenarios() -> Iterator[Scenario]:
    v = "9111 §4.1"
    yield same(v, "equal", "X", ("X: 1",), ("X: 1",))
    yield differ(v, "different", "X", ("X: 1",), ("X: 2",))
    yield differ(v, "missing is not empty", "X", (), ("X:",))
    yield differ(v, "missing is not something", "X", (), ("X: 1",))
    yield same(v, "missing twice", "X", (), ())
    yield same(v, "whitespace around", "X", ("X:  1 ",), ("X: 1",))
    yield same(v, "several lines are one list", "X", ("X: 1", "X: 2"), ("X: 1, 2",))
    yield differ(v, "the order of lines counts", "X", ("X: 1", "X: 2"), ("X: 2", "X: 1"))
    yield differ(v, "case counts where nobody knows the syntax", "X", ("X: a",), ("X: A",))
    yield same(v, "names in any case", "aCCept", ("Accept: a/b",), ("Accept: a/b",))
    yield same(v, "other fields do not count", "X", ("X: 1", "Y: 1"), ("X: 1", "Y: 2"))
    yield differ(v, "two fields", "X, Y", ("X: 1", "Y: 1"), ("X: 1", "Y: 2"))
    yield differ(v, "values do not run together", "X, Y", ("X: ab", "Y: c"), ("X: a", "Y: bc"))
    yield same(
        v,
        "Accept in any case and spacing",
        "Accept",
        ("Accept: Text/HTML;q=0.5,  a/b",),
        ("Accept: text/html; q=0.5, a/b",),
    )
    yield same(
        v,
        "Accept-Language in any case",
        "Accept-Language",
        ("Accept-Language: de-DE",),
        ("Accept-Language: de-de",),
    )
    yield differ(
        v,
        "the order of languages",
        "Accept-Language",
        ("Accept-Language: de, en",),
        ("Accept-Language: en, de",),
    )
    yield same(
        v,
        "Accept-Encoding by spacing",
        "Accept-Encoding",
        ("Accept-Encoding: gzip,br",),
        ("Accept-Encoding: gzip, br",),
    )
    yield cors()
    yield Scenario(
        v,
        "a response without Vary serves all who find no other",
        [
            get("X: 1", app=says(FRESH), told=KEPT),
            get("X: 2", told="hit", run=1),
        ],
    )
    yield Scenario(
        v,
        "fields that later responses name are added",
        [
            get("X: 1", "Y: 1", app=says(FRESH, "Vary: X"), told=KEPT),
            get("X: 2", "Y: 1", app=says(FRESH, "Vary: Y"), told=OTHER),
            get("X: 2", "Y: 2", app=says(FRESH, "Vary: X"), told=OTHER),
            get("X: 2", "Y: 1", told="hit", run=2),
            get("X: 2", "Y: 2", told="hit", run=3),
        ],
    )
    yield Scenario(
        v,
        "each variant has its own end",
        [
            get("X: 1", app=says("Cache-Control: max-age=100", "Vary: X"), told=KEPT),
            get("X: 2", app=says("Cache-Control: max-age=10", "Vary: X"), told=OTHER),
            get("X: 2", after=10, app=says(FRESH, "Vary: X"), told=OTHER),
            get("X: 1", told="hit", run=1),
        ],
    )
    # URLs
    yield urls("/a and /b", "/a", "/b", equal=False)
    yield urls("paths in another case", "/a", "/A", equal=False)
    yield urls("a slash at the end", "/a", "/a/", equal=False)
    yield urls("an encoded slash", "/a/b", "/a%2Fb", equal=False)
    yield urls("an encoded letter", "/a", "/%61", equal=False)
    yield urls("a colon and a slash", "/a:b", "/a/b", equal=False)
    yield urls("a doubled slash", "/a/b", "/a//b", equal=False)
    yield urls("dots", "/b", "/a/../b", equal=False)
    yield urls("a query", "/a", "/a?b", equal=False)
    yield urls("an empty query", "/a", "/a?", equal=True)
    yield urls("the order of parameters", "/a?x=1&y=2", "/a?y=2&x=1", equal=True)
    yield urls("the order of one parameter's values", "/a?x=1&x=2", "/a?x=2&x=1", equal=False)
    yield urls(
        "the order of one parameter's values, one encoded",
        "/a?x=1&%78=2",
        "/a?%78=2&x=1",
        equal=False,
    )
    yield urls("a value", "/a?x=1", "/a?x=2", equal=False)
    yield urls("a parameter with and without =", "/a?x", "/a?x=", equal=False)
    yield urls("a boundary between path and query", "/a?b=c", "/ab?=c", equal=False)
    yield urls(
        "parameters that do not count",
        "/a?x=1",
        "/a?x=1&utm_source=m",
        equal=True,
        about="policy",
        ignore_query=("utm_*",),
    )
    yield urls(
        "parameters that do not count, encoded",
        "/a?x=1",
        "/a?x=1&utm%5Fsource=m",
        equal=True,
        about="policy",
        ignore_query=("utm_*",),
    )
    yield urls(
        "declared parameters",
        "/a?page=1",
        "/a?page=1&y=2",
        equal=True,
        about="policy",
        query=("page",),
    )
    yield urls(
        "declared parameters, with other values",
        "/a?page=1",
        "/a?page=2",
        equal=False,
        about="policy",
        query=("page",),
    )
    yield urls(
        "no parameters at all", "/a?page=1", "/a?page=2", equal=True, about="policy", query=()
    )
    yield urls("a very long query", "/a?x=" + "y" * 9000, "/a?x=" + "y" * 9001, equal=False)
    yield Scenario(
        "9111 §2",
        "the host counts, its case does not",
        [
            get(app=says(FRESH), told=KEPT, host="a.example"),
            get(app=says(FRESH), told=KEPT, host="b.example"),
            get(told="hit", run=1, host="A.Example"),
            get(app=says(FRESH), told=KEPT, host="a.example:8080"),
        ],
    )
    # what a policy adds
    yield Scenario(
        "policy",
        "vary_by a header",
        [
            get("X-Tenant: a", app=says(FRESH), told=KEPT),
            get("X-Tenant: b", app=says(FRESH), told=OTHER),
            get("X-Tenant: a", told="hit", run=1),
        ],
        policy(vary_by="X-Tenant"),
    )
    yield Scenario(
        "policy",
        "vary_by a header is told to caches behind us",
        [
            get(app=says(FRESH), told=KEPT, has=("vary: x-tenant",)),
            get(told="hit", run=1, has=("vary: x-tenant",)),
            get("X-Tenant: a", app=says(FRESH, "Vary: Accept"), told=OTHER),
            get("X-Tenant: a", told="hit", run=2, has=("vary: Accept", "vary: x-tenant")),
        ],
        policy(vary_by="X-Tenant"),
    )
    for inputs, by in (("a cookie", "cookie:theme"), ("a function", who)):
        yield Scenario(
            "policy",
            f"what no Vary can say ({inputs}) is private for caches behind us",
            [
                get(app=says(), told=KEPT, has=("cache-control: private, max-age=7",)),
                get(told="hit", run=1, has=("cache-control: private, max-age=7",)),
            ],
            policy(vary_by=by, ttl=60, browser_ttl=7),
        )
    yield Scenario(
        "policy",
        "vary_by a cookie, which is no credential then",
        [
            get("Cookie: theme=dark", app=says(FRESH), told=KEPT),
            get("Cookie: theme=light", app=says(FRESH), told=OTHER),
            get(app=says(FRESH), told=OTHER),
            get("Cookie: theme=dark", told="hit", run=1),
            get("Cookie: theme=dark; sid=1", app=says(FRESH), told="fwd=bypass detail=cookie"),
        ],
        policy(vary_by="cookie:theme"),
    )
    yield Scenario(
        "policy",
        "vary_by a cookie that comes twice keeps its order",
        [
            get("Cookie: theme=a; theme=b", app=says(FRESH), told=KEPT),
            get("Cookie: theme=b; theme=a", app=says(FRESH), told=OTHER),
        ],
        policy(vary_by="cookie:theme"),
    )
    yield Scenario(
        "policy",
        "vary_by two cookies, in any order",
        [
            get("Cookie: a=1; b=2", app=says(FRESH), told=KEPT),
            get("Cookie: b=2; a=1", told="hit", run=1),
            get("Cookie: b=2", "Cookie: a=1", told="hit", run=1),
        ],
        policy(vary_by=("cookie:a", "cookie:b")),
    )
    yield Scenario(
        "policy",
        "vary_by a function",
        [
            get("X-Tenant: a", app=says(FRESH), told=KEPT),
            get("X-Tenant: b", app=says(FRESH), told=OTHER),
            get(app=says(FRESH), told=OTHER),
            get("X-Tenant: a", told="hit", run=1),
        ],
        policy(vary_by=who),
    )
    # methods with a body
    for method in ("QUERY", "POST"):
        told = KEPT
        yield Scenario(
            "policy",
            f"{method} is kept by its body",
            [
                request(method, body=b"a", app=says(FRESH), told=told),
                request(method, body=b"b", app=says(FRESH), told=told),
                request(method, body=b"a", told="hit", run=1),
                request(method, "Content-Type: a/b", body=b"a", app=says(FRESH), told=told),
                request(method, "Content-Type: a/b", body=b"a", told="hit", run=3),
                get(app=says(FRESH), told=told),
            ],
            policy(methods=("GET", method)),
        )
        yield Scenario(
            "policy",
            f"{method} with a body beyond max_body passes by",
            [
                request(
                    method, body=b"x" * 101, app=says(FRESH), told="fwd=bypass detail=key-too-large"
                ),
            ],
            policy(methods=("GET", method), max_body=100),
        )
    yield Scenario(
        "policy",
        "QUERY is not kept unless the policy says so",
        [
            request("QUERY", body=b"a", app=says(FRESH), told="fwd=method detail=method"),
        ],
    )
    yield Scenario(
        "9111 §4",
        "a method of its own has entries of its own",
        [
            get(app=says(FRESH), told=KEPT),
            request("QUERY", body=b"", app=says(FRESH), told=KEPT),
        ],
        policy(methods=("GET", "QUERY")),
    )


def cors() -> Scenario:
    one, other = "https://a.example", "https://b.example"
    return Scenario(
        "fetch",
        "an answer for one origin is not given to another, whatever Vary says",
        [
            get(
                f"Origin: {one}", app=says(FRESH, f"Access-Control-Allow-Origin: {one}"), told=KEPT
            ),
            get(
                f"Origin: {other}",
                app=says(FRESH, f"Access-Control-Allow-Origin: {other}"),
                told=OTHER,
            ),
            get(
                f"Origin: {one}",
                told="hit",
                run=1,
                has=(f"access-control-allow-origin: {one}", "vary: origin"),
            ),
            get(app=says(FRESH), told=OTHER),
        ],
    )


SCENARIOS = list(_scenarios())
