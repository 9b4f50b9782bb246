"""What is explained is what happens: asked before each request, then compared with its answer."""

import random

import pytest
from starlette.applications import Starlette

from cachemw import CachePolicy
from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.reasons import Reason
from cachemw.caching.status import Forward
from cachemw.errors import ConfigurationError
from cachemw.inspection import State, complaints, explain, route_policies
from cachemw.stores.memory import MemoryStore
from cachemw.stores.near import NearStore
from cachemw.testing.client import Client
from cachemw.testing.clock import FakeClock
from cachemw.testing.origin import ScriptedOrigin
from tests.inspection import shop as shops
from tests.inspection.shop import shop, visit
from tests.stores.conftest import Opener

pytestmark = pytest.mark.anyio

TARGETS = [
    *("/about", "/about?_cache-control=no-store", "/products/3", "/products/4?_vary=x-shop"),
    *("/products/3?_status=500", "/me", "/members", "/plain", "/feed", "/products/new"),
    *("/about?_set-cookie=a=b", "/feed?_cache-control=max-age=5,%20must-revalidate"),
]
FIELDS = [
    {},
    *({"accept-language": language} for language in ("de", "fr")),
    *({"cache-control": wish} for wish in ("no-cache", "only-if-cached", "max-age=1", "no-store")),
    *({"cookie": "a=b"}, {"authorization": "Bearer x"}, {"if-match": '"x"'}, {"x-shop": "1"}),
    *({"upgrade": "h2c"}, {"x-member": "yes"}, {"range": "bytes=0-3"}),
]


@pytest.mark.parametrize("seed", range(8))
async def test_what_is_explained_is_what_happens(seed: int) -> None:
    chance, clock = random.Random(seed), FakeClock()
    app = shop(MemoryStore(clock=clock))
    client, cache = Client(app), app.state.cachemw.cache
    met: set[str] = set()
    for _ in range(150):
        method = chance.choice(["GET", "GET", "GET", "GET", "HEAD", "PUT", "OPTIONS"])
        target, fields = chance.choice(TARGETS), chance.choice(FIELDS)
        match chance.randrange(12):
            case 0:
                clock.advance(chance.choice([10, 45, 90, 400]))
            case 1:
                soft = chance.random() < 0.5
                await cache.purge(tags=["product:3"], soft=soft)
            case 2:
                await cache.purge(url=target.partition("?")[0])
        told = await explain(app, method, f"http://testserver{target}", fields.items())
        asked = f"{method} {target} {fields}: {told}"
        answer = await client.request(method, target, headers=fields)
        if "guard" in " ".join(told.notes) and "x-member" not in fields:
            assert answer.detail == Reason.GUARD, asked
            continue
        if told.reason is Reason.PARTIAL:
            assert answer.header("cache-status") == f"{told.status}".replace(
                "; detail", f"; fwd-status={answer.status}; detail"
            )
            continue
        expected = None if told.outcome in ("none", "purge") else told.outcome
        assert answer.cache == expected, asked
        status = answer.header("cache-status") or ""
        if told.forward is not None:
            assert f"fwd={told.forward}" in status, asked
            assert f"{status};".startswith(told.status.partition("; detail")[0] + ";"), asked
        elif expected is not None:
            assert status == told.status, asked
        met.add(told.outcome)
        await app_settled(app)
    assert met >= {"hit", "miss", "bypass", "none"}


async def app_settled(app: Starlette) -> None:
    """Wait for refreshes in the background."""
    layer = app.middleware_stack
    while not isinstance(layer, CacheMiddleware):
        layer = getattr(layer, "app", None)
        assert layer is not None
    await layer.engine.flights.drain(5)


async def test_nothing_is_asked_of_the_handler_and_nothing_is_changed() -> None:
    app = shop(MemoryStore())
    await visit(app, "/about", "/products/3")
    before = len(shops.calls)
    for target in ("/about", "/products/3", "/products/9", "/plain"):
        first = await explain(app, "GET", target)
        again = await explain(app, "GET", target)
        assert (again.outcome, again.status) == (first.outcome, first.status)
    await explain(app, "PUT", "/products/3")
    assert (await explain(app, "GET", "/about")).outcome == "hit"
    assert len(shops.calls) == before


