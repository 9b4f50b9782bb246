"""What applies to a request by the routes of the app: marks first, then patterns.

What is written *on* a route applies to exactly the requests that this route would receive, never to
one that an earlier, unmarked route takes. An app may get more routes while it runs, so before each
use it is seen whether they are those that were read.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

from starlette.routing import BaseRoute, Match

from cachemw.messages import Header
from cachemw.routes import AppRoute, Matched, Routes, app_routes

P = TypeVar("P")


class RouteTable(Generic[P]):
    """Patterns together with what is marked on the routes of the app; a mark is the nearer word.

    The app's routes are resolved at the first request, and again when their number changes.
    """

    def __init__(self, routes: Routes[P], mark: Callable[[AppRoute], P | None]) -> None:
        self.routes = routes
        self._mark = mark
        self._lists: list[Sequence[BaseRoute]] = []
        self._count = 0
        self._app: object = None
        self._holder: Any = None
        self.edition = 0
        """How often the app's routes have been read."""
        self._hosts: list[BaseRoute] = []
        self._marked: list[tuple[AppRoute, P | None]] = []
        self._tables: dict[tuple[bool, ...], Routes[P | None]] = {}

    def match(
        self, app: object, method: str, path: str, headers: Sequence[Header] = ()
    ) -> Matched[P] | None:
        """What applies to a request. `app` is whatever has `.routes`, or None."""
        if not self.is_current(app):
            self.resolve(app)
        if self._marked:
            found = self._table(headers).match(method, path)
            if found is not None and found.policy is not None:
                return cast(Matched[P], found)
        return self.routes.match(method, path)

    def is_current(self, app: object) -> bool:
        """Whether the app's routes are those that were read."""
        lists, holder = self._lists, self._holder
        if holder is None:
            return getattr(app, "routes", None) is None
        is_same = self._app is app and holder.routes is lists[0]
        return is_same and sum(map(len, lists)) == self._count

    def resolve(self, app: object) -> None:
        """Read the app's routes and marks; a mark that is wrong raises here."""
        self.edition += 1
        marked = [(route, self._mark(route)) for route in app_routes(app)]
        while marked and marked[-1][1] is None:
            marked.pop()
        self._marked = marked
        # By identity: routes compare by value and have no hash.
        self._hosts = list({id(r.host): r.host for r, _ in marked if r.host is not None}.values())
        self._tables = {}
        # The property of an app asks its router, for good: what is served was made from that one.
        self._app, self._holder, self._lists = app, None, []
        routes, router = getattr(app, "routes", None), getattr(app, "router", None)
        if routes is not None:
            self._holder = router if getattr(router, "routes", None) is routes else app
            self._lists = list(_lists(routes))
        self._count = sum(map(len, self._lists))

    @property
    def marked(self) -> list[tuple[AppRoute, P]]:
        """The routes that carry a mark, and the mark."""
        return [(route, policy) for route, policy in self._marked if policy is not None]

    def _table(self, headers: Sequence[Header]) -> "Routes[P | None]":
        """The routes as they are for one host; most apps have but one such table."""
        key: tuple[bool, ...] = ()
        if self._hosts:
            scope: dict[str, Any] = {"type": "http", "headers": headers}
            key = tuple(one.matches(scope)[0] is not Match.NONE for one in self._hosts)
        table = self._tables.get(key)
        if table is None:
            absent = {id(one) for one, takes in zip(self._hosts, key, strict=True) if not takes}
            here = [(r.pattern, p) for r, p in self._marked if id(r.host) not in absent]
            table = self._tables[key] = Routes(here)
        return table


def _lists(routes: Sequence[BaseRoute]) -> Iterator[Sequence[BaseRoute]]:
    """Every list that holds routes of the app: one that grows shows it by its length."""
    yield routes
    for route in routes:
        router = getattr(route, "original_router", route)  # FastAPI's included routers
        inner = getattr(router, "routes", None)
        if isinstance(inner, list):
            yield from _lists(cast(list[BaseRoute], inner))
