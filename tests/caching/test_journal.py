"""The journal: notes are all found, in order, and a reader always hears when one is missing."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cachemw.caching.journal import Journal, noted
from cachemw.caching.notes import (
    FOLLOW,
    JOURNAL,
    LIVES,
    NAMES,
    NOTE,
    Gap,
    News,
    What,
    read_on,
    read_position,
)
from cachemw.errors import ConfigurationError
from cachemw.scripts import Reply
from cachemw.stores import open_store
from cachemw.stores.base import Store, together
from cachemw.stores.memory import MemoryStore
from tests.conftest import SharedServer
from tests.servers import ENGINES, VALKEY, Server

pytestmark = pytest.mark.anyio
KEY = "cmw:" + JOURNAL.decode()


@pytest.fixture(params=["memory", *ENGINES])
async def store(
    request: pytest.FixtureRequest, shared_server: SharedServer
) -> AsyncIterator[Store]:
    url = "memory://" if request.param == "memory" else shared_server(request.param).url
    store = open_store(url if url == "memory://" else url + "?deadline=5s")
    yield store
    await store.aclose()


@pytest.fixture
def valkey(shared_server: SharedServer) -> Server:
    """The server of `on_valkey`, to be asked."""
    return shared_server(VALKEY)


@pytest.fixture
async def on_valkey(valkey: Server) -> AsyncIterator[Store]:
    store = open_store(valkey.url + "?deadline=5s")
    yield store
    await store.aclose()


async def begin(journal: Journal) -> bytes:
    """A position from which a reader goes on."""
    found = await journal.read(b"", 10)
    assert isinstance(found, Gap)
    assert await journal.read(found.position, 10) == News((), found.position)
    return found.position


async def purge(journal: Journal, *names: bytes, what: What = What.TAGS) -> bytes:
    """Note a purge; the id of its last note."""
    last = (await together(journal.note(what, names)))[-1]
    assert isinstance(last, bytes)
    return last


# --- reading on


async def test_every_note_is_found_in_order(store: Store) -> None:
    journal = Journal(store, "eu")
    position = await begin(journal)
    await together(journal.note(What.TAGS, [b"a", b"b"]))
    await together(journal.note(What.KEY, [b"user:1"], soft=True))
    last = await purge(journal, b"/p", b"q=1", what=What.URL)
    found = await journal.read(position, 10)
    assert isinstance(found, News)
    assert [(note.what, note.names, note.soft, note.region) for note in found.notes] == [
        (What.TAGS, (b"a", b"b"), False, "eu"),
        (What.KEY, (b"user:1",), True, "eu"),
        (What.URL, (b"/p", b"q=1"), False, "eu"),
    ]
    assert found.position == found.notes[-1].id == last
    assert await journal.read(found.position, 10) == News((), last)


async def test_a_long_journal_is_read_in_parts(store: Store) -> None:
    journal = Journal(store, "eu")
    position, seen = await begin(journal), []
    for number in range(7):
        await purge(journal, b"%d" % number)
    while isinstance(found := await journal.read(position, 3), News) and found.notes:
        assert len(found.notes) <= 3
        seen += [note.names[0] for note in found.notes]
        position = found.position
    assert seen == [b"%d" % number for number in range(7)]


async def test_many_names_become_several_notes(store: Store) -> None:
    journal = Journal(store, "eu")
    position = await begin(journal)
    names = [b"%d" % number for number in range(2 * NAMES + 1)]
    await purge(journal, *names)
    found = await journal.read(position, 10)
    assert isinstance(found, News)
    assert [len(note.names) for note in found.notes] == [NAMES, NAMES, 1]
    assert [name for note in found.notes for name in note.names] == names


async def test_notes_say_when_they_were_written(store: Store) -> None:
    journal = Journal(store, "eu")
    position, before = await begin(journal), await store.time()
    await purge(journal, b"a")
    found = await journal.read(position, 10)
    assert isinstance(found, News)
    assert before - 1000 <= found.notes[0].written <= await store.time()


async def test_without_a_journal_nothing_is_noted() -> None:
    assert noted(None, What.TAGS, [b"a"]) == []


async def test_a_region_has_a_name() -> None:
    with pytest.raises(ConfigurationError, match="eu-west"):
        Journal(MemoryStore(), "")


# --- gaps


async def test_a_first_reader_knows_nothing_of_before(store: Store) -> None:
    journal = Journal(store, "eu")
    last = await purge(journal, b"a")
    assert await journal.read(b"", 10) == Gap("no position is remembered", last)


async def test_a_trimmed_journal_is_a_gap(store: Store) -> None:
    journal = Journal(store, "eu", most=10)
    position = await begin(journal)
    for number in range(300):  # servers trim by the hundred
        last = await purge(journal, b"%d" % number)
    assert await journal.read(position, 10) == Gap("notes are missing", last)
    assert await journal.read(last, 10) == News((), last)


async def test_a_reader_just_behind_the_trimming_misses_nothing(store: Store) -> None:
    journal = Journal(store, "eu", most=10)
    position = await begin(journal)
    for number in range(300):
        await purge(journal, b"%d" % number)
        found = await journal.read(position, 10)
        assert isinstance(found, News)
        assert [note.names for note in found.notes] == [(b"%d" % number,)]
        position = found.position


@pytest.mark.parametrize("then", [0, 1, 3])
async def test_a_lost_journal_is_a_gap(store: Store, then: int) -> None:
    journal = Journal(store, "eu")
    await begin(journal)
    position = await purge(journal, b"a")
    await store.delete([JOURNAL])
    for _ in range(then):
        await purge(journal, b"b")
    assert isinstance(await journal.read(position, 10), Gap)


async def test_a_journal_that_is_lost_before_its_first_purge_is_a_gap(store: Store) -> None:
    journal = Journal(store, "eu")
    position = await begin(journal)
    await purge(journal, b"lost")
    await store.delete([JOURNAL])
    assert isinstance(await journal.read(position, 10), Gap)


@pytest.mark.parametrize("then", [0, 1, 3])
async def test_a_server_that_fell_behind_is_a_gap(
    on_valkey: Store, valkey: Server, then: int
) -> None:
    journal = Journal(on_valkey, "eu")
    await begin(journal)
    await purge(journal, b"a")
    # As it was a note ago: a replica has taken over, or an older snapshot was loaded.
    notes = valkey.ask("XRANGE", KEY, "-", "+")
    position = await purge(journal, b"never seen again")
    valkey.ask("DEL", KEY)
    for id_, fields in notes:
        valkey.ask("XADD", KEY, id_, *fields)
    for _ in range(then):
        await purge(journal, b"b")
    assert isinstance(await journal.read(position, 10), Gap)


async def test_a_note_taken_out_is_a_gap(on_valkey: Store, valkey: Server) -> None:
    journal = Journal(on_valkey, "eu")
    position = await begin(journal)
    await purge(journal, b"a")
    middle = await purge(journal, b"b")
    last = await purge(journal, b"c")
    valkey.ask("XDEL", KEY, middle)
    assert await journal.read(position, 10) == Gap("notes are missing", last)


@pytest.mark.parametrize(
    "fields",
    [
        ["region", "eu", "what", "moods", "name", "a"],  # a word of a later version
        ["region", "eu", "what", "url", "name", "/only-a-path"],
        ["region", b"\xff", "what", "tags", "name", "a"],
        ["region", "eu"],
    ],
)
async def test_a_note_that_cannot_be_read_is_a_gap(
    on_valkey: Store, valkey: Server, fields: list[Any]
) -> None:
    journal = Journal(on_valkey, "eu")
    position = await begin(journal)
    last = valkey.ask("XADD", KEY, "*", "before", position, *fields)
    found = await journal.read(position, 10)
    assert found == Gap("a note cannot be read", last.encode())


async def test_what_is_no_journal_is_replaced(store: Store) -> None:
    journal = Journal(store, "eu")
    position = await begin(journal)
    await store.set(JOURNAL, b"a string", ttl=60_000)
    assert isinstance(await journal.read(position, 10), Gap)
    await store.set(JOURNAL, b"a string", ttl=60_000)
    last = await purge(journal, b"a")
    assert await journal.read(last, 10) == News((), last)


@pytest.mark.parametrize("stored", [None, b"", b"1", b"x-1", b"1-2 ", b"1" * 20 + b"-1"])
def test_a_position_that_cannot_be_read_is_none(stored: bytes | None) -> None:
    assert read_position(stored) == b""
    assert isinstance(read_on(read_position(stored), [b"5-0"]), Gap)


# --- what is kept


async def test_the_journal_ends_when_nobody_writes_or_reads_it(
    on_valkey: Store, valkey: Server
) -> None:
    journal = Journal(on_valkey, "eu")
    position = await begin(journal)
    for use in (journal.read(position, 10), purge(journal, b"a")):
        valkey.ask("PEXPIRE", KEY, 60_000)
        await use
        assert LIVES - 60_000 < int(valkey.ask("PTTL", KEY)) <= LIVES


async def test_lua_and_twins_agree(redis_url: str) -> None:
    server, memory = open_store(redis_url + "?deadline=5s"), MemoryStore()
    # The number of a note stands for its id, which is the store's own.
    ids: list[tuple[bytes, bytes]] = []

    async def both(script: Any, *args: bytes | tuple[bytes, bytes]) -> list[Any]:
        replies = []
        for side, store in enumerate((server, memory)):
            own = [arg if isinstance(arg, bytes) else arg[side] for arg in args]
            replies.append(await store.run(script, (JOURNAL,), own))
        return replies

    def numbered(reply: Reply, side: int) -> Any:
        if isinstance(reply, list):
            return [numbered(part, side) for part in reply]
        known = {pair[side]: number for number, pair in enumerate(ids)}
        return known.get(reply, reply) if isinstance(reply, bytes) else reply

    async def follow(position: bytes | tuple[bytes, bytes], most: bytes) -> None:
        replies = await both(FOLLOW, position, most, b"60000", b"7", b"eu", b"beginning")
        if not ids:
            ids.append((replies[0][0], replies[1][0]))
        on_server, in_memory = (numbered(reply, side) for side, reply in enumerate(replies))
        assert on_server == in_memory

    await follow(b"", b"10")
    for number in range(40):
        names = [b"n%d" % part for part in range(number % 3)]
        on_server, in_memory = await both(NOTE, b"100", b"60000", b"7", b"eu", b"tags", *names)
        ids.append((on_server, in_memory))
        await follow(ids[number // 2], b"7")
        await follow(ids[-1], b"7")
    assert len({pair[0] for pair in ids}) == len({pair[1] for pair in ids}) == 41
    await server.aclose()


@pytest.mark.parametrize("script", [NOTE, FOLLOW], ids=["note", "follow"])
def test_every_script_says_why_it_is_atomic(script: Any) -> None:
    assert script.lua.startswith("--") and "Atomic because" in script.lua
