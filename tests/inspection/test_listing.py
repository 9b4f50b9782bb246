"""What is listed is what there is, on a server, in memory and in a cluster."""

from typing import Any

import pytest
from starlette.applications import Starlette

from cachemw.inspection import Filter, Kind, State, content, listing, named
from cachemw.inspection.apps import CachedApp
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from cachemw.testing.client import Client
from cachemw.testing.clock import FakeClock
from tests.inspection.shop import shop, visit
from tests.servers import Cluster
from tests.stores.conftest import Opener

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "server"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    opened: Opener = request.getfixturevalue("opened")
    return opened(request.getfixturevalue("valkey_url"))


@pytest.fixture
def app(store: Store, anyio_backend: str) -> Starlette:
    return shop(store)


async def names(store: Store, **wanted: Any) -> list[str]:
    return [one.name for one in (await listing(store, Filter(**wanted))).items]


async def test_responses_and_values_are_listed_by_their_names(app: Starlette, store: Store) -> None:
    await visit(app, "/about", "/products/3?b=1&a=2", "/products/4", "/feed", "/plain")
    await app.state.cachemw.cache.set("user:1", {"name": "Ada"}, "1m", tags=["user:1"])
    everything = await listing(store)
    assert everything.is_whole
    assert [(one.kind.value, one.name, one.state.value) for one in everything.items] == [
        ("response", "/about", "fresh"),
        ("response", "/feed", "fresh"),
        ("response", "/products/3?b=1&a=2", "fresh"),
        ("response", "/products/4", "fresh"),
        ("value", "user:1", "fresh"),
    ]
    assert await names(store, name="/products/*") == ["/products/3?b=1&a=2", "/products/4"]
    assert await names(store, tag="product:4") == ["/products/4"]
    assert await names(store, route="/about") == ["/about"]
    assert await names(store, namespace="feed") == ["/feed"]
    assert await names(store, kind=Kind.VALUE) == ["user:1"]
    assert await names(store, kind=Kind.VALUE, name="nobody:*") == []
    about = everything.items[0]
    assert (about.status, about.route) == (200, "/about")
    assert 0 <= about.age < 60
    assert 3500 < about.fresh <= 3600
    assert abs(about.left - about.fresh) < 2  # both count down, read one after the other
    assert 2500 < about.size < 3000


async def test_states_are_what_a_request_would_meet(app: Starlette, store: Store) -> None:
    cache = app.state.cachemw.cache
    await visit(app, *(f"/products/{number}" for number in range(1, 6)))
    await cache.purge(tags=["product:1"])
    await cache.purge(tags=["product:2"], soft=True)
    await cache.purge(url="/products/3")
    await cache.purge(url="/products/4", soft=True)
    found = {one.name: one for one in (await listing(store)).items}
    assert {name[-1]: one.state.value for name, one in found.items()} == {
        **{"1": "purged", "2": "soft-purged", "3": "purged", "4": "soft-purged", "5": "fresh"}
    }
    assert found["/products/1"].because == ("product:1",)
    assert found["/products/2"].because == ("product:2",)
    assert found["/products/3"].because[0] == "its URL"
    assert found["/products/4"].because == ("its URL",)
    assert await names(store, state=State.FRESH) == ["/products/5"]


async def test_a_variant_of_a_former_signpost_is_purged(app: Starlette, store: Store) -> None:
    await visit(app, "/products/3", accept_language="de")
    await app.state.cachemw.cache.purge(url="/products/3")
    await visit(app, "/products/3", accept_language="fr")
    states = sorted(one.state.value for one in (await listing(store)).items)
    assert states == ["fresh", "purged"]


async def test_a_stamp_that_was_evicted_is_named(app: Starlette, store: Store) -> None:
    await visit(app, "/products/3")
    gone = [key async for batch in store.scan(b"t:*product:3") for key in batch]
    assert await store.delete(gone) == 1
    (one,) = (await listing(store)).items
    assert one.state is State.PURGED
    assert one.because == ("product:3 (its stamp is gone)",)


async def test_what_is_stale_says_since_when() -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    app = shop(store)
    await visit(app, "/products/3")
    await app.state.cachemw.cache.set("k", 1, "10s", stale_while_revalidate="5m")
    clock.advance(70)
    response, value = (await listing(store)).items
    assert (response.state, round(response.fresh), round(response.age)) == (State.STALE, -10, 70)
    assert (value.state, round(value.fresh), round(value.age)) == (State.STALE, -60, 70)


