"""A starter: Starlette, with a cached page, a change that purges it, a limit and a session."""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cachemw import RateLimit, Sessions, cached, install, purges

prices = {1: 24.0, 2: 7.5}


@cached(ttl="5m", tags=["product:{id}"])
async def product(request: Request) -> JSONResponse:
    id = request.path_params["id"]
    return JSONResponse({"id": id, "price": prices[id]})


@purges("product:{id}")
async def change(request: Request) -> JSONResponse:
    prices[request.path_params["id"]] = float(request.query_params["price"])
    return JSONResponse(None)


@RateLimit("5/minute", name="login")
async def login(request: Request) -> JSONResponse:
    request.session["user_id"] = request.query_params["name"]
    return JSONResponse(None)


app = Starlette(
    routes=[
        Route("/products/{id:int}", product),
        Route("/products/{id:int}", change, methods=["PUT"]),
        Route("/login", login, methods=["POST"]),
    ]
)
install(
    app,
    store=os.environ.get("APP_STORE", "embedded://"),  # "redis://localhost:6379/0"
    limits={"/products/{id}": RateLimit("100/minute")},
    sessions=Sessions(secure=False),  # leave secure=False out where there is https
)
