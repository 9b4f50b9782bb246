"""The leak matrix: does any client of an app get what was made for another?

    def test_no_leaks() -> None:
        check_leaks(app)

Every cached route is asked by everybody in turn: by nobody in particular, by two people with a
bearer token each, with a cookie each, with an API key each, and by somebody who sends all the
fields that frameworks make addresses of. Each has marks of his own in all that he sends. Whoever
asks first fills the cache; then all others ask, and nothing of him may be in what they get.

An app that looks up its users shows names rather than tokens. Tell it then who its users are:

    check_leaks(app, callers=[
        Caller("anna", {"authorization": f"Bearer {anna_token}"}, marks=("anna@example.com",)),
        Caller("bob", {"cookie": f"sid={bob_sid}"}, marks=("bob@example.com",)),
    ])

Pages that are the same on every run are compared besides: who gets, from the cache, what the app
would say to somebody else alone, has got a leak, marks or none.
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.types import ASGIApp, Message

from cachemw.asgi import route_path
from cachemw.caching.credentials import UNKEYED
from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.policy import CachePolicy
from cachemw.caching.stamps import route_tag
from cachemw.errors import ConfigurationError
from cachemw.routes import app_routes
from cachemw.testing.client import Client, Response

METHODS: Final = ("GET", "HEAD")
ACCEPTS: Final = ("*/*", "text/html", "application/json")
ENCODINGS: Final = ("identity", "gzip, br")

_HOLE = re.compile(r"\{(\w+)(?::(\w+))?\}")
_SAMPLES = {"int": "1", "float": "1.0", "uuid": "00000000-0000-4000-8000-000000000001"}
# True of everything, and never answered by a cache: so it asks the app itself.
_UNCACHED = ("if-unmodified-since", "Fri, 31 Dec 9999 23:59:59 GMT")


@dataclass(frozen=True)
class Caller:
    """Somebody who asks: what he sends, and the texts by which he would be known in a page."""

    name: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    marks: tuple[str, ...] = ()
    scope: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_anonymous: bool = False


@dataclass(frozen=True)
class CachedRoute:
    """A route under a policy, and a path that leads to it."""

    pattern: str
    path: str
    policy: CachePolicy

    def __str__(self) -> str:
        return self.pattern


@dataclass(frozen=True)
class Leak:
    """What was made for `owner` and came to `victim`."""

    route: str
    owner: str
    victim: str
    what: str
    request: str
    told: str

    def __str__(self) -> str:
        return (
            f"{self.route}: {self.victim} got {self.what} of {self.owner}, "
            f"asking {self.request} (Cache-Status: {self.told})"
        )


class LeakFound(AssertionError):
    """Says of every leak which route gave what of whom to whom."""

    def __init__(self, leaks: Sequence[Leak]) -> None:
        super().__init__("\n".join(["one client got what was made for another:", *map(str, leaks)]))
        self.leaks = tuple(leaks)


@dataclass
class Report:
    """What has been looked at."""

    routes: list[CachedRoute] = field(default_factory=list[CachedRoute])
    requests: int = 0
    hits: int = 0
    leaks: list[Leak] = field(default_factory=list[Leak])
    unreached: list[str] = field(default_factory=list[str])
    """Routes that answered nobody with anything but errors: give `params`, or callers it knows."""


def somebody(run: str) -> list[Caller]:
    """The callers of an app that nothing is known of. `run` is part of their marks."""

    def caller(name: str, number: int, *fields: str, anonymous: bool = False) -> Caller:
        mark, address = f"leak-{run}-{name}", f"192.0.2.{number}"
        values = {name: f"sid={mark}" if name == "cookie" else mark for name in fields}
        headers = {**values, "x-leak-check": mark, "user-agent": mark}
        marks = (mark, address)
        return Caller(name, headers, marks, {"client": (address, 1)}, is_anonymous=anonymous)

    unkeyed = sorted(name.decode() for name in UNKEYED)
    return [
        Caller("nobody", scope={"client": ("192.0.2.1", 1)}, is_anonymous=True),
        *(caller(f"{who}-bearer", n, "authorization") for n, who in ((2, "anna"), (3, "bob"))),
        *(caller(f"{who}-cookie", n, "cookie") for n, who in ((4, "anna"), (5, "bob"))),
        *(caller(f"{who}-key", n, "x-api-key") for n, who in ((6, "anna"), (7, "bob"))),
        caller("forger", 8, *unkeyed, anonymous=True),
    ]


def check_leaks(app: ASGIApp, **options: Any) -> Report:
    """Walk the matrix; raises `LeakFound`. For tests that are not async; takes what `find_leaks`
    takes."""
    report = asyncio.run(find_leaks(app, **options))
    if report.leaks:
        raise LeakFound(report.leaks)
    return report


async def find_leaks(
    app: ASGIApp,
    *,
    callers: Iterable[Caller] = (),
    routes: Iterable[str] | None = None,
    params: Mapping[str, str] | None = None,
    methods: Sequence[str] = METHODS,
    accepts: Sequence[str] = ACCEPTS,
    encodings: Sequence[str] = ENCODINGS,
    host: str = "testserver",
) -> Report:
    """Walk the matrix, and tell what was found.

    `app` is a Starlette or FastAPI app with `CacheMiddleware`, or the middleware itself. `callers`
    come in addition to those who are unknown to every app. `routes` are paths to ask in place of
    one for each cached route of the app, `params` values for the parameters of paths.
    """
    report = Report()
    everybody = [*somebody(secrets.token_hex(4)), *callers]
    async with _alive(app):
        cache = cache_of(app)
        report.routes = cached_routes(app, paths=routes, params=params)
        if not report.routes:
            raise ConfigurationError(
                "no route of this app is cached: mark one with Cached(...), give "
                "CacheMiddleware a pattern, or name paths by routes=[...]"
            )
        for route in report.routes:
            walk = _Walk(app, cache, route, everybody, report, host)
            for accept in accepts:
                for encoding in encodings:
                    await walk.check(methods, {"accept": accept, "accept-encoding": encoding})
            if not walk.is_reached:
                report.unreached.append(route.pattern)
    return report


def cached_routes(
    app: ASGIApp,
    *,
    paths: Iterable[str] | None = None,
    params: Mapping[str, str] | None = None,
) -> list[CachedRoute]:
    """The routes of an app that a policy applies to, for GET; good for `parametrize`."""
    cache = cache_of(app)
    inner = app if hasattr(app, "routes") else cache.app
    named = list(paths) if paths is not None else list(_paths_of(inner, cache, params or {}))
    found: dict[str, CachedRoute] = {}
    for path in named:
        plain = route_path({"path": path.partition("?")[0]})
        matched = cache.policies.match(inner, "GET", plain)
        if matched is not None and "GET" in matched.policy.methods:
            pattern = path if paths is not None else matched.pattern.text
            found.setdefault(path, CachedRoute(pattern, path, matched.policy))
    return list(found.values())


def cache_of(app: ASGIApp) -> CacheMiddleware:
    """The cache among an app's middleware. Builds the app's stack, as its first request would."""
    layer: Any = app
    build = getattr(app, "build_middleware_stack", None)
    if build is not None:
        if getattr(app, "middleware_stack", None) is None:
            app.middleware_stack = build()  # type: ignore[attr-defined]
        layer = getattr(app, "middleware_stack", None)
    while layer is not None and not isinstance(layer, CacheMiddleware):
        layer = getattr(layer, "app", None)
    if layer is None:
        raise ConfigurationError(
            "there is no CacheMiddleware around this app: pass the app that install() or "
            "add_middleware() was called with, or the middleware itself"
        )
    return layer


def _paths_of(app: Any, cache: CacheMiddleware, params: Mapping[str, str]) -> Iterator[str]:
    """A path for each route of the app; without any, one for each pattern of the cache."""

    def sample(hole: "re.Match[str]") -> str:
        return params.get(hole[1], _SAMPLES.get(hole[2] or "str", "x"))

    own = [route.pattern for route in app_routes(app) if route.endpoint is not None]
    for pattern in own or [pattern for pattern, _ in cache.policies.routes.entries]:
        if pattern.takes("GET"):
            yield _HOLE.sub(sample, pattern.text)


class _Walk:
    """All callers on one route."""

    def __init__(
        self,
        app: ASGIApp,
        cache: CacheMiddleware,
        route: CachedRoute,
        callers: Sequence[Caller],
        report: Report,
        host: str,
    ) -> None:
        self._app, self._cache, self._route, self._host = app, cache, route, host
        self._callers, self._report = callers, report
        self.is_reached = False

    async def check(self, methods: Sequence[str], accepting: Mapping[str, str]) -> None:
        alone = {caller.name: await self._alone(caller, accepting) for caller in self._callers}
        for method in methods:
            for owner in self._callers:
                await self._forget()
                made = await self._ask(method, owner, accepting)
                self.is_reached |= 0 < made.status < 400
                for victim in self._callers:
                    if victim is not owner:
                        got = await self._ask("GET", victim, accepting)
                        self._compare(owner, victim, got, alone, f"after {method}", accepting)

    def _compare(
        self,
        owner: Caller,
        victim: Caller,
        got: Response,
        alone: Mapping[str, bytes | None],
        after: str,
        accepting: Mapping[str, str],
    ) -> None:
        found = [f"the mark {mark!r}" for mark in _marks_in(got, owner, victim)]
        is_hit = got.cache in ("hit", "stale")
        if is_hit and got.header("set-cookie") is not None:
            found.append("a Set-Cookie")
        theirs, own = alone[owner.name], alone[victim.name]
        nobody = [alone[caller.name] for caller in self._callers if caller.is_anonymous]
        is_personal = theirs is not None and theirs != own and theirs not in nobody
        if is_hit and is_personal and got.body == theirs and not owner.is_anonymous:
            found.append("the very page")
        request = f"GET {self._route.path} {after} with {dict(accepting)}"
        told = got.header("cache-status") or "none"
        self._report.leaks += [
            Leak(self._route.pattern, owner.name, victim.name, what, request, told)
            for what in found
        ]

    async def _alone(self, caller: Caller, accepting: Mapping[str, str]) -> bytes | None:
        """What the app itself says to somebody, None when that is never twice the same."""
        headers = {**accepting, _UNCACHED[0]: _UNCACHED[1]}
        first, second = [await self._ask("GET", caller, headers) for _ in range(2)]
        return first.body if first.body == second.body and first.status < 400 else None

    async def _ask(self, method: str, caller: Caller, more: Mapping[str, str]) -> Response:
        client = Client(self._app, host=self._host, scope=caller.scope)
        headers = {**caller.headers, **more}
        response = await client.request(method, self._route.path, headers=headers)
        self._report.requests += 1
        self._report.hits += response.cache in ("hit", "stale")
        return response

    async def _forget(self) -> None:
        """Have the next one who asks fill the cache."""
        cache = self._cache
        inner = self._app if hasattr(self._app, "routes") else cache.app
        matched = cache.policies.match(inner, "GET", self._route.path.partition("?")[0])
        if matched is not None:
            await cache.engine.keeper.purge_tags([route_tag(matched.pattern.text)])


def _marks_in(got: Response, owner: Caller, victim: Caller) -> list[str]:
    """The owner's marks that are in what somebody else got."""
    text = got.body.decode("utf-8", "replace")
    fields = "\n".join(value.decode("latin-1") for _, value in got.headers)
    return [
        mark
        for mark in owner.marks
        if mark not in victim.marks and (mark in text or mark in fields)
    ]


@contextlib.asynccontextmanager
async def _alive(app: ASGIApp) -> AsyncGenerator[None]:
    """The app with its lifespan begun, and ended afterwards; as a server does it."""
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    outbox: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}

    async def live() -> None:
        try:
            await app(scope, inbox.get, outbox.put)
        finally:
            await outbox.put({"type": "over"})

    task = asyncio.get_running_loop().create_task(live())
    await inbox.put({"type": "lifespan.startup"})
    began = await outbox.get()
    if began["type"] == "lifespan.startup.failed":
        await task  # raises what was wrong
        raise ConfigurationError(f"the app did not start: {began.get('message', '')}")
    try:
        yield
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        with contextlib.suppress(Exception):
            await task