async def test_a_purge_is_named_with_the_tag_that_did_it() -> None:
    app = shop(MemoryStore())
    await visit(app, "/products/3")
    await app.state.cachemw.cache.purge(tags=["product:3"])
    told = await explain(app, "GET", "/products/3")
    assert (told.outcome, told.reason) == ("miss", Reason.PURGED)
    assert told.why.endswith(": product:3")
    assert told.stored[-1].state is State.PURGED
    assert (told.route, told.fields) == ("/products/{id}", ("accept-language",))
    assert told.tags == ("@route:/products/{id}", "product:3")


async def test_a_refusal_says_why_the_last_response_was_not_kept() -> None:
    app = shop(MemoryStore())
    await visit(app, "/about?_cache-control=no-store")
    told = await explain(app, "GET", "/about?_cache-control=no-store")
    assert told.reason is Reason.UNCACHEABLE
    assert Reason.NO_STORE.meaning in told.why


async def test_other_variants_are_told_from_nothing() -> None:
    app = shop(MemoryStore())
    await visit(app, "/products/3", accept_language="de")
    asked = "GET", "/products/3"
    assert (await explain(app, *asked, [("Accept-Language", "de")])).outcome == "hit"
    told = await explain(app, *asked, [("Accept-Language", "fr")])
    assert (told.outcome, told.forward) == ("miss", Forward.VARY_MISS)
    assert [one.varies for one in told.stored] == [("accept-language",)]


async def test_a_path_is_found_under_any_origin_that_is_known() -> None:
    app = shop(MemoryStore())
    await Client(app, host="a.example").get("/plain")
    await Client(app, host="a.example").get("/feed")
    await Client(app, host="b.example").get("/about")
    told = await explain(app, "GET", "/about")
    assert (told.request, told.outcome) == ("GET http://b.example/about", "hit")
    assert (await explain(app, "GET", "http://a.example/about")).outcome == "miss"


async def test_where_a_policy_was_written_is_told() -> None:
    app = shop(MemoryStore(), default=CachePolicy(ttl="1s"))
    told = {path: (await explain(app, "GET", path)).source for path in ("/feed", "/about", "/me")}
    assert told["/feed"].startswith("marked: @cached at ")
    assert "shop.py:" in told["/feed"]
    assert told["/about"] == "pattern '/about'"
    assert "default" in (await explain(app, "GET", "/plain")).source


async def test_a_change_names_what_its_success_purges() -> None:
    told = await explain(shop(MemoryStore()), "PUT", "/products/3")
    assert told.outcome == "purge"
    assert told.purges == ("URL /products/3", "tag product:3", "URL /about")
    assert "shop.py:" in told.source


async def test_a_cache_that_was_wrapped_by_hand_is_found() -> None:
    policy = CachePolicy(ttl="1m")
    layer = CacheMiddleware(ScriptedOrigin(), store=MemoryStore(), routes={"/a": policy})
    await Client(layer).get("/a")
    assert (await explain(layer, "GET", "/a")).outcome == "hit"


async def test_an_app_without_a_cache_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="no cache"):
        await explain(Starlette(), "GET", "/")


async def test_what_the_process_keeps_for_itself_is_not_looked_at(
    valkey_url: str, opened: Opener
) -> None:
    app = shop(NearStore(opened(valkey_url)))
    assert (await explain(app, "GET", "/about")).outcome == "miss"


# --- routes


async def test_every_route_has_its_policy_and_the_why_of_it() -> None:
    app = shop(MemoryStore())
    told = {(one.route, one.endpoint): one for one in route_policies(app)}
    product = told["GET,HEAD /products/{id}", "page"]
    assert product.policy is not None
    assert product.source == "pattern '/products/{id}'"
    assert "ttl 1m" in product.why
    assert told["GET,HEAD /plain", "page"].why == Reason.NO_POLICY.meaning
    assert told["GET,HEAD /feed", "feed"].source.startswith("marked: ")
    change = told["PUT /products/{id}", "change"]
    assert change.purges == ("tag product:{id}", "URL /about")
    assert "purges its own URL" in change.why
    assert told["GET,HEAD /products/{name}", "page"].why.startswith("never reached: ")


async def test_policies_that_no_route_can_match_are_named() -> None:
    (told,) = complaints(shop(MemoryStore()))
    assert "'/nowhere'" in told
