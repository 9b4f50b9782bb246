"""A starter: Quart, or any other ASGI app, behind the same middleware."""

import os

from quart import Quart, Response, jsonify, request

from cachemw import CacheMiddleware, CachePolicy, RateLimit, RateLimitMiddleware, open_store

app = Quart(__name__)
store = open_store(os.environ.get("APP_STORE", "embedded://"))  # "redis://localhost:6379/0"
prices = {1: 24.0, 2: 7.5}


@app.get("/products/<int:id>")
async def product(id: int) -> Response:
    return jsonify({"id": id, "price": prices[id]})


@app.put("/products/<int:id>")
async def change(id: int) -> Response:
    prices[id] = (await request.get_json())["price"]
    return jsonify(None)  # a PUT that succeeds purges its own URL


policies = {"/products/{id}": CachePolicy(ttl="5m")}
limits = {"/products/{id}": RateLimit("100/minute")}
app.asgi_app = CacheMiddleware(app.asgi_app, store=store, routes=policies)  # type: ignore
app.asgi_app = RateLimitMiddleware(app.asgi_app, store=store, routes=limits)  # type: ignore
