"""No interleaving of fills, purges, reads, evictions and deaths brings back what was purged.

Every state that a small fleet can get into is visited. Steps are single trips to the store, carried
out by the real twins of the scripts on a real keyspace. The truth is a number in "the database",
which each purger raises before it purges and which a fill reads when its app runs:

    a reader that begins after a purge has returned must not get a number from before that purge

A participant may stop for ever after any step, since no state demands that it goes on. Any of the
keys may be evicted at any moment, as often as `evictions` says.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest

from cachemw.caching.leases import KEEP, LEASE
from cachemw.caching.stamps import ENSURE, PURGE, Standing, mark_key, stamp_key, standing
from cachemw.scripts import SEAL, Script
from cachemw.stores.keyspace import MemoryKeyspace

TAG, BUCKET = b"tag", b"s0"
RECORD, LEASES, MARK, STAMP = b"e:{p}", b"l:{p}", mark_key(BUCKET), stamp_key(TAG)
SEALED = b"." * SEAL
LONG = b"100000000"

Keys = frozenset[tuple[bytes, bytes | tuple[bytes, bytes]]]


class Fill(NamedTuple):
    """One worker that makes the entry. `name` is its token and its claim."""

    name: bytes
    leases_first: bool = True
    ensures: bool = True
    at: str = "lease"
    born: int = 0
    now: int = 0
    made: int = -1
    claim: bytes = b""


class Purge(NamedTuple):
    kind: str
    at: str = "write"
    now: int = 0
    version: int = 0


class Read(NamedTuple):
    record_first: bool
    at: str = "begin"
    floor: int = 0
    record: bytes | None = None
    stamp: bytes | None = None


class State(NamedTuple):
    keys: Keys
    clock: int
    version: int
    floor: int
    evictions: int
    actors: tuple[Fill | Purge | Read, ...]


@dataclass
class Violation(Exception):
    state: State


class World:
    """A keyspace that is put into a state, asked to take a step, and read back."""

    def __init__(self, state: State) -> None:
        self.space = MemoryKeyspace(lambda: 1000.0, max_bytes=1 << 20, max_entries=100)
        for key, value in state.keys:
            if isinstance(value, tuple):
                self.space.hset(key, {value[0]: value[1]})
                self.space.expire(key, 10**8)
            else:
                self.space.set(key, value, 10**8)

    def run(self, script: Script, keys: list[bytes], *args: bytes) -> object:
        return script.twin(self.space, keys, args)

    def keys(self) -> Keys:
        found: list[tuple[bytes, bytes | tuple[bytes, bytes]]] = []
        for key in (RECORD, MARK, STAMP):
            if self.space.exists(key):
                found.append((key, self.space.get(key) or b""))
        found += [(LEASES, pair) for pair in self.space.hgetall(LEASES).items()]
        return frozenset(found)


def step_of_fill(state: State, fill: Fill, world: World) -> tuple[State, list[Fill]]:
    """What a fill does next, and what it may be then."""
    now = b"%d" % fill.now
    match fill.at:
        case "lease":
            taken = world.run(LEASE, [LEASES], b"-", fill.name, LONG)
            if taken != 1:
                return state, []
            return state, [fill._replace(at="time" if fill.leases_first else "run")]
        case "time":
            state = state._replace(clock=state.clock + 1)
            then = "run" if fill.leases_first else "lease"
            return state, [fill._replace(at=then, born=state.clock, now=state.clock)]
        case "run":
            ready = fill._replace(made=state.version)
            if not fill.ensures:
                return state, [ready._replace(at="keep")]
            # KEEP and ENSURE go to different servers: any order.
            return state, [ready._replace(at="keep-ensure"), ready._replace(at="ensure-keep")]
        case "keep-ensure" | "keep":
            value = SEALED + b"%d %d" % (fill.born, fill.made)
            world.run(KEEP, [RECORD, LEASES], b"-", fill.name, LONG, value)
            return state, [fill._replace(at="ensure")] if fill.at == "keep-ensure" else []
        case "ensure-keep" | "ensure":
            claim = fill.claim or fill.name
            there = world.run(ENSURE, [MARK, STAMP], b"0", LONG, LONG, claim, SEALED)
            then = "keep" if fill.at == "ensure-keep" else "done"
            if there == 1:
                return state, [fill._replace(at=then)] if then == "keep" else []
            return state, [fill._replace(at="again-" + then)]
        case "again-keep" | "again-done":
            state = state._replace(clock=state.clock + 1)
            return state, [fill._replace(at="ensure2-" + fill.at[6:], now=state.clock)]
        case _:
            claim = fill.claim or fill.name
            world.run(ENSURE, [MARK, STAMP], now, LONG, LONG, claim, SEALED)
            return state, [fill._replace(at="keep")] if fill.at.endswith("keep") else []


def step_of_purge(state: State, purge: Purge, world: World) -> tuple[State, list[Purge]]:
    match purge.at:
        case "write":
            version = state.version + 1
            then = "time" if purge.kind == "tag" else "purge"
            return state._replace(version=version), [purge._replace(at=then, version=version)]
        case "time":
            state = state._replace(clock=state.clock + 1)
            return state, [purge._replace(at="purge", now=state.clock)]
        case _:
            if purge.kind == "tag":
                now = b"%d" % purge.now
                world.run(PURGE, [MARK, STAMP], now, b"0", LONG, LONG, SEALED)
            else:
                world.space.delete(RECORD)
                world.space.delete(LEASES)
            return state._replace(floor=max(state.floor, purge.version)), []


def step_of_read(state: State, read: Read, world: World) -> tuple[State, list[Read]]:
    """The record and the stamp are on different servers: either may be read first."""
    match read.at:
        case "begin":
            then = "record" if read.record_first else "stamp"
            return state, [read._replace(at=then, floor=state.floor)]
        case "record":
            read = read._replace(record=world.space.get(RECORD))
            then = "stamp" if read.record_first else "end"
        case _:
            read = read._replace(stamp=world.space.get(STAMP))
            then = "end" if read.record_first else "record"
    if then != "end":
        return state, [read._replace(at=then)]
    if read.record is not None:
        born, made = map(int, read.record[SEAL:].split())
        stamps = {TAG: None if read.stamp is None else read.stamp[SEAL:]}
        if standing(born, (TAG,), stamps) is not Standing.GONE and made < read.floor:
            raise Violation(state)
    return state, []


def successors(state: State) -> Iterator[State]:
    for place, actor in enumerate(state.actors):
        world = World(state)
        others = state.actors[:place], state.actors[place + 1 :]
        after: State
        become: list[Fill] | list[Purge] | list[Read]
        if isinstance(actor, Fill):
            after, become = step_of_fill(state, actor, world)
        elif isinstance(actor, Purge):
            after, become = step_of_purge(state, actor, world)
        else:
            after, become = step_of_read(state, actor, world)
        keys = world.keys()
        for one in become:
            yield after._replace(keys=keys, actors=(*others[0], one, *others[1]))
        if not become:
            yield after._replace(keys=keys, actors=(*others[0], *others[1]))
    if state.evictions:
        for pair in state.keys:
            yield state._replace(keys=state.keys - {pair}, evictions=state.evictions - 1)


def explore(*actors: Fill | Purge | Read, evictions: int, marked: bool = True) -> int:
    """Visit every state; how many there were."""
    keys: Keys = frozenset({(MARK, b"1")}) if marked else frozenset()
    first = State(keys, 1, 0, 0, evictions, actors)
    seen, open_ends = {first}, [first]
    while open_ends:
        for state in successors(open_ends.pop()):
            if state not in seen:
                seen.add(state)
                open_ends.append(state)
    return len(seen)


READS = [Read(True), Read(False)]


@pytest.mark.parametrize("read", READS, ids=["record first", "stamp first"])
@pytest.mark.parametrize("kind", ["tag", "url"])
@pytest.mark.parametrize("evictions", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_two_fills_and_a_purge(evictions: int, kind: str, read: Read) -> None:
    count = explore(Fill(b"a"), Fill(b"b"), Purge(kind), read, evictions=evictions)
    print(f"{count} states")
    assert count > 1000


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("kind", ["tag", "url"])
def test_a_fill_and_a_purge_and_anything_evicted(kind: str, marked: bool) -> None:
    count = explore(Fill(b"a"), Purge(kind), Read(True), evictions=3, marked=marked)
    print(f"{count} states")
    assert count > 1000


def test_a_fill_that_asks_for_the_time_first() -> None:
    late = Fill(b"a", leases_first=False, at="time")
    assert explore(late, Purge("tag"), Purge("url"), Read(True), evictions=1) > 1000


@pytest.mark.parametrize("kind", ["tag", "url"])
def test_a_fill_that_takes_the_stamp_for_being_there(kind: str) -> None:
    trusting = Fill(b"b", leases_first=False, ensures=False, at="time")
    assert explore(Fill(b"a"), trusting, Purge(kind), Read(True), evictions=0) > 1000
    assert explore(trusting, Purge(kind), Read(True), evictions=2) > 100


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("tag", "tag"), ("tag", "url")])
def test_two_fills_and_two_purges(kinds: tuple[str, str]) -> None:
    purges = [Purge(kind) for kind in kinds]
    count = explore(Fill(b"a"), Fill(b"b"), *purges, Read(True), evictions=0)
    print(f"{count} states")
    assert count > 10_000


# --- the model finds what is wrong when something is


def test_a_claim_serves_only_who_made_it() -> None:
    """A fill that is older than a purge which nobody remembers must not put up a mark from before
    it under somebody else's claim: the next one would take it for the last purge there was."""
    world = World(State(frozenset(), 0, 0, 0, 0, ()))
    ensure = [MARK, STAMP]
    assert world.run(ENSURE, ensure, b"200", LONG, LONG, b"a", SEALED) == 0
    # The purge was at 150, its mark and its stamp were evicted. These two began before it.
    assert world.run(ENSURE, ensure, b"100", LONG, LONG, b"b", SEALED) == 0
    assert world.run(ENSURE, ensure, b"120", LONG, LONG, b"c", SEALED) == 0
    assert world.space.get(STAMP) is None
    assert world.run(ENSURE, ensure, b"210", LONG, LONG, b"a", SEALED) == 1
    assert world.run(ENSURE, ensure, b"120", LONG, LONG, b"c", SEALED) == 1
    stamps = {TAG: (world.space.get(STAMP) or b"")[SEAL:]}
    assert standing(120, (TAG,), stamps) is Standing.GONE


