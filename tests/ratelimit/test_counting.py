"""The scripts: the same histories on a real server and on the twin, and what broken keys do."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from random import Random

import pytest
import redis.asyncio

from cachemw.ratelimit.counting import ADJUST, ANY, CHARGE, Bucket, numbers_of, readings_of
from cachemw.ratelimit.limits import Limit
from cachemw.ratelimit.window import Algorithm
from cachemw.scripts import Reply
from cachemw.stores.memory import MemoryStore
from cachemw.stores.redis import RedisStore
from tests.ratelimit.apps import Clock

pytestmark = pytest.mark.anyio


@dataclass
class Server:
    """A store on a real server, and a plain client to look at its keys, or to spoil them."""

    store: RedisStore
    client: "redis.asyncio.Redis"


@pytest.fixture
async def server(redis_url: str) -> AsyncIterator[Server]:
    client = redis.asyncio.from_url(redis_url)
    store = RedisStore(client, prefix="", deadline="2s")  # it is about counts, not about time
    yield Server(store, client)
    await store.aclose()
    await client.aclose()


def bucket_of(*limits: Limit, algorithm: Algorithm = "fixed", name: bytes = b"login") -> Bucket:
    return Bucket(b"someone", name, limits, algorithm)


async def charge(
    store: RedisStore | MemoryStore, bucket: Bucket, cost: int = 1, block: int = 0
) -> tuple[bool, list[tuple[int, int, int]]]:
    reply = await store.run(CHARGE, bucket.keys, bucket.charge_args(cost, block))
    admitted, *numbers = numbers_of(reply)
    return bool(admitted), [(one, two, three) for one, two, three in readings_of(numbers)]


LIMITS = (Limit(7, 600_000), Limit(11, 3_600_000))


@pytest.mark.parametrize("algorithm", ["fixed", "sliding"])
@pytest.mark.parametrize("seed", range(4))
async def test_lua_and_twin_tell_the_same_story(
    server: Server, algorithm: Algorithm, seed: int
) -> None:
    """Random histories of charges, refunds and penalties of one client under two rules."""
    random = Random(seed)
    clock = Clock()
    memory = MemoryStore(clock=clock)
    buckets = [
        bucket_of(*LIMITS, algorithm=algorithm),
        bucket_of(LIMITS[1], name=b"other", algorithm="fixed"),
    ]

    async def on_both(script: object, keys: Sequence[bytes], args: Sequence[bytes]) -> None:
        told = []
        for store in (server.store, memory):
            reply: Reply = await store.run(script, keys, args)  # type: ignore[arg-type]
            told.append(rounded(reply))
        assert told[0] == told[1]

    for _ in range(120):
        match random.choice(["charge", "charge", "charge", "adjust", "pass"]):
            case "charge":
                chosen = random.sample(buckets, random.choice([1, 2]))
                block = random.choice([0, 0, 0, 0, 900_000])
                cost = random.choice([0, 1, 1, 2, 5])
                keys = [key for bucket in chosen for key in bucket.keys]
                args = [arg for bucket in chosen for arg in bucket.charge_args(cost, block)]
                await on_both(CHARGE, keys, args)
            case "adjust":
                bucket = random.choice(buckets)
                change = random.choice([-3, -1, 1, 4])
                age = random.choice([-0.93, -0.13, 0.137, 0.613, 1.171, 2.237])  # in windows
                due = None
                if random.random() < 0.7:
                    due = [limit.span - round(limit.span * age) for limit in bucket.limits]
                await on_both(ADJUST, bucket.counter_keys, bucket.adjust_args(change, due))
            case _:
                await both_age(server, memory, clock, random.choice([60_000, 400_000, 2_000_000]))


def rounded(reply: Reply) -> object:
    """Times to live to the nearest ten seconds: the server's clock runs on during the test."""
    if isinstance(reply, int):
        return reply
    admitted, *rest = numbers_of(reply)
    return admitted, [
        (rest[i], rest[i + 1], round(rest[i + 2], -4)) for i in range(0, len(rest), 3)
    ]


async def both_age(server: Server, memory: MemoryStore, clock: Clock, ms: int) -> None:
    """Let time pass: on the server every key is given that much less to live."""
    clock.now += ms / 1000
    for key in await server.client.keys("rl:*"):
        left = await server.client.pttl(key)
        await server.client.pexpire(key, left - ms)  # in the past: the key is gone


@pytest.fixture(params=["fixed", "sliding"])
def algorithm(request: pytest.FixtureRequest) -> Algorithm:
    chosen: Algorithm = request.param
    return chosen


async def test_a_counter_without_a_time_to_live_is_healed(
    server: Server, algorithm: Algorithm
) -> None:
    bucket = bucket_of(Limit(5, 60_000), algorithm=algorithm)
    for _ in range(6):
        await charge(server.store, bucket)
    key = bucket.counter_keys[0]
    await server.client.persist(key)

    assert not (await charge(server.store, bucket))[0]

    assert 0 < await server.client.pttl(key) <= 120_000


