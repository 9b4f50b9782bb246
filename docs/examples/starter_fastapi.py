"""A starter: FastAPI, with a cached page, a change that purges it, a limit and a session."""

import os

from fastapi import Depends, FastAPI, Request

from cachemw import Cached, Purges, RateLimit, Sessions, install

app = FastAPI()
install(
    app,
    store=os.environ.get("APP_STORE", "embedded://"),  # "redis://localhost:6379/0"
    limits={"/products/{id}": RateLimit("100/minute")},
    sessions=Sessions(secure=False),  # leave secure=False out where there is https
)
prices = {1: 24.0, 2: 7.5}


@app.get("/products/{id}", dependencies=[Cached(ttl="5m", tags=["product:{id}"])])
async def product(id: int) -> dict[str, object]:
    return {"id": id, "price": prices[id]}


@app.put("/products/{id}", dependencies=[Purges("product:{id}")])
async def change(id: int, price: float) -> None:
    prices[id] = price


@app.post("/login", dependencies=[Depends(RateLimit("5/minute", name="login"))])
async def login(request: Request, name: str) -> None:
    request.session["user_id"] = name
