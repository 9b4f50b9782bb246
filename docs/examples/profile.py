"""User profiles: read often, changed seldom, and never old after a change.

    uvicorn --app-dir docs/examples profile:app

A profile is kept for an hour. Who changes it writes through the cache: once the writer has begun,
nobody finds the old one, not even when this process dies in between. People who do not exist are
remembered for ten seconds, so that asking for them is no way to keep the database busy.
"""

import os

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from cachemw import Cache, Store, open_store


class Profile(BaseModel):
    id: int
    name: str
    city: str = ""


class Database:
    """Stands for yours."""

    def __init__(self) -> None:
        self.rows = {1: Profile(id=1, name="Ada", city="London")}
        self.reads = 0

    async def load(self, user_id: int) -> Profile | None:
        self.reads += 1
        return self.rows.get(user_id)

    async def save(self, profile: Profile) -> None:
        self.rows[profile.id] = profile


def make_app(store: Store) -> FastAPI:
    app = FastAPI()
    cache = Cache(store)
    database = app.state.database = Database()

    @cache.memoize("1h", key="profile:{user_id}", tags=["user:{user_id}"], none_ttl="10s")
    async def profile_of(user_id: int) -> Profile | None:
        return await database.load(user_id)

    @app.get("/users/{user_id}")
    async def show(user_id: int) -> Profile:
        profile = await profile_of(user_id)
        if profile is None:
            raise HTTPException(404)
        return profile

    @app.put("/users/{user_id}")
    async def change(user_id: int, name: str, city: str = "") -> Profile:
        profile = Profile(id=user_id, name=name, city=city)
        tag = f"user:{user_id}"
        await cache.write_through(
            profile_of.key_of(user_id),
            profile,
            database.save,
            "1h",
            type=Profile,
            tags=tag,
            purges=tag,
        )
        return profile

    return app


app = make_app(open_store(os.environ.get("CACHEMW_STORE", "memory://")))
