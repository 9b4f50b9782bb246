"""Conditional requests, of clients and to the app: RFC 9111 §4.3, RFC 9110 §13."""

from collections.abc import Iterator

from tests.conformance.play import Scenario, at, get, policy, request, says

KEPT = "fwd=uri-miss stored"
FRESH = "Cache-Control: max-age=60"
ASKED = "Cache-Control: no-cache"
CONFIRMED = "fwd=stale detail=not-modified"
TAGGED = ('ETag: "a"', f"Last-Modified: {at(-1000)}")


def conditional(
    title: str, condition: str, status: int, *headers: str, about: str = "9110 §13.1.2"
) -> Scenario:
    """A client's condition, answered from a stored response."""
    return Scenario(
        about,
        title,
        [
            get(app=says(FRESH, *(headers or TAGGED)), told=KEPT),
            get(condition, told="hit", status=status, run=1),
        ],
    )


def _scenarios() -> Iterator[Scenario]:
    for title, condition, status in (
        ("the tag", 'If-None-Match: "a"', 304),
        ("another tag", 'If-None-Match: "b"', 200),
        ("the tag, weak", 'If-None-Match: W/"a"', 304),
        ("in a list", 'If-None-Match: "x", "a" ,"y"', 304),
        ("not in the list", 'If-None-Match: "x", "y"', 200),
        ("any", "If-None-Match: *", 304),
        ("without quotes it is no tag", "If-None-Match: a", 200),
        ("a comma within a tag", 'If-None-Match: "x,a", "a"', 304),
        ("an asterisk within quotes", 'If-None-Match: "*"', 200),
        ("w/ in lower case is no tag", 'If-None-Match: w/"a"', 200),
    ):
        yield conditional(f"If-None-Match: {title}", condition, status)
    yield conditional("a weak stored tag matches weakly", 'If-None-Match: "a"', 304, 'ETag: W/"a"')
    for title, condition, status in (
        ("the same date", f"If-Modified-Since: {at(-1000)}", 304),
        ("a later date", f"If-Modified-Since: {at(-500)}", 304),
        ("an earlier date", f"If-Modified-Since: {at(-1001)}", 200),
        ("no date", "If-Modified-Since: yesterday", 200),
        ("RFC 850", "If-Modified-Since: Tuesday, 14-Nov-23 22:13:20 GMT", 304),
        ("asctime", "If-Modified-Since: Tue Nov 14 22:13:20 2023", 304),
    ):
        yield conditional(f"If-Modified-Since: {title}", condition, status, about="9110 §13.1.3")
    yield conditional(
        "without Last-Modified, Date decides",
        f"If-Modified-Since: {at(0)}",
        304,
        f"Date: {at(-5)}",
        about="9111 §4.3.2",
    )
    yield Scenario(
        "9110 §13.2.2",
        "If-None-Match wins over If-Modified-Since",
        [
            get(app=says(FRESH, *TAGGED), told=KEPT),
            get('If-None-Match: "b"', f"If-Modified-Since: {at(0)}", told="hit", run=1),
        ],
    )
    yield Scenario(
        "9110 §15.4.5",
        "a 304 has what a 200 would say about itself, and no more",
        [
            get(
                app=says(
                    FRESH,
                    *TAGGED,
                    "Content-Type: text/plain",
                    "Vary: Accept",
                    f"Date: {at(0)}",
                    "Content-Location: /y",
                    f"Expires: {at(60)}",
                    "X-Other: 1",
                ),
                told=KEPT,
            ),
            get(
                'If-None-Match: "a"',
                after=3,
                told="hit",
                status=304,
                has=(
                    'etag: "a"',
                    "cache-control: max-age=60",
                    "vary: Accept",
                    f"date: {at(0)}",
                    "content-location: /y",
                    f"expires: {at(60)}",
                    "age: 3",
                ),
                lacks=("content-type", "x-other", "last-modified", "content-length"),
            ),
        ],
    )
    yield Scenario(
        "9110 §15.4.5",
        "Last-Modified is in a 304 where there is no tag",
        [
            get(app=says(FRESH, f"Last-Modified: {at(-1000)}"), told=KEPT),
            get(
                f"If-Modified-Since: {at(-1000)}",
                told="hit",
                status=304,
                has=(f"last-modified: {at(-1000)}",),
            ),
        ],
        policy(etag=False),
    )
    yield Scenario(
        "9110 §13.2.1",
        "conditions are ignored on what is not 200",
        [
            get(app=says(FRESH, 'ETag: "a"', status=404), told=KEPT, status=404),
            get('If-None-Match: "a"', told="hit", status=404, run=1),
        ],
    )
    yield Scenario(
        "9111 §4.3.2",
        "a condition is answered on a miss, too, and the whole is kept",
        [
            get(
                'If-None-Match: "a"',
                app=says(FRESH, *TAGGED),
                told=KEPT,
                status=304,
                saw=("!if-none-match",),
            ),
            get(told="hit", run=1),
        ],
    )
    yield Scenario(
        "9111 §4.3.2",
        "the app does not see one client's condition",
        [
            get(
                f"If-Modified-Since: {at(-9)}",
                'If-Range: "a"',
                app=says(FRESH, 'ETag: "z"'),
                told=KEPT,
                saw=("!if-modified-since", "!if-range"),
            ),
        ],
    )
    for field in ('If-Match: "a"', "If-Match: *", f"If-Unmodified-Since: {at(0)}"):
        yield Scenario(
            "9111 §4.3.2",
            f"{field} is for the app",
            [
                get(app=says(FRESH, *TAGGED), told=KEPT),
                get(
                    field,
                    app=says(status=412),
                    told="fwd=bypass detail=precondition",
                    status=412,
                    saw=(field,),
                ),
            ],
        )
    # asking the app
    yield Scenario(
        "9111 §4.3.1",
        "the app is asked by its tag, and its 304 confirms",
        [
            get(app=says(ASKED, 'ETag: "a"', "X: 1"), told=KEPT),
            get(
                app=says('ETag: "a"', status=304),
                told=CONFIRMED,
                run=1,
                saw=('if-none-match: "a"',),
                has=("x: 1",),
                answered=304,
            ),
            get(app=says('ETag: "b"', ASKED), told="fwd=stale stored", run=3),
            get(
                app=says('ETag: "b"', status=304),
                told=CONFIRMED,
                run=3,
                saw=('if-none-match: "b"',),
            ),
        ],
    )
    yield Scenario(
        "9111 §4.3.1",
        "by the tag and the date, where it has both",
        [
            get(app=says(ASKED, *TAGGED), told=KEPT),
            get(
                app=says('ETag: "a"', status=304),
                told=CONFIRMED,
                run=1,
                saw=('if-none-match: "a"', f"if-modified-since: {at(-1000)}"),
            ),
        ],
    )
    yield Scenario(
        "9111 §4.3.1",
        "or by its date",
        [
            get(app=says(ASKED, f"Last-Modified: {at(-9)}"), told=KEPT),
            get(
                app=says(f"Last-Modified: {at(-9)}", status=304),
                told=CONFIRMED,
                run=1,
                saw=(f"if-modified-since: {at(-9)}", "!if-none-match"),
            ),
        ],
    )
    yield Scenario(
        "9111 §4.3.1",
        "not by a tag of ours, which means nothing to it",
        [
            get(app=says(ASKED, f"Last-Modified: {at(-9)}"), told=KEPT),
            get(
                app=says(ASKED, f"Last-Modified: {at(-8)}"),
                told="fwd=stale stored",
                saw=("!if-none-match",),
            ),
        ],
    )
    yield Scenario(
        "9111 §4.3.1",
        "never by the client's own condition",
        [
            get(app=says(ASKED, 'ETag: "a"'), told=KEPT),
            get(
                'If-None-Match: "mine"',
                app=says('ETag: "a"', status=304),
                told=CONFIRMED,
                run=1,
                saw=('if-none-match: "a"',),
            ),
            get(
                'If-None-Match: "a"', app=says('ETag: "a"', status=304), told=CONFIRMED, status=304
            ),
        ],
    )
    yield Scenario(
        "9111 §4.3.4",
        "a 304 brings new fields and a new lifetime",
        [
            get(
                app=says(
                    "Cache-Control: max-age=10, stale-if-error=99",
                    'ETag: "a"',
                    "X: old",
                    "Y: stays",
                ),
                told=KEPT,
            ),
            get(
                after=20,
                app=says("Cache-Control: max-age=30", 'ETag: "a"', "X: new", status=304),
                told=CONFIRMED,
                run=1,
                ttl=30,
                has=("x: new", "y: stays", "age: 0"),
            ),
            get(
                after=29,
                told="hit",
                run=1,
                ttl=1,
                has=("x: new", "cache-control: max-age=30", "age: 29"),
            ),
        ],
    )
    yield Scenario(
        "9111 §4.3.4",
        "a 304 without a lifetime renews the origin's",
        [
            get(app=says("Cache-Control: max-age=10, stale-if-error=99", 'ETag: "a"'), told=KEPT),
            get(after=20, app=says('ETag: "a"', status=304), told=CONFIRMED, run=1, ttl=10),
            get(after=9, told="hit", run=1),
        ],
    )
    yield Scenario(
        "9111 §4.3.4",
        "a 304 without a lifetime renews the policy's",
        [
            get(app=says('ETag: "a"'), told=KEPT, ttl=10),
            get(
                after=20,
                app=says('ETag: "a"', status=304),
                told=CONFIRMED,
                run=1,
                ttl=10,
                has=("cache-control: no-cache",),
            ),
            get(after=9, told="hit", run=1, ttl=1),
            get(after=20, app=says('ETag: "a"', status=304), told=CONFIRMED, run=1, ttl=10),
        ],
        policy(ttl=10, stale_if_error=99),
    )
    yield Scenario(
        "9111 §4.3.4",
        "a 304 without a lifetime renews the handler's",
        [
            get(app=says('ETag: "a"', handler=lambda cache: cache.ttl(10)), told=KEPT, ttl=10),
            get(after=20, app=says('ETag: "a"', status=304), told=CONFIRMED, run=1, ttl=10),
        ],
        policy(stale_if_error=99),
    )
    for title, wrong in (("without any validator", ()), ("for something else", ('ETag: "z"',))):
        yield Scenario(
            "9111 §4.3.4",
            f"a 304 {title} confirms nothing, so the app is asked for the whole",
            [
                get(
                    app=says("Cache-Control: max-age=10, stale-if-error=99", 'ETag: "a"'), told=KEPT
                ),
                get(
                    after=20,
                    app=says(*wrong, status=304),
                    again=says(FRESH, 'ETag: "b"'),
                    told="fwd=stale stored",
                    run=3,
                    saw=("!if-none-match",),
                ),
                get(told="hit", run=3),
            ],
        )
    yield Scenario(
        "9111 §3.2",
        "a 304 changes nothing that describes the stored bytes",
        [
            get(
                app=says(ASKED, 'ETag: "a"', "Content-Type: text/plain", "Content-Length: 5"),
                told=KEPT,
            ),
            get(
                app=says(
                    'ETag: "a"',
                    "Content-Type: x/y",
                    "Content-Length: 0",
                    "Content-Encoding: br",
                    status=304,
                ),
                told=CONFIRMED,
                run=1,
                has=("content-type: text/plain", "content-length: 5"),
                lacks=("content-encoding",),
            ),
        ],
    )
    yield Scenario(
        "9111 §4.3.4",
        "the age counts from the 304",
        [
            get(
                app=says("Cache-Control: max-age=10, stale-if-error=99", 'ETag: "a"', "Age: 3"),
                told=KEPT,
            ),
            get(
                after=20,
                app=says('ETag: "a"', "Age: 2", status=304),
                told=CONFIRMED,
                run=1,
                has=("age: 2",),
                ttl=8,
            ),
        ],
    )
    for title, line in (
        ("private", "Cache-Control: private, max-age=5"),
        ("no-store", "Cache-Control: no-store"),
        ("a cookie", "Set-Cookie: sid=1"),
    ):
        name, value = line.split(": ")
        yield Scenario(
            "9111 §4.3.4",
            f"a 304 with {title} is for its client alone, who gets its fields",
            [
                get(
                    app=says("Cache-Control: max-age=10, stale-if-error=99", 'ETag: "a"', "X: old"),
                    told=KEPT,
                ),
                get(
                    after=20,
                    app=says(
                        *(line, 'ETag: "a"', "X: new", "X-Request-ID: 2", "Age: 4"),
                        *("Connection: x-hop", "X-Hop: 1", "Content-Type: x/y"),
                        status=304,
                    ),
                    told=CONFIRMED,
                    run=1,
                    has=(f"{name}: {value}", "x: new", "x-request-id: 2", "age: 4", 'etag: "a"'),
                    lacks=("x-hop", "connection", "content-type"),
                ),
                get(
                    app=says('ETag: "a"', status=304),
                    told=CONFIRMED,
                    run=1,
                    has=("x: old",),
                    lacks=("set-cookie", "x-request-id"),
                ),
            ],
        )
    yield Scenario(
        "9111 §4.3.3",
        "another 200 takes its place",
        [
            get(app=says(ASKED, 'ETag: "a"'), told=KEPT),
            get(app=says(FRESH, 'ETag: "b"'), told="fwd=stale stored"),
            get(told="hit", run=2, has=('etag: "b"',)),
        ],
    )
    yield Scenario(
        "9111 §4.3.3",
        "a 404 goes to the client",
        [
            get(app=says(ASKED, 'ETag: "a"'), told=KEPT),
            get(app=says(status=404), status=404, told="fwd=stale detail=no-lifetime"),
        ],
    )
    # HEAD
    yield Scenario(
        "9110 §9.3.2",
        "HEAD is answered from a GET",
        [
            get(app=says(FRESH, "X: 1", body=b"four"), told=KEPT),
            request("HEAD", told="hit", has=("x: 1", "content-length: 4")),
            request("HEAD", "If-None-Match: *", told="hit", status=304),
        ],
    )
    yield Scenario(
        "9110 §9.3.2",
        "HEAD fills for GET, since the app is asked by GET",
        [
            request("HEAD", app=says(FRESH, body=b"four"), told=KEPT),
            get(told="hit", text=b"four"),
        ],
    )
    yield Scenario(
        "9110 §9.3.2",
        "HEAD that is not kept has no body",
        [
            request(
                "HEAD",
                app=says("Cache-Control: no-store", body=b"four"),
                told="fwd=uri-miss detail=no-store",
            ),
        ],
    )
    short = "Cache-Control: max-age=10, stale-if-error=99"
    yield Scenario(
        "9111 §4.3.5",
        "HEAD has the app asked about what a GET has left, and freshens it",
        [
            get(app=says(short, 'ETag: "a"', "X: old"), told=KEPT),
            request(
                "HEAD",
                after=20,
                app=says('ETag: "a"', "X: new", status=304),
                told=CONFIRMED,
                has=("x: new",),
                saw=('if-none-match: "a"',),
            ),
            get(after=9, told="hit", run=1, has=("x: new", "age: 9")),
        ],
    )
    yield Scenario(
        "9111 §4.3.5",
        "HEAD that finds something else takes its place, whole",
        [
            get(app=says(short, 'ETag: "a"'), told=KEPT),
            request("HEAD", after=20, app=says(FRESH, 'ETag: "b"'), told="fwd=stale stored"),
            get(told="hit", run=2, has=('etag: "b"',)),
        ],
    )
    yield Scenario(
        "9110 §14.2",
        "Range means nothing to HEAD",
        [
            get(app=says(FRESH, body=b"four"), told=KEPT),
            request("HEAD", "Range: bytes=0-1", told="hit", status=200),
        ],
    )


SCENARIOS = list(_scenarios())
