"""The bytes of a record: old ones stay readable, and no others are ever taken for one."""

import contextlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching import entry
from cachemw.caching.compression import Compression
from cachemw.caching.entry import (
    Entry,
    EntryHeader,
    Record,
    Refusal,
    Signpost,
    is_entry,
    lead_of,
    pack,
    unpack,
    unpack_beginning,
)
from cachemw.caching.reasons import Reason
from cachemw.errors import UnreadableEntry

GOLDEN = Path(__file__).parents[1] / "golden"

HEADER = EntryHeader(
    status=200,
    headers=((b"content-type", b"text/plain"), (b"link", b"<a>"), (b"link", b"<b>")),
    born=1_700_000_000_000_001,
    received=1_700_000_000_250_000,
    initial_age=1.5,
    fresh=60.0,
    stale_while_revalidate=30.0,
    stale_if_error=3600.0,
    may_be_stale=True,
    immutable=False,
    tags=(b"@route:/x", b"shop"),
    has_own_etag=True,
    has_own_lifetime=False,
    target=b"/x?page=2",
)


def with_field(name: bytes, value: bytes) -> EntryHeader:
    return msgspec.structs.replace(HEADER, headers=((name, value), *HEADER.headers))


RECORDS: dict[str, tuple[Record, Compression | None]] = {
    "entry": (Entry(with_field(b"content-length", b"5"), b"hello"), None),
    "variant": (Entry(with_field(b"content-length", b"0"), b"", True, b"\1\2\3\4\5\6\7\xff"), None),
    "deflated": (Entry(HEADER, b"hello " * 1000), "zlib"),
    "zstd": (Entry(HEADER, b"hello " * 1000), "zstd"),
    "signpost": (Signpost((b"accept", b"accept-language"), b"ABCDEFGH"), None),
    "softened": (Signpost((b"accept",), b"ABCDEFGH", 1_700_000_000_000_000), None),
    "refusal": (Refusal(Reason.SET_COOKIE), None),
}


@pytest.mark.parametrize("name", RECORDS)
def test_what_version_2_has_written_stays_readable(name: str) -> None:
    record, _ = RECORDS[name]
    assert unpack((GOLDEN / f"{name}.bin").read_bytes()) == record


def test_the_beginning_of_an_entry_tells_of_it_without_its_body() -> None:
    packed = pack(Entry(HEADER, b"hello " * 1000, True), "zlib")
    looked_at = unpack_beginning(packed[:-5])
    assert isinstance(looked_at, Entry)
    assert looked_at.header == HEADER and looked_at.is_soft
    with pytest.raises(UnreadableEntry):
        unpack_beginning(packed[:40])


def test_what_version_1_has_written_is_unreadable() -> None:
    with pytest.raises(UnreadableEntry, match="version 2"):
        unpack((GOLDEN / "version1.bin").read_bytes())


def test_the_length_of_a_body_is_kept_once() -> None:
    said = with_field(b"content-length", b"5")
    packed = pack(Entry(said, b"hello"))
    assert b"content-length" not in packed
    assert unpack(packed) == Entry(said, b"hello")


def test_a_length_that_the_app_did_not_say_is_known_all_the_same() -> None:
    found = unpack(pack(Entry(HEADER, b"")))
    assert found == Entry(with_field(b"content-length", b"0"), b"")


def test_the_length_of_a_body_that_is_compressed_is_said() -> None:
    """Its size is another, and pages that were met go by what stands before the body."""
    said = Entry(with_field(b"content-length", b"6000"), b"hello " * 1000)
    packed = pack(said, "zlib")
    assert unpack(packed) == said
    assert b"6000" in lead_of(packed)


def test_a_response_that_may_have_no_length_is_given_none() -> None:
    empty = Entry(msgspec.structs.replace(HEADER, status=204), b"")
    assert unpack(pack(empty)) == empty


def test_another_length_than_that_of_the_body_stays_as_it_is() -> None:
    odd = Entry(with_field(b"content-length", b"+5"), b"hello")
    assert unpack(pack(odd)) == odd


def test_an_entry_says_of_which_signpost_it_is() -> None:
    own, variant = pack(Entry(HEADER, b"")), pack(Entry(HEADER, b"", generation=b"ABCDEFGH"))
    assert is_entry(own) and not is_entry(variant)
    assert variant == own[:1] + b"U" + own[2:6] + bytes((own[6] + 8,)) + b"ABCDEFGH" + own[7:]


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_packed_is_what_the_drawing_shows(name: str) -> None:
    record, compress = RECORDS[name]
    packed = pack(record, compress)
    assert unpack(packed) == record
    assert packed[0] == entry.VERSION
    if compress is None:  # else its bytes are zlib's affair, or zstd's
        assert packed == (GOLDEN / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", RECORDS)
def test_every_beginning_of_a_record_is_unreadable_or_shorter(name: str) -> None:
    packed = (GOLDEN / f"{name}.bin").read_bytes()
    for length in range(len(packed)):
        with contextlib.suppress(UnreadableEntry):
            assert unpack(packed[:length]) != RECORDS[name][0]


@pytest.mark.parametrize("packed", [pack(Entry(HEADER, b"hello")), pack(Entry(HEADER, b""))])
def test_a_body_that_was_cut_or_has_grown_is_unreadable(packed: bytes) -> None:
    for other in (packed[:-1], packed + b"!", packed * 2):
        with pytest.raises(UnreadableEntry):
            unpack(other)


@pytest.mark.parametrize("version", [0, 1, 3, 255])
def test_another_version_is_unreadable(version: int) -> None:
    with pytest.raises(UnreadableEntry):
        unpack(bytes((version,)) + pack(Entry(HEADER, b""))[1:])


@pytest.mark.parametrize(
    "change",
    [{"status": 99}, {"status": 1000}, {"fresh": float("nan")}, {"initial_age": float("inf")}],
    ids=str,
)
def test_numbers_that_no_response_has_are_unreadable(change: dict[str, float]) -> None:
    with pytest.raises(UnreadableEntry):
        unpack(pack(Entry(msgspec.structs.replace(HEADER, **change), b"")))


def read(stored: bytes) -> None:
    try:
        record = unpack(stored)
    except UnreadableEntry:
        return
    assert isinstance(record, Entry | Signpost | Refusal)
    if isinstance(record, Entry):
        assert record.age(record.header.received) == record.header.initial_age
        assert record.lifetime.fresh == record.header.fresh


@given(st.binary(max_size=400))
def test_any_bytes_are_a_record_or_unreadable(stored: bytes) -> None:
    read(stored)


@given(
    st.sampled_from(sorted(RECORDS)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    st.integers(0, 400),
)
def test_a_damaged_record_is_a_record_or_unreadable(
    name: str, damages: list[tuple[int, int]], cut: int
) -> None:
    stored = bytearray((GOLDEN / f"{name}.bin").read_bytes())
    for place, value in damages:
        stored[place % len(stored)] = value
    read(bytes(stored[: len(stored) - cut]))


@given(
    st.sampled_from("EUVR"),
    st.integers(0, 255),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(),
        lambda inner: st.lists(inner, max_size=16),
    ),
)
def test_any_header_is_a_record_or_unreadable(kind: str, flags: int, header: object) -> None:
    encoded = msgspec.msgpack.encode(header)
    encoded = bytes({"E": 4, "U": 12, "V": 8, "R": 0}[kind]) + encoded
    fixed = bytes((entry.VERSION, ord(kind), flags)) + len(encoded).to_bytes(4, "big")
    read(fixed + encoded)
