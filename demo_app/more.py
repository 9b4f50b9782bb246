"""What the tour has no step for: each route shows one behaviour of the response cache.

A plain Starlette app, mounted at `/more` in both variants of the shop: policies and marks work the
same within mounted apps. Which requests show what is said in `asides.py`, and, for the step "why
was this not cached?", in `tour.py`.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import datetime

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from cachemw import CacheContext, cached
from demo_app.shop import Shop

MEMBERS = {"Bearer ada": "ada", "Bearer bob": "bob"}
FILE = "".join(f"line {n:04}\n" for n in range(1000))

_runs = itertools.count(1)


def now() -> dict[str, str]:
    return {"made_at": datetime.now().time().isoformat("milliseconds")}


def who(request: HTTPConnection) -> str | None:
    return MEMBERS.get(request.headers.get("authorization", ""))


async def is_member(request: HTTPConnection) -> bool:
    return who(request) is not None


# --- the step "why was this not cached?"


@cached(ttl="1m")
async def plain(request: Request) -> Response:
    return JSONResponse(now())


@cached(ttl="1m")
async def sets_cookie(request: Request) -> Response:
    response = JSONResponse(now())
    response.set_cookie("seen", "yes", httponly=True, samesite="lax")
    return response


@cached(ttl="1m")
async def says_no_store(request: Request) -> Response:
    return JSONResponse(now(), headers={"Cache-Control": "no-store"})


@cached(ttl="1m")
async def says_private(request: Request) -> Response:
    return JSONResponse(now(), headers={"Cache-Control": "private"})


@cached(ttl="1m")
async def varies_on_all(request: Request) -> Response:
    return JSONResponse(now(), headers={"Vary": "*"})


@cached(ttl="1m", max_body="10KiB")
async def too_large(request: Request) -> Response:
    return PlainTextResponse("x" * 20_000)


@cached(ttl="1m")
async def draft(request: Request) -> Response:
    CacheContext.of(request).skip("a draft")
    return JSONResponse(now())


# --- HTTP


@cached(ttl="1m")
async def file(request: Request) -> Response:
    return PlainTextResponse(FILE)


@cached()  # no ttl: as the headers say, as a shared cache reads them
async def origin(request: Request) -> Response:
    headers = {"Cache-Control": "max-age=1, s-maxage=60", "Last-Modified": _A_DATE}
    return JSONResponse(now(), headers=headers)


_A_DATE = "Sun, 01 Nov 2026 08:00:00 GMT"


@cached()
async def targeted(request: Request) -> Response:
    # RFC 9213: for caches like ours only, and wins over what all others read.
    headers = {"CDN-Cache-Control": "max-age=60", "Cache-Control": "no-store"}
    return JSONResponse(now(), headers=headers)


@cached(ttl="5m", browser_ttl="1h")
async def logo(request: Request) -> Response:
    return Response("<svg xmlns='http://www.w3.org/2000/svg'/>", media_type="image/svg+xml")


@cached(ttl="5m", ttl_by_status={404: "10s"})
async def missing(request: Request) -> Response:
    return JSONResponse({"detail": "not there", **now()}, 404)


@cached(ttl=lambda head: "10m" if (b"x-edition", b"evening") in head.headers else "10s")
async def edition(request: Request) -> Response:
    return JSONResponse(now(), headers={"X-Edition": "evening"})


@cached(ttl="5m", methods=["POST"])
async def graphql(request: Request) -> Response:
    asked = await request.json()
    return JSONResponse({"asked": asked, **now()})


@cached(ttl="5m")
async def document(request: Request) -> Response:
    return JSONResponse(now())


async def change_document(request: Request) -> Response:
    return JSONResponse({"changed": True})  # a success of an unsafe method purges its URL


@cached(ttl="5m")
async def menu(request: Request) -> Response:
    return JSONResponse(now(), headers={"Cache-Groups": '"menu"'})  # RFC 9875


async def change_menu(request: Request) -> Response:
    return JSONResponse({"changed": True}, headers={"Cache-Group-Invalidation": '"menu"'})


# --- streams


@cached(ttl="1m")
async def stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[str]:
        for n in range(5):
            yield f"chunk {n}\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(chunks(), media_type="text/plain")


@cached(ttl="1m")
async def events(request: Request) -> Response:
    async def three() -> AsyncIterator[str]:
        for n in range(3):
            yield f"data: {n}\n\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(three(), media_type="text/event-stream")


# --- who is asking


@cached(ttl="5m", credentials="identity", identity=who)
async def orders(request: Request) -> Response:
    return JSONResponse({"orders of": who(request), **now()})


@cached(ttl="5m", credentials="shared", guard=is_member)
async def handbook(request: Request) -> Response:
    if who(request) is None:
        return JSONResponse({"detail": "members only"}, 403)
    return JSONResponse({"handbook": "for members", **now()})


@cached(ttl="5m", vary_by=["cookie:theme"])
async def themed(request: Request) -> Response:
    return JSONResponse({"theme": request.cookies.get("theme", "light"), **now()})


def behaviours(shop: Shop) -> Starlette:
    """The routes, and those that need the shop's database."""

    @cached(ttl="2s", jitter=0, stale_if_error="1h")
    async def flaky(request: Request) -> Response:
        if next(_runs) % 2 == 0:
            return JSONResponse({"detail": "the database is down"}, 503)  # every other time
        return JSONResponse(await shop.product(1, takes=0.2))

    @cached(ttl="2s", jitter=0, stale_if_error="1h", soft_timeout="200ms")
    async def slowing(request: Request) -> Response:
        return JSONResponse(await shop.product(2, takes=1.2))

    @cached(ttl="8s", jitter=0, refresh_ahead=0.25)
    async def busy(request: Request) -> Response:
        return JSONResponse(await shop.product(3, takes=0.5))

    @cached(ttl="1m")
    async def mailing(request: Request) -> Response:
        afterwards = BackgroundTask(shop.product, 4, takes=1.5)
        return JSONResponse(now(), background=afterwards)

    return Starlette(
        routes=[
            Route("/plain", plain),
            Route("/sets-cookie", sets_cookie),
            Route("/says-no-store", says_no_store),
            Route("/says-private", says_private),
            Route("/varies-on-all", varies_on_all),
            Route("/too-large", too_large),
            Route("/draft", draft),
            Route("/file", file),
            Route("/origin", origin),
            Route("/targeted", targeted),
            Route("/logo", logo),
            Route("/missing/{id}", missing),
            Route("/edition", edition),
            Route("/graphql", graphql, methods=["POST"]),
            Route("/document", document),
            Route("/document", change_document, methods=["PUT", "DELETE"]),
            Route("/menu", menu),
            Route("/menu", change_menu, methods=["POST"]),
            Route("/stream", stream),
            Route("/events", events),
            Route("/orders", orders),
            Route("/handbook", handbook),
            Route("/themed", themed),
            Route("/flaky", flaky),
            Route("/slowing", slowing),
            Route("/busy", busy),
            Route("/mailing", mailing),
        ]
    )
