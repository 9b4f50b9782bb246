"""What Starlette promises of its own sessions holds for ours: the same handlers, the same answers.

Three things are ours: the cookie is called and flagged more strictly, it holds an id rather than
the data, and clearing removes it with `Max-Age=0`.
"""

import re
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import Session as StarlettesSession
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from cachemw.sessions.middleware import SessionMiddleware
from cachemw.sessions.session import Session
from cachemw.stores.memory import MemoryStore
from tests.sessions.apps import clear, update, view
from tests.sessions.browser import Clock

ROUTES = [
    Route("/view", view),
    Route("/update", update, methods=["POST"]),
    Route("/clear", clear, methods=["POST"]),
]


def app(**options: Any) -> Starlette:
    options.setdefault("store", MemoryStore())
    return Starlette(routes=ROUTES, middleware=[Middleware(SessionMiddleware, **options)])


def https(app: Starlette, **more: Any) -> TestClient:
    return TestClient(app, base_url="https://testserver", **more)


def test_from_nothing_to_something_and_back() -> None:
    client = https(app(idle="7d", absolute="14d"))
    assert client.get("/view").json() == {"session": {}}
    answer = client.post("/update", json={"some": "data"})
    assert answer.json() == {"session": {"some": "data"}}
    lifetime = re.search(r"; Max-Age=([0-9]+);", answer.headers["set-cookie"])
    assert lifetime is not None
    assert int(lifetime[1]) == 14 * 24 * 3600
    assert client.get("/view").json() == {"session": {"some": "data"}}
    cleared = client.post("/clear")
    assert cleared.json() == {"session": {}}
    assert "Max-Age=0" in cleared.headers["set-cookie"]
    assert client.get("/view").json() == {"session": {}}


def test_an_expired_session_is_empty() -> None:
    clock = Clock()
    client = https(app(store=MemoryStore(clock=clock), idle="10s"))
    assert client.post("/update", json={"some": "data"}).json() == {"session": {"some": "data"}}
    clock.advance(10)
    assert client.get("/view").json() == {"session": {}}


def test_a_secure_cookie_stays_on_https() -> None:
    both = app()
    secure, insecure = https(both), TestClient(both, base_url="http://testserver")
    for client, kept in ((insecure, {}), (secure, {"some": "data"})):
        assert client.get("/view").json() == {"session": {}}
        assert client.post("/update", json={"some": "data"}).json()["session"] == {"some": "data"}
        assert client.get("/view").json() == {"session": kept}


def test_without_https() -> None:
    client = TestClient(app(secure=False), base_url="http://testserver")
    answer = client.post("/update", json={"some": "data"})
    assert answer.headers["set-cookie"].startswith("id=")
    assert "ecure" not in answer.headers["set-cookie"]
    assert client.get("/view").json() == {"session": {"some": "data"}}


def test_the_path_of_a_mounted_app() -> None:
    outer = Starlette(routes=[Mount("/second_app", app=app(path="/second_app"))])
    answer = https(outer).post("/second_app/update", json={"some": "data"})
    assert answer.status_code == 200
    assert "; Path=/second_app;" in answer.headers["set-cookie"]
    assert answer.headers["set-cookie"].startswith("__Secure-id=")


def test_a_bogus_cookie_raises_nothing() -> None:
    ours = app()
    assert https(ours).post("/update", json={"some": "data"}).status_code == 200
    client = https(ours, cookies={"__Host-id": "invalid"})
    assert client.get("/view").json() == {"session": {}}


def test_a_cookie_that_ends_with_the_browser() -> None:
    client = https(app(persistent=False))
    answer = client.post("/update", json={"some": "data"})
    assert "Max-Age" not in answer.headers["set-cookie"]
    client.cookies.delete("__Host-id")
    assert client.get("/view").json() == {"session": {}}


def test_a_cookie_for_a_domain() -> None:
    client = https(app(domain=".example.com"))
    answer = client.post("/update", json={"some": "data"})
    assert "; Domain=.example.com" in answer.headers["set-cookie"]


def test_a_partitioned_cookie() -> None:
    answer = https(app(partitioned=True, same_site="none")).post("/update", json={"some": "data"})
    assert "; SameSite=None; Secure; Partitioned" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("act", "accessed", "modified"),
    [
        (lambda s: None, False, False),
        (lambda s: s.get("a"), False, False),
        (lambda s: s.setdefault("a", 2), False, False),
        (lambda s: s.pop("x", None), False, False),
        (lambda s: s.update(b=2), True, True),
        (lambda s: s.__setitem__("a", 2), True, True),
        (lambda s: s.__delitem__("a"), True, True),
        (lambda s: s.pop("a"), True, True),
        (lambda s: s.popitem(), True, True),
        (lambda s: s.setdefault("b", 2), True, True),
        (lambda s: s.clear(), True, True),
        (lambda s: s.__ior__({"b": 2}), True, True),
    ],
)
def test_accessed_and_modified_are_starlettes(act: Any, accessed: bool, modified: bool) -> None:
    theirs = StarlettesSession({"a": 1})
    ours = Session()
    dict.__setitem__(ours, "a", 1)
    act(theirs)
    act(ours)
    assert (theirs.accessed, theirs.modified) == (accessed, modified)
    assert ours.modified == modified
    assert ours.accessed or not accessed
    assert ours == theirs


def test_looking_at_the_session_is_access() -> None:
    async def looks(request: Request) -> JSONResponse:
        assert request.session is HTTPConnection(request.scope).session
        return JSONResponse(bool(request.session))

    looking = Starlette(
        routes=[Route("/", looks)],
        middleware=[Middleware(SessionMiddleware, store=MemoryStore())],
    )
    assert https(looking).get("/").headers["vary"] == "Cookie"
