"""What handlers ask of their sessions, in FastAPI and in plain Starlette."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request, WebSocket
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from cachemw.errors import ConfigurationError
from cachemw.sessions.errors import ConflictError
from cachemw.sessions.guards import (
    fresh_login,
    load_session,
    required_session,
    save_session,
    typed_session,
)
from cachemw.sessions.middleware import SessionMiddleware
from cachemw.sessions.session import Session
from cachemw.sessions.sessions import Sessions
from cachemw.stores.memory import MemoryStore
from tests.sessions.browser import Browser, Clock

pytestmark = pytest.mark.anyio


class Cart(BaseModel):
    items: list[str] = []
    user_id: int | None = None
    seen: dict[str, int] = {}


class Demanding(BaseModel):
    name: str


class Shop:
    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock)
        self.sessions = Sessions(store=self.store, renew=None, **options)
        api = FastAPI()

        @api.post("/login")
        async def login(request: Request, user: int | None = None) -> None:
            await load_session(request)
            request.session["user_id"] = 7

        @api.get("/me")
        async def me(session: Annotated[Session, Depends(required_session)]) -> Any:
            return dict(session)

        @api.post("/transfer", dependencies=[Depends(fresh_login("5m"))])
        async def transfer() -> str:
            return "done"

        @api.post("/prove", dependencies=[Depends(required_session)])
        async def prove(request: Request) -> None:
            request.session.reauthenticated()  # type: ignore[attr-defined]

        @api.post("/buy")
        async def buy(cart: Annotated[Cart, Depends(typed_session(Cart))], item: str = "x") -> Any:
            cart.items.append(item)
            return cart.items

        @api.get("/cart")
        async def cart(cart: Annotated[Cart, Depends(typed_session(Cart))]) -> Any:
            return cart.model_dump()

        @api.post("/raw")
        async def raw(request: Request) -> None:
            (await load_session(request)).update(await request.json())

        @api.get("/sync")
        def sync(request: Request) -> Any:
            return dict(request.session)

        @api.get("/idle")
        async def idle() -> str:
            return "hello"

        @api.websocket("/socket")
        async def socket(
            websocket: WebSocket, session: Annotated[Session, Depends(required_session)]
        ) -> None:
            await websocket.accept()
            await websocket.send_json(dict(session))

        self.app = SessionMiddleware(api, sessions=self.sessions)

    def browser(self) -> Browser:
        return Browser(self.app)


async def test_nobody_is_turned_away_with_401() -> None:
    shop = Shop()
    browser = shop.browser()
    answer = await browser.get("/me")
    assert (answer.status, answer.header("www-authenticate")) == (401, "Session")
    await browser.post("/raw", {"theme": "dark"})  # a session is not a login
    assert (await browser.get("/me")).status == 401
    await browser.post("/login")
    assert (await browser.get("/me")).json() == {"theme": "dark", "user_id": 7}
    assert (await browser.get("/sync")).json() == {"theme": "dark", "user_id": 7}


async def test_without_subjects_any_session_will_do() -> None:
    browser = Shop(subject=None).browser()
    assert (await browser.get("/me")).status == 401
    await browser.post("/raw", {"theme": "dark"})
    assert (await browser.get("/me")).status == 200


async def test_a_login_that_is_too_old_must_be_renewed() -> None:
    shop = Shop()
    browser = shop.browser()
    assert (await browser.post("/transfer")).status == 401
    await browser.post("/login")
    shop.clock.advance(300)
    assert (await browser.post("/transfer")).status == 200
    shop.clock.advance(1)
    answer = await browser.post("/transfer")
    assert answer.status == 401
    assert answer.header("www-authenticate") == (
        'Session error="insufficient_user_authentication", max_age=300'
    )
    await browser.post("/login")  # the same user once more is no login
    assert (await browser.post("/transfer")).status == 401
    await browser.post("/prove")
    assert (await browser.post("/transfer")).status == 200


async def test_an_outage_is_503_and_not_401() -> None:
    shop = Shop()
    browser = shop.browser()
    await browser.post("/login")
    await shop.store.aclose()
    assert (await browser.get("/me")).status == 503
    assert (await browser.post("/transfer")).status == 503


async def test_websockets_are_closed_instead() -> None:
    shop = Shop()
    browser = shop.browser()
    async with browser.websocket("/socket") as socket:
        assert (socket.answer["type"], socket.answer["code"]) == ("websocket.close", 1008)
    await browser.post("/login")
    async with browser.websocket("/socket") as socket:
        assert await socket.hear() == {"user_id": 7}


async def test_typed_sessions_save_what_changed_in_the_model() -> None:
    shop = Shop()
    browser = shop.browser()
    assert (await browser.get("/cart")).json() == {"items": [], "user_id": None, "seen": {}}
    assert browser.cookie is None  # defaults are no session
    await browser.post("/buy")
    await browser.post("/raw", {"other": 1})
    await browser.post("/buy")
    assert (await browser.get("/cart")).json()["items"] == ["x", "x"]
    assert (await browser.get("/sync")).json() == {"items": ["x", "x"], "other": 1}


async def test_a_session_that_does_not_fit_its_model_ends() -> None:
    shop = Shop()
    browser = shop.browser()
    await browser.post("/login")
    await browser.post("/raw", {"items": "not a list"})
    answer = await browser.get("/cart")
    assert (answer.status, answer.json()["items"]) == (200, [])
    assert (await browser.get("/me")).status == 401
    assert shop.sessions.counters["unreadable"] == 1


def test_a_model_without_defaults_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="name"):
        typed_session(Demanding)


async def test_lazy_sessions_are_read_when_they_are_asked_for() -> None:
    shop = Shop(lazy=True)
    browser = shop.browser()
    await browser.post("/login")
    await shop.store.aclose()
    assert (await browser.get("/idle")).status == 200
    assert (await browser.get("/me")).status == 503
    await shop.store.open()
    assert (await browser.get("/me")).json() == {"user_id": 7}
    with pytest.raises(RuntimeError, match="load_session"):
        await browser.get("/sync")


async def test_save_session_lets_a_handler_cope_with_a_conflict() -> None:
    shop = Shop(guarded=["stock"])
    tried: list[str] = []

    @shop.app.app.post("/take")  # type: ignore[attr-defined]
    async def take(request: Request) -> Response:
        request.session["stock"] -= 1
        if not tried:
            tried.append("first")
            await other.post("/take")
        try:
            await save_session(request)
        except ConflictError as error:
            raise HTTPException(409, error.key) from None
        return PlainTextResponse("ok")

    browser = shop.browser()
    await browser.post("/raw", {"stock": 5})
    other = browser.clone()
    answer = await browser.post("/take")
    assert (answer.status, answer.json()) == (409, {"detail": "stock"})
    assert (await browser.get("/sync")).json() == {"stock": 4}


async def test_a_cookie_due_from_an_early_save_goes_out_with_the_response() -> None:
    shop = Shop()

    @shop.app.app.post("/early")  # type: ignore[attr-defined]
    async def early(request: Request) -> None:
        request.session["user_id"] = 7
        await save_session(request)
        request.session["more"] = [1]
        await save_session(request)
        request.session["more"].append(2)

    browser = shop.browser()
    await browser.post("/early")
    assert (await browser.get("/me")).json() == {"user_id": 7, "more": [1, 2]}


async def test_without_the_middleware_the_error_says_so() -> None:
    api = FastAPI()

    @api.get("/me", dependencies=[Depends(required_session)])
    async def me() -> None: ...

    with pytest.raises(ConfigurationError, match=r"SessionMiddleware.*install\(app"):
        await Browser(api).get("/me")


async def test_a_save_that_was_refused_is_not_made_good_by_the_response() -> None:
    shop = Shop()

    @shop.app.app.post("/late")  # type: ignore[attr-defined]
    async def late(request: Request) -> None:
        request.session["more"] = 1
        await shop.sessions.revoke_all(7)
        await save_session(request)

    browser = shop.browser()
    await browser.post("/login")
    answer = await browser.post("/late")
    assert (answer.status, answer.set_cookie) == (200, None)
    assert (await browser.get("/sync")).json() == {}
    assert [key async for batch in shop.store.scan(b"s:*") for key in batch] == []
