"""Bodies kept small: what is compressed comes back, and nothing that is damaged becomes huge."""

import contextlib
import subprocess
import sys
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching import compression
from cachemw.caching.compression import Compression, compressed, decompressed
from cachemw.caching.policy import CachePolicy
from cachemw.errors import ConfigurationError, UnreadableEntry
from cachemw.stores import MemoryStore
from tests.caching.caches import cached

WAYS: list[Compression] = ["zlib", "zstd"]
TEXT = b"hello " * 1000
ZSTD: Any = compression.zstd()


@pytest.mark.parametrize("how", WAYS)
def test_what_is_compressed_comes_back(how: Compression) -> None:
    flag, smaller = compressed(TEXT, how)
    assert flag and len(smaller) < len(TEXT) / 10
    assert decompressed(flag, smaller) == TEXT


def test_each_way_has_a_flag_of_its_own() -> None:
    assert {compressed(TEXT, how)[0] for how in WAYS} == {2, 4}
    assert compressed(TEXT, None) == (0, TEXT)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "body", [b"", b"a" * 1023, bytes(i * 7919 % 251 ^ i % 256 for i in range(2000))], ids=len
)
def test_only_what_pays_is_compressed(how: Compression, body: bytes) -> None:
    assert compressed(body, how) == (0, body)


@pytest.mark.parametrize("how", WAYS)
def test_what_could_not_be_read_again_is_not_compressed(
    how: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "MOST", len(TEXT) - 1)
    assert compressed(TEXT, how) == (0, TEXT)
    monkeypatch.setattr(compression, "MOST", len(TEXT))
    flag, smaller = compressed(TEXT, how)
    assert decompressed(flag, smaller) == TEXT


@pytest.mark.parametrize("how", WAYS)
def test_a_small_body_that_wants_to_become_huge_is_unreadable(
    how: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag, bomb = compressed(bytes(1 << 20), how)
    monkeypatch.setattr(compression, "MOST", 1 << 16)
    with pytest.raises(UnreadableEntry):
        decompressed(flag, bomb)


def test_a_frame_that_wants_much_memory_is_unreadable() -> None:
    options = {ZSTD.CompressionParameter.window_log: 27}
    compressor = ZSTD.ZstdCompressor(options=options)
    greedy = compressor.compress(TEXT) + compressor.flush()
    with pytest.raises(UnreadableEntry):
        decompressed(4, greedy)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("damage", ["cut", "more", "noise"])
def test_what_is_damaged_is_unreadable(how: Compression, damage: str) -> None:
    flag, smaller = compressed(TEXT, how)
    body = {"cut": smaller[:-1], "more": smaller + b"x", "noise": b"noise"}[damage]
    with pytest.raises(UnreadableEntry):
        decompressed(flag, body)


def test_two_ways_at_once_are_none() -> None:
    with pytest.raises(UnreadableEntry):
        decompressed(6, zlib.compress(TEXT))


@given(st.sampled_from([2, 4]), st.binary(max_size=200))
def test_any_bytes_are_a_body_or_unreadable(flag: int, body: bytes) -> None:
    with contextlib.suppress(UnreadableEntry):
        assert isinstance(decompressed(flag, body), bytes)


# --- where the extra is not installed


def test_without_the_extra_a_policy_that_wants_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compression, "_zstd", None)
    with pytest.raises(ConfigurationError, match=r"compress: .*pip install 'cachemw\[zstd\]'"):
        CachePolicy(compress="zstd")
    assert CachePolicy(compress=True).compress == "zlib"


@pytest.mark.anyio
async def test_without_the_extra_its_entries_are_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    able, unable = cached(store=store, compress="zstd"), cached(store=store)
    for cache, body in ((able, TEXT), (unable, b"anew")):
        cache.origin.answers(body, headers={"cache-control": "max-age=60"})
    assert (await able.get("/")).is_stored
    assert (await able.get("/")).body == TEXT
    assert (await unable.get("/")).body == TEXT  # any worker reads what one has written
    monkeypatch.setattr(compression, "_zstd", None)
    missed = await unable.get("/")
    assert missed.body == b"anew" and missed.detail == "unreadable"
    assert (await unable.get("/")).cache == "hit"


def test_what_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    assert compression._load() is None


def test_the_package_is_imported_without_it() -> None:
    code = (
        "import sys\n"
        "sys.modules['backports.zstd'] = sys.modules['compression.zstd'] = None\n"
        "from cachemw.caching.compression import zstd\n"
        "assert zstd() is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
