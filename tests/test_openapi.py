"""The OpenAPI document tells which operations are cached, and nothing of the others."""

from typing import Any

from fastapi import APIRouter, FastAPI

from cachemw import Cached, CachePolicy, MemoryStore, RateLimit, install


def described() -> dict[str, Any]:
    app = FastAPI()
    router = APIRouter(dependencies=[Cached(ttl="5m", tags=["all"], namespace="shop")])

    @router.get("/{id:int}")
    async def by_mark(id: int) -> None: ...

    @router.put("/{id:int}")
    async def changed(id: int) -> None: ...

    app.include_router(router, prefix="/items")

    @app.get("/wide/{name}")
    async def by_pattern(name: str) -> None: ...

    @app.get(
        "/own",
        responses={
            200: {"headers": {"Age": {"description": "mine"}}},
            304: {"description": "mine"},
            404: {"description": "not here"},
        },
        openapi_extra={"x-cachemw": "mine"},
    )
    async def own() -> None: ...

    @app.get("/free")
    async def free() -> None: ...

    rules = {
        "/wide/{name}": CachePolicy(
            stale_while_revalidate="1m", stale_if_error="1h", ttl_by_status={404: 5}
        ),
        "/own": CachePolicy(ttl=60, ttl_by_status={404: 5}),
    }
    install(app, store=MemoryStore(), cache=rules, limits={"/own": RateLimit("5/minute")})
    assert app.openapi() == app.openapi()
    paths: dict[str, Any] = app.openapi()["paths"]
    return paths


def test_a_mark_and_a_pattern_are_described() -> None:
    paths = described()
    assert paths["/items/{id}"]["get"]["x-cachemw"] == {
        "ttl": 300.0,
        "credentials": "bypass",
        "tags": ["all"],
        "namespace": "shop",
    }
    assert paths["/wide/{name}"]["get"]["x-cachemw"] == {
        "ttl": "as the answer says",
        "stale-while-revalidate": 60.0,
        "stale-if-error": 3600.0,
        "credentials": "bypass",
        "ttl-by-status": {"404": 5.0},
    }


def test_what_a_client_gets_is_described() -> None:
    responses = described()["/items/{id}"]["get"]["responses"]
    assert set(responses["200"]["headers"]) == {"ETag", "Cache-Status", "Age"}
    assert set(responses["304"]["headers"]) == {"ETag", "Cache-Status", "Age"}
    assert "headers" not in responses["422"]


def test_nothing_is_said_of_what_is_not_cached() -> None:
    paths = described()
    for operation in (paths["/items/{id}"]["put"], paths["/free"]["get"]):
        assert "x-cachemw" not in operation
        assert "304" not in operation["responses"]
        assert "headers" not in operation["responses"]["200"]


def test_what_the_app_says_itself_stays() -> None:
    own = described()["/own"]["get"]
    assert own["x-cachemw"] == "mine"
    assert own["responses"]["304"] == {"description": "mine"}
    assert own["responses"]["200"]["headers"]["Age"] == {"description": "mine"}
    assert "ETag" in own["responses"]["200"]["headers"]
    assert "ETag" in own["responses"]["404"]["headers"]


def test_the_schema_is_valid_for_those_who_validate_it() -> None:
    """Every response has a description, every header a schema."""
    for operations in described().values():
        for operation in operations.values():
            for response in operation["responses"].values():
                assert response["description"]
