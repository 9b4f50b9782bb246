"""One page that says what this is, and whether its store answers.

The store is what CACHEMW_REDIS_URL names, so that several workers share one; without it, a private
server that lives as long as this process.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from cachemw import open_store
from cachemw.errors import StoreUnavailable

STORE_URL = os.environ.get("CACHEMW_REDIS_URL") or "embedded://"

store = open_store(STORE_URL)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await store.open()
    try:
        yield
    finally:
        await store.aclose()


app = FastAPI(title="cachemw demo", lifespan=lifespan)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cachemw demo</title>
<style>
  body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto }}
  code {{ background: #8882; padding: .1em .3em; border-radius: .3em }}
</style>
<h1>cachemw</h1>
<p>A response cache, a data cache, sessions and rate limits for Starlette and FastAPI apps,
on one Redis or Valkey.</p>
<p>The store <code>{store}</code> {state}.</p>
</html>
"""


@app.get("/", response_class=HTMLResponse)
async def index() -> str:
    state = "answers" if await store_answers() else "does not answer"
    return PAGE.format(store=escape(without_password(STORE_URL)), state=state)


@app.get("/health")
async def health(response: Response) -> dict[str, bool]:
    """For the container's health check: the app serves; the store is reported, not required."""
    response.headers["Cache-Control"] = "no-store"
    return {"store": await store_answers()}


async def store_answers() -> bool:
    try:
        await store.time()
    except StoreUnavailable:
        return False
    return True


def without_password(url: str) -> str:
    """The URL less its user and password, fit for showing."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
