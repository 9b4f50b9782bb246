"""The chaos store does what its plan says, and our features bear all of it."""

import asyncio
import random

import pytest

from cachemw.caching.cache import Cache
from cachemw.errors import StoreUnavailable
from cachemw.ratelimit.identity import Identity
from cachemw.ratelimit.rule import RateLimit
from cachemw.stores import MemoryStore
from cachemw.testing import STORE_CHECKS, ChaosStore, FakeClock, Mischief, at
from cachemw.testing.stores import Check
from tests.caching.caches import FRESH, cached

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
async def test_without_mischief_it_is_a_store_like_any_other(check: Check) -> None:
    await check(ChaosStore(MemoryStore()))


async def test_what_fails_is_not_done_and_what_is_lost_is() -> None:
    store = ChaosStore(MemoryStore(), plan=[Mischief.FAIL, Mischief.LOSE])
    for key in (b"failed", b"lost"):
        with pytest.raises(StoreUnavailable):
            await store.set(key, b"v", ttl=60_000)
    assert await store.get_many([b"failed", b"lost"]) == [None, b"v"]
    assert store.happened == {"fail": 1, "lose": 1, "none": 1}


async def test_a_lie_is_about_what_is_read() -> None:
    store = ChaosStore(MemoryStore(), plan=at(2, Mischief.LIE))
    await store.set(b"k", b"v", ttl=60_000)
    assert [await store.get(b"k") for _ in range(2)] == [None, b"v"]
    store = ChaosStore(MemoryStore(), plan=[Mischief.LIE])
    assert await store.time() > 0


async def test_a_delay_passes_as_the_test_says() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    store = ChaosStore(MemoryStore(), plan=[Mischief.DELAY], late=2.0, sleep=sleep)
    assert await store.get(b"k") is None
    assert len(slept) == 1 and 0 <= slept[0] <= 2.0


async def test_who_is_cancelled_hears_so_and_it_is_done() -> None:
    store = ChaosStore(MemoryStore(), plan=[Mischief.CANCEL])

    async def write() -> None:
        await store.set(b"k", b"v", ttl=60_000)

    writing = asyncio.create_task(write())
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await store.get(b"k") == b"v"


async def test_the_same_seed_is_the_same_day() -> None:
    async def day(seed: int) -> list[str]:
        store = ChaosStore(MemoryStore(), seed=seed, fail=0.3, lie=0.3)
        seen: list[str] = []
        for _ in range(50):
            try:
                seen.append(repr(await store.get(b"k")))
            except StoreUnavailable as error:
                seen.append(error.reason)
        return seen

    assert await day(1) == await day(1) != await day(2)


async def test_calm_and_storm() -> None:
    store = ChaosStore(MemoryStore(), fail=1.0)
    store.calm()
    await store.set(b"k", b"v", ttl=60_000)
    store.storm()
    with pytest.raises(StoreUnavailable):
        await store.get(b"k")


async def test_an_answer_that_nobody_waits_for_harms_nobody() -> None:
    for mischief in Mischief:
        store = ChaosStore(MemoryStore(), plan=[mischief])
        store.get_many([b"k"])  # warnings are errors here


def test_shares_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError):
        ChaosStore(MemoryStore(), fail=0.7, lose=0.7)


# --- our own features, on a hundred bad days


@pytest.mark.parametrize("seed", range(25))
async def test_pages_are_right_whatever_happens(seed: int) -> None:
    """Purged pages do not come back, and no request is failed."""
    clock, chance = FakeClock(), random.Random(seed)
    store = ChaosStore(
        MemoryStore(clock=clock), seed=seed, fail=0.1, lose=0.1, lie=0.1, delay=0.1, late=0.001
    )
    cache = cached(store=store, clock=clock, tags=["shop"], stale_while_revalidate="1m", jitter=0)
    version, oldest = 0, 0
    for _ in range(40):
        cache.origin.answers(f"version {version}", headers=FRESH)
        answers = await asyncio.gather(*(cache.get("/") for _ in range(3)))
        for answer in answers:
            assert answer.status == 200
            assert oldest <= int(answer.body.split()[1]) <= version, store.happened
        if chance.random() < 0.4:
            version += 1
            cache.origin.answers(f"version {version}", headers=FRESH)
            try:
                await cache.keeper.purge_tags([b"shop"])
                oldest = version
            except StoreUnavailable:
                pass  # both are right from now on
        clock.advance(chance.choice(["0s", "1s", "61s"]))
    await cache.settle()
    cache.keeper.owed.forget()
    assert store.happened["fail"] and store.happened["lose"]


@pytest.mark.parametrize("seed", range(10))
async def test_a_closed_limit_never_lets_in_more(seed: int) -> None:
    store = ChaosStore(MemoryStore(), seed=seed, fail=0.2, lose=0.2)
    rule = RateLimit("10/day", name="r", on_outage="closed").bind(store)
    who = Identity("ip", "somebody")
    verdicts = [await rule.hit(who) for _ in range(60)]
    let_in = sum(verdict.allowed for verdict in verdicts)
    assert let_in <= 10 <= let_in + store.happened["lose"]


@pytest.mark.parametrize("seed", range(10))
async def test_values_are_right_or_loaded(seed: int) -> None:
    store = ChaosStore(MemoryStore(), seed=seed, fail=0.2, lose=0.2, lie=0.2)
    cache = Cache(store)

    async def load() -> str:
        return "v"

    for number in range(30):
        assert await cache.get_or_set(f"k{number % 3}", load, "1m") == "v"
    await cache.aclose()
