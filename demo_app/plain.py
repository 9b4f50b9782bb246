"""The demo shop in plain Starlette: `python3 run.py demo --plain`.

The same routes as in `main.py`, with the same middleware; marks are decorators here.
"""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from cachemw import (
    CacheContext,
    CachePolicy,
    RateLimit,
    Sessions,
    cached,
    install,
    purges,
    required_session,
)
from cachemw.dashboard import dashboard
from cachemw.telemetry.metrics import metrics
from demo_app import more
from demo_app.backstage import Backstage
from demo_app.shop import NotFound, Shop

backstage = Backstage("Starlette", __file__)
shop = Shop(on_query=backstage.log.query)
sessions = Sessions(idle="30m", absolute="12h", secure=False)  # the demo speaks plain http


async def product(request: Request) -> JSONResponse:
    return JSONResponse(await shop.product(request.path_params["id"]))  # takes 600 ms


@cached(ttl="5m", stale_while_revalidate="1h", namespace="catalog")
async def products(request: Request) -> JSONResponse:
    found = await shop.products()
    # What this page is made from:
    CacheContext.of(request).tag(*(f"product:{one['id']}" for one in found))
    return JSONResponse(found)


@cached(
    ttl="5m",
    query=["q", "page"],  # no other parameter counts, or reaches the handler
    vary_by=["Accept-Language"],
    namespace="catalog",
)
async def search(request: Request) -> JSONResponse:
    language = request.headers.get("accept-language", "en")
    found = await shop.search(request.query_params.get("q", ""), language)
    CacheContext.of(request).tag(*(f"product:{one['id']}" for one in found))
    return JSONResponse(found)


@purges("product:{id}")
async def change_price(request: Request) -> JSONResponse:
    price = float(request.query_params["price"])
    await shop.set_price(request.path_params["id"], price)
    return JSONResponse({"id": request.path_params["id"], "price": price})


@purges("product:{id}", soft=True)
async def change_stock(request: Request) -> JSONResponse:
    stock = int(request.query_params["stock"])
    await shop.set_stock(request.path_params["id"], stock)
    return JSONResponse({"id": request.path_params["id"], "stock": stock})


async def bump(request: Request) -> JSONResponse:
    await cachemw.cache.bump("catalog")
    return JSONResponse({"bumped": "catalog"})


@cached(ttl="5s", stale_while_revalidate="1m")
async def rates(request: Request) -> JSONResponse:
    return JSONResponse(await shop.rates())


@cached(ttl="1m")
async def report(request: Request) -> JSONResponse:
    return JSONResponse(await shop.report(request.path_params["number"]))


@RateLimit("30/minute", name="login")
async def login(request: Request) -> JSONResponse:
    user = request.query_params["user"]
    if user not in ("ada", "bob"):
        raise HTTPException(422, "users are ada and bob")
    request.session["user_id"] = user  # a new session id, and the old one is dead
    return JSONResponse({"hello": user})


@cached(ttl="5m")  # even so: the session keeps it apart
async def me(request: Request) -> JSONResponse:
    return JSONResponse({"you are": request.session.get("user_id", "a stranger")})


async def account(request: Request) -> JSONResponse:
    session = await required_session(request)  # otherwise 401
    logins = await sessions.list(session["user_id"])
    return JSONResponse({"user": session["user_id"], "logged in": len(logins)})


async def logout_everywhere(request: Request) -> JSONResponse:
    session = await required_session(request)
    return JSONResponse({"ended": await sessions.revoke_all(session["user_id"])})


quota = RateLimit("10/10s", name="quote", on_outage="local")


@quota
async def quote(request: Request) -> JSONResponse:
    return JSONResponse({"quote": "There are only two hard things in computer science."})


async def not_found(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 404)


app = Starlette(
    routes=[
        Route("/products/{id:int}", product),
        Route("/products", products),
        Route("/search", search),
        Route("/products/{id:int}/price", change_price, methods=["PUT"]),
        Route("/products/{id:int}/stock", change_stock, methods=["PUT"]),
        Route("/catalog/bump", bump, methods=["POST"]),
        Route("/rates", rates),
        Route("/reports/{number:int}", report),
        Route("/login", login, methods=["POST"]),
        Route("/me", me),
        Route("/account", account),
        Route("/logout-everywhere", logout_everywhere, methods=["POST"]),
        Route("/quote", quote),
        Mount("/more", more.behaviours(shop)),
    ],
    exception_handlers={NotFound: not_found},
)
cachemw = install(
    app,
    store=backstage.url,  # such as "redis://localhost:6379/0"
    cache={
        "/products/{id}": CachePolicy(
            ttl="5m",
            stale_while_revalidate="1h",
            tags=["product:{id}"],
            namespace="catalog",
            credentials="strip",  # who is logged in gets the same page as everybody
        ),
    },
    sessions=sessions,
)
app.mount("/_cachemw", dashboard(app, auth=backstage.auth, allow_purge=True))
app.add_route("/metrics", metrics(cachemw))
backstage.join(app)