Twin = Callable[..., object]


@pytest.mark.parametrize("wrong", ["younger stamps", "no lease", "forgetful purge"])
def test_a_wrong_twin_is_found_out(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure, keep = ENSURE.twin, KEEP.twin

    def trusting(space: MemoryKeyspace, keys: list[bytes], args: list[bytes]) -> object:
        space.set(MARK, b"1", 1000)  # as if there never were a purge
        return ensure(space, keys, args)

    def careless(space: MemoryKeyspace, keys: list[bytes], args: list[bytes]) -> object:
        space.hset(LEASES, {b"-": args[1] + b" 1"})
        space.expire(LEASES, 1000)
        return keep(space, keys, args)

    def forgetful(space: MemoryKeyspace, keys: list[bytes], args: list[bytes]) -> object:
        return 1

    names: dict[str, tuple[str, Twin]] = {
        "younger stamps": ("ENSURE", trusting),
        "no lease": ("KEEP", careless),
        "forgetful purge": ("PURGE", forgetful),
    }
    name, twin = names[wrong]
    monkeypatch.setitem(globals(), name, replace(globals()[name], twin=twin))
    kind = "url" if wrong == "no lease" else "tag"
    with pytest.raises(Violation):
        explore(Fill(b"a"), Purge(kind), Read(True), evictions=1)