async def test_a_time_to_live_that_is_too_long_is_cut(server: Server, algorithm: Algorithm) -> None:
    """As after the server's clock was set back."""
    bucket = bucket_of(Limit(5, 60_000), algorithm=algorithm)
    await charge(server.store, bucket)
    await server.client.pexpire(bucket.counter_keys[0], 999_999_999)

    await charge(server.store, bucket)

    assert await server.client.pttl(bucket.counter_keys[0]) <= 120_000


@pytest.mark.parametrize(
    "garbage", ["a hash", b"garbage", b"", b"-3", b"1e9", b"9" * 30, b"1 2 3", b"01", b"01 2"]
)
async def test_a_key_that_is_no_counter_is_begun_anew(
    server: Server, algorithm: Algorithm, garbage: object
) -> None:
    bucket = bucket_of(Limit(5, 60_000), algorithm=algorithm)
    key = bucket.counter_keys[0]
    if isinstance(garbage, bytes):
        await server.client.set(key, garbage)
    else:
        await server.client.hset(key, "field", "value")

    admitted, (_, counter) = await charge(server.store, bucket)

    assert admitted
    assert counter[0] == 1
    assert 0 < await server.client.pttl(key) <= 120_000


async def test_a_block_that_would_never_end_ends(server: Server) -> None:
    bucket = bucket_of(Limit(5, 60_000))
    await server.client.set(bucket.block_key, b"1")

    assert (await charge(server.store, bucket))[0]

    assert not await server.client.exists(bucket.block_key)


async def test_a_cost_beyond_all_counting_is_refused(server: Server, algorithm: Algorithm) -> None:
    bucket = bucket_of(Limit(5, 60_000), algorithm=algorithm)

    assert not (await charge(server.store, bucket, cost=10**30))[0]
    assert (await charge(server.store, bucket, cost=5))[0]


async def test_a_rejection_charges_nothing(server: Server) -> None:
    narrow, wide = bucket_of(Limit(2, 60_000)), bucket_of(Limit(50, 3_600_000), name=b"wide")
    keys = narrow.keys + wide.keys
    args = narrow.charge_args(1, 0) + wide.charge_args(1, 0)
    for _ in range(10):
        await server.store.run(CHARGE, keys, args)

    assert await server.client.get(narrow.counter_keys[0]) == b"2"
    assert await server.client.get(wide.counter_keys[0]) == b"2"


async def test_windows_begin_with_the_first_hit_of_each_client(server: Server) -> None:
    one, two = bucket_of(Limit(2, 60_000)), Bucket(b"other", b"login", (Limit(2, 60_000),))
    await charge(server.store, one)
    await server.client.pexpire(one.counter_keys[0], 10_000)

    _, (_, (_, _, left_of_one)) = await charge(server.store, one)
    _, (_, (_, _, left_of_two)) = await charge(server.store, two)

    assert left_of_one <= 10_000
    assert left_of_two > 50_000


async def test_a_refund_finds_its_own_window_or_none(server: Server) -> None:
    bucket = bucket_of(Limit(5, 60_000))
    await charge(server.store, bucket, cost=3)

    # Charged to a window that has 20 s left by now: this one is a later one.
    await server.store.run(ADJUST, bucket.counter_keys, bucket.adjust_args(-2, [20_000]))
    assert await server.client.get(bucket.counter_keys[0]) == b"3"

    await server.store.run(ADJUST, bucket.counter_keys, bucket.adjust_args(-2, [59_000]))
    assert await server.client.get(bucket.counter_keys[0]) == b"1"


@pytest.mark.parametrize(
    ("ended", "counts"),
    [(-50_000, b"5 7"), (10_000, b"7 5"), (70_000, b"7 7")],
    ids=["this window", "the one before", "an older one"],
)
async def test_a_sliding_refund_is_taken_from_the_window_that_was_charged(
    server: Server, ended: int, counts: bytes
) -> None:
    bucket = bucket_of(Limit(10, 60_000), algorithm="sliding")
    key = bucket.counter_keys[0]
    await server.client.set(key, b"7 7", px=60_000 + 50_000)

    await server.store.run(ADJUST, bucket.counter_keys, bucket.adjust_args(-2, [-ended]))

    assert await server.client.get(key) == counts


async def test_every_command_leaves_only_keys_that_expire(
    server: Server, algorithm: Algorithm
) -> None:
    """Whatever is killed, wherever: each write of a script brings its own expiry."""
    bucket = bucket_of(Limit(3, 60_000), algorithm=algorithm)
    for cost in (1, 1, 5):
        await charge(server.store, bucket, cost, block=60_000)
    await server.store.run(ADJUST, bucket.counter_keys, bucket.adjust_args(2))
    await server.store.run(ADJUST, [bucket.block_key], [b"block", b"0", b"5000", ANY])

    keys = await server.client.keys("rl:*")

    assert len(keys) == 2
    assert all([await server.client.pttl(key) > 0 for key in keys])


async def test_no_penalty_is_so_high_that_it_is_no_counter(
    server: Server, algorithm: Algorithm
) -> None:
    bucket = bucket_of(Limit(3, 60_000), algorithm=algorithm)
    await server.store.run(ADJUST, bucket.counter_keys, bucket.adjust_args(10**16))
    assert not (await charge(server.store, bucket))[0]