async def test_a_name_leads_to_all_its_variants(app: Starlette, store: Store) -> None:
    for language in ("de", "fr"):
        await visit(app, "/products/3", accept_language=language)
    await Client(app, host="other.example").get("/products/3")
    found = await named(store, "/products/3")
    assert sorted(one.kind.value for one in found) == [*["response"] * 3, *["signpost"] * 2]
    only = await named(store, "http://other.example/products/3")
    assert [one.kind for one in only] == [Kind.SIGNPOST, Kind.RESPONSE]
    assert only[0].varies == ("accept-language",)
    assert [one.key for one in await named(store, only[1].key)] == [only[1].key]
    assert await named(store, "/products/9") == ()
    await app.state.cachemw.cache.set("user:1", 1, "1m")
    assert [one.key for one in await named(store, "user:1")] == ["d:{user:1}"]


async def test_a_policy_says_which_parameters_count(app: Starlette, store: Store) -> None:
    await visit(app, "/about?a=1")
    policy_of = CachedApp.of(app).policy_of
    assert len(await named(store, "/about?a=1", policies=policy_of)) == 1
    assert await named(store, "/about", policies=policy_of) == ()


async def test_all_of_one_thing_is_decoded(app: Starlette, store: Store) -> None:
    await visit(app, "/products/3")
    (one,) = (await listing(store)).items
    assert one.size < 500  # compressed
    whole = await content(store, one.key)
    assert whole is not None
    assert (whole.stored.name, whole.body) == ("/products/3", b"page " * 500)
    assert (b"content-type", b"text/plain; charset=utf-8") in whole.headers
    await app.state.cachemw.cache.set("user:1", {"name": "Ada"}, "1m")
    value = await content(store, "d:{user:1}")
    assert value is not None
    assert value.value == {"name": "Ada"}
    assert await content(store, "d:{nobody}") is None


async def test_refusals_are_there_for_those_who_ask(app: Starlette, store: Store) -> None:
    await visit(app, "/about?_cache-control=no-store")
    assert await names(store) == []
    (refusal,) = (await listing(store, Filter(kind=Kind.REFUSAL))).items
    assert refusal.because == ("no-store",)
    assert await content(store, refusal.key) is not None


async def test_a_walk_is_bounded(app: Starlette, store: Store) -> None:
    await app.state.cachemw.cache.set_many({f"k{n}": n for n in range(30)}, "1m")
    some = await listing(store, most=10)
    assert (len(some.items), some.is_whole) == (10, False)
    exactly = await listing(store, most=30)
    assert (len(exactly.items), exactly.is_whole) == (30, True)
    assert not (await listing(store, Filter(name="none"), look_at=5)).is_whole


async def test_long_headers_are_read_to_their_end(app: Starlette, store: Store) -> None:
    await visit(app, "/about?_x-long=" + "a" * 6000)
    (one,) = (await listing(store)).items
    assert (one.kind, one.state, one.status) == (Kind.RESPONSE, State.FRESH, 200)
    assert len(one.name) == 200


async def test_garbage_is_shown_as_such(valkey_url: str, opened: Opener) -> None:
    store = opened(valkey_url)
    await store.ask("SET", "cmw:e:{stray}", "0123456789")
    await store.ask("HSET", "cmw:d:{wide}", "f", "v")
    await store.set(b"e:{other}", b"no entry", ttl=60_000)
    found = (await listing(store, Filter(kind=Kind.RESPONSE))).items
    assert {(one.key, one.because) for one in found} == {
        ("e:{other}", ("it cannot be read",)),
        ("e:{stray}", ("it cannot be read",)),
    }
    assert await content(store, "e:{stray}") is None


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_a_cluster_is_listed_as_a_whole(cluster: Cluster, opened: Opener) -> None:
    store = opened(cluster.url)
    app = shop(store)
    await visit(app, *(f"/products/{number}" for number in range(9)))
    await app.state.cachemw.cache.purge(tags=["product:7"])
    found = (await listing(store)).items
    assert [one.name for one in found] == [f"/products/{number}" for number in range(9)]
    assert [one.name for one in found if one.state is State.PURGED] == ["/products/7"]
    assert len(await named(store, "/products/3")) == 2
