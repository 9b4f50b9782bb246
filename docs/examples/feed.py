"""A feed: expensive to put together, and nobody minds when it is a little old.

    uvicorn --app-dir docs/examples feed:app

A feed is fresh for thirty seconds. For an hour after that, a reader gets the old one at once, and
one worker puts together the new one behind. A new post marks the feeds of all followers as stale
in one write, however many there are: nobody waits, and the next look has it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from cachemw import Cache, Store, open_store


class Database:
    """Stands for yours."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, str]] = [("ada", "hello")]
        self.follows = {"eve": ["ada", "bob"], "bob": ["ada"]}
        self.queries = 0

    async def feed(self, user: str) -> list[str]:
        self.queries += 1
        followed = self.follows.get(user, [])
        return [f"{author}: {text}" for author, text in self.posts if author in followed]


def make_app(store: Store) -> FastAPI:
    cache = Cache(store)
    database = Database()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await cache.aclose()  # lets refreshes end

    app = FastAPI(lifespan=lifespan)
    app.state.cache, app.state.database = cache, database

    @app.get("/feeds/{user}")
    async def feed(user: str) -> list[str]:
        return await cache.get_or_set(
            f"feed:{user}",
            lambda: database.feed(user),
            "30s",
            stale_while_revalidate="1h",
            stale_if_error="1h",
            refresh_ahead=0.8,
            tags=[f"posts-of:{author}" for author in database.follows.get(user, [])],
        )

    @app.post("/posts", status_code=201)
    async def post(author: str, text: str) -> None:
        database.posts.insert(0, (author, text))
        await cache.purge(tags=[f"posts-of:{author}"], soft=True)

    return app


app = make_app(open_store(os.environ.get("CACHEMW_STORE", "memory://")))
