"""The demo shop on FastAPI, written as one would write any app: `python3 run.py demo`.

The page at `/` shows these very lines beside the buttons that use them (`tour.py`). The same shop
in plain Starlette is `plain.py`; what only a demo needs is `backstage.py`.
"""

from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse

from cachemw import (
    CacheContext,
    Cached,
    CachePolicy,
    Purges,
    RateLimit,
    Sessions,
    install,
    required_session,
)
from cachemw.dashboard import dashboard
from cachemw.telemetry.metrics import metrics
from demo_app import more
from demo_app.backstage import Backstage
from demo_app.shop import NotFound, Shop

backstage = Backstage("FastAPI", __file__)
shop = Shop(on_query=backstage.log.query)
sessions = Sessions(idle="30m", absolute="12h", secure=False)  # the demo speaks plain http

app = FastAPI(title="cachemw demo")
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


@app.get("/products/{id}")
async def product(id: int) -> dict[str, Any]:
    return await shop.product(id)  # takes 600 ms


@app.get(
    "/products", dependencies=[Cached(ttl="5m", stale_while_revalidate="1h", namespace="catalog")]
)
async def products(cache: CacheContext = Depends()) -> list[dict[str, Any]]:
    found = await shop.products()
    cache.tag(*(f"product:{one['id']}" for one in found))  # what this page is made from
    return found


@app.get(
    "/search",
    dependencies=[
        Cached(
            ttl="5m",
            query=["q", "page"],  # no other parameter counts, or reaches the handler
            vary_by=["Accept-Language"],
            namespace="catalog",
        )
    ],
)
async def search(
    q: str = "",
    accept_language: Annotated[str, Header()] = "en",
    cache: CacheContext = Depends(),
) -> list[dict[str, Any]]:
    found = await shop.search(q, accept_language)
    cache.tag(*(f"product:{one['id']}" for one in found))
    return found


@app.put("/products/{id}/price", dependencies=[Purges("product:{id}")])
async def change_price(id: int, price: float) -> dict[str, Any]:
    await shop.set_price(id, price)
    return {"id": id, "price": price}


@app.put("/products/{id}/stock", dependencies=[Purges("product:{id}", soft=True)])
async def change_stock(id: int, stock: int) -> dict[str, Any]:
    await shop.set_stock(id, stock)
    return {"id": id, "stock": stock}


@app.post("/catalog/bump")
async def bump() -> dict[str, str]:
    await cachemw.cache.bump("catalog")
    return {"bumped": "catalog"}


@app.get("/rates", dependencies=[Cached(ttl="5s", stale_while_revalidate="1m")])
async def rates() -> dict[str, Any]:
    return await shop.rates()


@app.get("/reports/{number}", dependencies=[Cached(ttl="1m")])
async def report(number: int) -> dict[str, Any]:
    return await shop.report(number)


@app.post("/login", dependencies=[Depends(RateLimit("30/minute", name="login"))])
async def login(request: Request, user: Literal["ada", "bob"]) -> dict[str, Any]:
    request.session["user_id"] = user  # a new session id, and the old one is dead
    return {"hello": user}


@app.get("/me", dependencies=[Cached(ttl="5m")])  # even so: the session keeps it apart
async def me(request: Request) -> dict[str, Any]:
    return {"you are": request.session.get("user_id", "a stranger")}


@app.get("/account", dependencies=[Depends(required_session)])  # otherwise 401
async def account(request: Request) -> dict[str, Any]:
    logins = await sessions.list(request.session["user_id"])
    return {"user": request.session["user_id"], "logged in": len(logins)}


@app.post("/logout-everywhere", dependencies=[Depends(required_session)])
async def logout_everywhere(request: Request) -> dict[str, Any]:
    return {"ended": await sessions.revoke_all(request.session["user_id"])}


quota = RateLimit("10/10s", name="quote", on_outage="local")


@app.get("/quote", dependencies=[Depends(quota)])
async def quote() -> dict[str, str]:
    return {"quote": "There are only two hard things in computer science."}


@app.exception_handler(NotFound)
async def not_found(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 404)


app.mount("/more", more.behaviours(shop))
app.mount("/_cachemw", dashboard(app, auth=backstage.auth, allow_purge=True))
app.add_route("/metrics", metrics(cachemw))
backstage.join(app)
