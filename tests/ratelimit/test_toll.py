"""The short way says what the long way says: the same rules, with and without it, side by side."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cachemw.ratelimit.asking import REMEMBERED
from cachemw.ratelimit.counting import Bucket
from cachemw.ratelimit.headers import limit_fields
from cachemw.ratelimit.identity import header
from cachemw.ratelimit.limiter import Limiter, decision_of
from cachemw.ratelimit.limits import Limit
from cachemw.ratelimit.middleware import RateLimitMiddleware
from cachemw.ratelimit.rule import RateLimit
from cachemw.ratelimit.toll import Toll
from cachemw.ratelimit.verdicts import Demand, Verdict, verdict_on
from cachemw.stores.memory import MemoryStore
from cachemw.testing.chaos import ChaosStore, Mischief
from tests.ratelimit.apps import Client, Clock

pytestmark = pytest.mark.anyio

policies = st.sampled_from(["minute", "day", "api-minute"])
limits = st.builds(Limit, st.integers(1, 40), st.sampled_from([1000, 60_000, 86_400_000]))
readings = st.tuples(st.integers(0, 50), st.integers(0, 3), st.integers(0, 90_000_000))
demands = st.lists(st.lists(st.tuples(policies, limits), min_size=1, max_size=3), max_size=3)


@given(demands.filter(bool), st.data())
def test_the_fields_are_those_of_the_verdicts(
    asked: list[list[tuple[str, Limit]]], data: st.DataObject
) -> None:
    toll = Toll(
        [
            Demand(
                label=f"rule-{number}",
                bucket=Bucket(b"tag", b"%d" % number, tuple(limit for _, limit in each)),
                policies=tuple(policy for policy, _ in each),
            )
            for number, each in enumerate(asked)
        ]
    )
    reply = [1]
    verdicts: list[Verdict] = []
    for demand in toll.demands:
        counters = [data.draw(readings) for _ in demand.bucket.limits]
        numbers = [0, 0, 0, *(number for counter in counters for number in counter)]
        reply += numbers
        verdicts.append(verdict_on(demand, True, numbers, "store"))
    standings = decision_of([(verdict, None) for verdict in verdicts]).standings

    fields = toll.fields(reply)

    is_plain = all(
        reply[at] <= limit.quota and reply[at + 1] == 0
        for demand, start in zip(toll.demands, _starts(toll.demands), strict=True)
        for at, limit in zip(range(start, len(reply), 3), demand.bucket.limits, strict=False)
    )
    assert (fields is not None) == is_plain
    assert fields is None or fields == limit_fields(standings)


def _starts(asked: Sequence[Demand]) -> list[int]:
    starts: list[int] = []
    at = 1
    for demand in asked:
        starts.append(at + 3)
        at += 3 + 3 * len(demand.bucket.limits)
    return starts


def test_made_up_methods_are_not_remembered_one_by_one() -> None:
    """They may be long, and there is no end to them."""
    rule = RateLimit("9/minute")
    owner = RateLimitMiddleware(Starlette(), store=MemoryStore(), default=rule)

    def toll(method: str) -> Toll | None:
        peer = ("203.0.113.9", 1)
        scope = {"type": "http", "method": method, "path": "/", "headers": [], "client": peer}
        return owner.toll(scope)

    assert toll("FOO") is not None
    assert toll("X" * 60_000) is toll("FOO")
    assert toll("HEAD") is toll("GET")
    assert toll("POST") is not toll("GET")


def test_clients_of_many_routes_are_not_remembered_for_each_of_them() -> None:
    """Whoever has many addresses, and knows many routes, must not fill a worker with them."""

    def alive() -> Counter[type]:
        gc.collect()
        return Counter(type(each) for each in gc.get_objects())

    before = alive()  # those of other tests
    routes = {f"/{number}": RateLimit("9/minute") for number in range(30)}
    owner = RateLimitMiddleware(Starlette(), store=MemoryStore(), routes=routes)
    for path in routes:
        for number in range(400):
            peer = (f"198.51.{number // 200}.{number % 200}", 1)
            scope = {"type": "http", "method": "GET", "path": path, "headers": [], "client": peer}
            assert owner.toll(scope) is not None
    remembered = alive()
    for kind in (Toll, Demand):
        assert 0 < remembered[kind] - before[kind] <= REMEMBERED


# -- whole apps ------------------------------------------------------------------------------------

Exempt = Callable[[HTTPConnection], bool] | None
Rules = Callable[[Exempt], list[RateLimit]]
KEY = header("x-api-key")

CASES: dict[str, Rules] = {
    "one limit": lambda exempt: [RateLimit("3/minute", exempt=exempt)],
    "three": lambda exempt: [RateLimit("3/10s", "4/minute", "9/day", name="api", exempt=exempt)],
    "two rules": lambda exempt: [
        RateLimit("3/minute", exempt=exempt),
        RateLimit("5/minute", "9/hour", name="b", exempt=exempt),
    ],
    "two of one policy": lambda exempt: [
        RateLimit("3/minute", name="a", exempt=exempt),
        RateLimit("4/minute", name="a-minute", exempt=exempt),
    ],
    "one rule twice": lambda exempt: [RateLimit("3/minute", name="a", exempt=exempt)] * 2,
    "by two": lambda exempt: [
        RateLimit("3/minute", exempt=exempt),
        RateLimit("2/minute", by=KEY, exempt=exempt),
    ],
    "by key": lambda exempt: [RateLimit("3/minute", by=KEY, exempt=exempt)],
    "or nobody": lambda exempt: [RateLimit("3/minute", by=KEY, unknown="exempt", exempt=exempt)],
    "sliding": lambda exempt: [RateLimit("3/minute", "5/hour", algorithm="sliding", exempt=exempt)],
    "cost": lambda exempt: [RateLimit("5/minute", cost=2, exempt=exempt)],
    "block": lambda exempt: [RateLimit("2/10s", block="5m", exempt=exempt)],
    "shadow": lambda exempt: [
        RateLimit("2/minute", shadow=True, exempt=exempt),
        RateLimit("4/minute", exempt=exempt),
    ],
    "tentative": lambda exempt: [
        RateLimit("3/minute", count_when=lambda answered: answered.status_code < 400, exempt=exempt)
    ],
    "closed": lambda exempt: [RateLimit("3/minute", on_outage="closed", exempt=exempt)],
    "local": lambda exempt: [RateLimit("2/minute", on_outage="local", exempt=exempt)],
}


def never(connection: HTTPConnection) -> bool:
    return False


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("inner", [None, "another rule", "the same rule", "all rules"])
async def test_both_ways_answer_alike(case: str, inner: str | None) -> None:
    # A rule that may exempt somebody has something to ask, and so takes the long way.
    short = Side(CASES[case](None), inner)
    long = Side(CASES[case](never), inner)

    for step in STORY:
        assert await short.take(step) == await long.take(step), step

    assert short.store.steps == long.store.steps
    assert short.limiter.counts == long.limiter.counts
    assert short.limiter.store.tally.counts.limits == long.limiter.store.tally.counts.limits


STORY = (
    *("GET /a", "GET /a", "HEAD /a", "POST /a", "7", "GET /b", "GET /a", "GET /a?status=404"),
    *("other GET /a", "GET /a", "GET /a", "MADEUP /a", "nobody GET /a", "3.5", "GET /a"),
    *("fail", "GET /a", "fail", "other GET /a", "lose", "GET /a", "GET /a", "52", "GET /a"),
    *("GET /a", "GET /a?status=500", "GET /b", "400", "GET /a", "OPTIONS /a", "GET /a", "GET /a"),
    *("GET /a", "GET /a", "fail", "GET /a", "GET /a", "4000", "GET /a", "GET /elsewhere"),
)


class Side:
    """An app with these rules, and what its clients see."""

    def __init__(self, rules: list[RateLimit], inner: str | None) -> None:
        self.clock = Clock()
        self.mischief: list[Mischief] = []
        self.store = ChaosStore(MemoryStore(clock=self.clock), plan=self._plan())
        self.limiter = Limiter(self.store, clock=self.clock)
        further_in = {
            "another rule": [RateLimit("4/minute", name="inner")],
            "the same rule": rules[:1],
            "all rules": rules,
        }.get(inner or "", [])

        async def answer(request: Request) -> Response:
            for rule in further_in:
                await rule(request)
            status = int(request.query_params.get("status", 200))
            return PlainTextResponse("done", status, {"ratelimit": "somebody else's"})

        table = {"/a": rules, "/{rest}": rules[:1], "/elsewhere/{rest}": rules}
        if inner == "all rules":  # they stand on the routes only
            table = {}
        limits = Middleware(RateLimitMiddleware, store=self.limiter, routes=table)
        route = Route("/{rest:path}", answer, methods=["GET", "POST", "MADEUP", "OPTIONS"])
        self._app = Starlette(routes=[route], middleware=[limits])

    def _plan(self) -> Iterator[Mischief]:
        while True:
            yield self.mischief.pop() if self.mischief else Mischief.NONE

    async def take(self, step: str) -> object:
        if step in ("fail", "lose"):
            self.mischief.append(Mischief(step))
            return None
        if step[0].isdigit():
            self.clock.sleep(float(step))
            return None
        *who, method, path = step.split()
        address = {"other": "2001:db8::7", "nobody": None}.get(who[0]) if who else "203.0.113.9"
        key = {} if who == ["nobody"] else {"x-api-key": who[0] if who else "mine"}
        answer = await Client(self._app, address).ask(method, path, key)
        return answer.status_code, answer.headers.multi_items(), answer.content
