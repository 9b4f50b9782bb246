"""A store, a clock that is moved by hand, an app, and what the audit hook heard."""

from typing import Any

from cachemw.sessions.events import SessionEvent
from cachemw.sessions.sessions import Sessions
from cachemw.stores.memory import MemoryStore
from tests.sessions.apps import Handler, session_app
from tests.sessions.browser import Browser, Clock


class World:
    def __init__(self, handlers: dict[str, Handler] | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock)
        self.events: list[SessionEvent] = []
        options.setdefault("renew", None)
        self.sessions = Sessions(store=self.store, audit=self.events.append, **options)
        self.app = session_app(self.sessions, **(handlers or {}))

    def browser(self, cookie: str | None = None, *, user_agent: str = "") -> Browser:
        return Browser(self.app, cookie=cookie, user_agent=user_agent)

    async def logged_in(self, subject: Any, *, user_agent: str = "") -> Browser:
        browser = self.browser(user_agent=user_agent)
        await browser.post("/update", {"user_id": subject})
        return browser

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def stored_keys(self) -> list[bytes]:
        return sorted(self.store.keyspace.matching(b"*"))


async def session_of(browser: Browser) -> Any:
    return (await browser.get("/view")).json()["session"]
