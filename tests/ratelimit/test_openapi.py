"""The OpenAPI document tells of refusals where there can be some, and nowhere else."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI
from starlette.testclient import TestClient

from cachemw.ratelimit.middleware import RateLimitMiddleware
from cachemw.ratelimit.rule import RateLimit
from cachemw.stores.memory import MemoryStore

SLOW = RateLimit("5/minute", name="slow", on_outage="closed")


def paths() -> dict[str, Any]:
    """An app with rules of every kind, and what it says about its operations."""
    app = FastAPI()
    app.add_middleware(
        RateLimitMiddleware,
        store=MemoryStore(),
        routes={"/wide/{rest:path}": RateLimit("9/minute"), "POST /free": RateLimit("9/minute")},
    )
    router = APIRouter(dependencies=[Depends(SLOW)])

    @router.get("/{id:int}")
    async def by_dependency(id: int) -> None: ...

    app.include_router(router, prefix="/router")

    @app.get("/decorated")
    @RateLimit("1/minute")
    async def decorated() -> None: ...

    @app.get("/argument")
    async def argument(_: Annotated[None, Depends(SLOW)]) -> None: ...

    @app.get("/wide/{id:int}/{name}")
    async def by_middleware(id: int, name: str) -> None: ...

    @app.get("/described", dependencies=[Depends(SLOW)], responses={429: {"description": "No!"}})
    async def described() -> None: ...

    @app.get("/shadow", dependencies=[Depends(RateLimit("1/minute", shadow=True))])
    async def shadow() -> None: ...

    @app.post("/free")
    async def limited_by_method() -> None: ...

    @app.get("/free")
    async def free() -> None: ...

    with TestClient(app) as client:
        told: dict[str, Any] = client.get("/openapi.json").json()["paths"]
    return told


def test_refusals_are_described_where_rules_are() -> None:
    told = {
        f"{method} {path}": {"429", "503"} & set(operation["responses"])
        for path, operations in paths().items()
        for method, operation in operations.items()
    }
    assert told == {
        "get /router/{id}": {"429", "503"},
        "get /decorated": {"429"},
        "get /argument": {"429", "503"},
        "get /wide/{id}/{name}": {"429"},
        "get /described": {"429", "503"},
        "get /shadow": set(),
        "post /free": {"429"},
        "get /free": set(),
    }


def test_the_description_names_fields_and_problem_and_leaves_the_apps_own() -> None:
    told = paths()
    refusal = told["/decorated"]["get"]["responses"]["429"]
    assert set(refusal["headers"]) == {"Retry-After", "RateLimit", "RateLimit-Policy"}
    assert "application/problem+json" in refusal["content"]
    assert told["/described"]["get"]["responses"]["429"]["description"] == "No!"
