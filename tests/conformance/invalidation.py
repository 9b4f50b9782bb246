"""What a change makes obsolete: RFC 9111 §4.4 and RFC 9875."""

from collections.abc import Iterator

from tests.conformance.play import Scenario, get, policy, request, says

KEPT = "fwd=uri-miss stored"
FRESH = "Cache-Control: max-age=60"
GROUPED = (FRESH, 'Cache-Groups: "shop", "news"')


def _scenarios() -> Iterator[Scenario]:
    def change(
        title: str,
        method: str,
        *headers: str,
        status: int = 200,
        path: str = "/x",
        gone: tuple[str, ...] = (),
        stays: tuple[str, ...] = (),
        about: str = "9111 §4.4",
    ) -> Scenario:
        every = (*gone, *stays)
        runs = {name: number for number, name in enumerate(every, start=1)}
        return Scenario(
            about,
            title,
            [
                *(get(path=name, app=says(FRESH), told=KEPT) for name in every),
                request(
                    method,
                    path=path,
                    app=says(*headers, status=status, body=b""),
                    told=None
                    if method not in ("OPTIONS", "TRACE", "PROPFIND", "QUERY")
                    else "fwd=method detail=method",
                    status=status,
                ),
                *(get(path=name, told="hit", run=runs[name]) for name in stays),
                *(get(path=name, app=says(FRESH), told=KEPT) for name in gone),
            ],
        )

    for method in ("POST", "PUT", "PATCH", "DELETE", "MKCOL", "FROBNICATE"):
        yield change(
            f"{method} makes its target invalid", method, gone=("/x",), stays=("/y", "/x?a", "/x/")
        )
    for method in ("OPTIONS", "TRACE", "PROPFIND", "QUERY"):
        yield change(f"{method} is safe", method, stays=("/x",))
    for status in (201, 204, 302, 303, 399):
        yield change(f"a {status} is no error", "POST", status=status, gone=("/x",))
    for status in (400, 404, 409, 500, 503):
        yield change(f"a {status} is one", "POST", status=status, stays=("/x",))
    yield change(
        "the query is part of the target",
        "PUT",
        path="/x?a=1&b=2",
        gone=("/x?b=2&a=1",),
        stays=("/x",),
    )
    yield change("Location", "POST", "Location: /y", status=201, gone=("/x", "/y"), stays=("/z",))
    yield change(
        "Location, absolute",
        "POST",
        "Location: http://shop.example/y?q=1",
        gone=("/x", "/y?q=1"),
        stays=("/y",),
    )
    yield change("Location, relative", "POST", "Location: ../y", path="/a/b/x", gone=("/a/y",))
    yield change(
        "Location with the default port",
        "POST",
        "Location: http://SHOP.example:80/y",
        gone=("/x", "/y"),
    )
    yield change("Content-Location", "PUT", "Content-Location: /y", gone=("/x", "/y"))
    yield change("both", "PUT", "Content-Location: /y", "Location: /z", gone=("/x", "/y", "/z"))
    for other in (
        "http://evil.example/y",
        "https://shop.example/y",
        "//evil.example/y",
        "http://shop.example:81/y",
        "http://shop.example@evil.example/y",
        "javascript:/y",
        "http:/y",
    ):
        yield change(
            f"not for another origin: {other}",
            "POST",
            f"Location: {other}",
            gone=("/x",),
            stays=("/y",),
        )
    yield change(
        "Location of an error means nothing", "POST", "Location: /y", status=400, stays=("/x", "/y")
    )
    yield Scenario(
        "9111 §4.4",
        "every variant goes",
        [
            get("Accept: a", app=says(FRESH, "Vary: Accept"), told=KEPT),
            get("Accept: b", app=says(FRESH, "Vary: Accept"), told="fwd=vary-miss stored"),
            request("PUT", app=says(), told=None),
            get("Accept: a", app=says(FRESH, "Vary: Accept"), told=KEPT),
            get("Accept: b", app=says(FRESH, "Vary: Accept"), told="fwd=vary-miss stored"),
        ],
    )
    yield Scenario(
        "9111 §4.4",
        "what is kept by its body goes, too",
        [
            request("QUERY", body=b"a", app=says(FRESH), told=KEPT),
            request("QUERY", body=b"a", told="hit", run=1),
            request("PUT", app=says(), told=None),
            request("QUERY", body=b"a", app=says(FRESH), told="fwd=miss stored detail=purged"),
        ],
        policy(methods=("GET", "QUERY")),
    )
    yield Scenario(
        "9111 §4.4",
        "another host's stays",
        [
            get(app=says(FRESH), told=KEPT, host="other.example"),
            request("PUT", app=says(), told=None),
            get(told="hit", run=1, host="other.example"),
        ],
    )
    yield Scenario(
        "9111 §4.4",
        "parameters that do not count do not shield it",
        [
            get(path="/x?utm_a=1", app=says(FRESH), told=KEPT),
            request("PUT", path="/x?utm_b=2", app=says(), told=None),
            get(app=says(FRESH), told=KEPT),
        ],
        policy(ignore_query=("utm_*",)),
    )
    yield Scenario(
        "9111 §4.4",
        "a POST that is cached as if it were safe changes nothing",
        [
            get(app=says(FRESH), told=KEPT),
            request("POST", body=b"q", app=says(FRESH), told=KEPT),
            get(told="hit", run=1),
        ],
        policy(methods=("GET", "POST")),
    )

    # groups
    def grouped(
        title: str, invalid: str, *, gone: bool, method: str = "POST", status: int = 200
    ) -> Scenario:
        last = (
            get(app=says(FRESH), told="fwd=miss stored detail=purged")
            if gone
            else get(told="hit", run=1)
        )
        told = None if method == "POST" else "fwd=method detail=method"
        return Scenario(
            "9875 §3",
            title,
            [
                get(app=says(*GROUPED), told=KEPT),
                request(
                    method,
                    path="/cart",
                    app=says(f"Cache-Group-Invalidation: {invalid}", status=status),
                    told=told,
                    status=status,
                ),
                last,
            ],
        )

    yield grouped("a group goes", '"shop"', gone=True)
    yield grouped("one of several", '"x", "news"', gone=True)
    yield grouped("another group does not matter", '"sho"', gone=False)
    yield grouped("case counts", '"Shop"', gone=False)
    yield grouped("a token is no String", "shop", gone=False)
    yield grouped("one wrong member spoils the field", '"shop", 1', gone=False)
    yield grouped("a safe method invalidates nothing", '"shop"', gone=False, method="OPTIONS")
    yield grouped("nor does an error", '"shop"', gone=False, status=500)
    yield Scenario(
        "9875 §2",
        "groups belong to one origin",
        [
            get(app=says(*GROUPED), told=KEPT, host="other.example"),
            request("POST", path="/cart", app=says('Cache-Group-Invalidation: "shop"'), told=None),
            get(told="hit", run=1, host="other.example"),
        ],
    )


SCENARIOS = list(_scenarios())
