"""Looking at some of our own keys: how they end, how large they are."""

from collections.abc import Iterator, Sequence

from cachemw.doctor.finding import Finding, Severity
from cachemw.doctor.memory import size_words
from cachemw.stores.base import Store
from cachemw.stores.look import Sight, look

SAMPLE = 500  # keys
BIG = 1 << 20  # bytes
MANY = 10_000  # fields of one hash
NAMED = 3


async def sample(store: Store, most: int = SAMPLE) -> list[Sight]:
    """Some keys of ours. Raises `StoreUnavailable`."""
    seen: list[Sight] = []
    async for batch in store.scan(b"*"):
        seen += await look(store, batch[: most - len(seen)])
        if len(seen) >= most:
            break
    return seen


def judge_sample(seen: Sequence[Sight]) -> Iterator[Finding]:
    """What is amiss with some keys of ours."""
    endless = [sight for sight in seen if sight.lives < 0]
    if endless:
        yield Finding(
            Severity.WARNING,
            "expiry",
            f"{len(endless)} of {len(seen)} sampled keys of ours have no expiry, such as "
            f"{_names(endless)}: we write none like that",
            "somebody else writes under our prefix: give each app its own, ?prefix=shop:",
        )
    big = sorted(
        (sight for sight in seen if sight.kind == "string" and sight.length >= BIG),
        key=lambda sight: -sight.length,
    )
    if big:
        yield Finding(
            Severity.NOTICE,
            "size",
            f"{len(big)} of {len(seen)} sampled values are larger than {size_words(BIG)}; the "
            f"largest: {_names(big)}. The server does nothing else while it sends one",
            "compress=True or a smaller max_body in their policies; near_cache for the busy ones",
        )
    wide = [sight for sight in seen if sight.kind == "hash" and sight.length >= MANY]
    if wide:
        yield Finding(
            Severity.NOTICE,
            "size",
            f"{len(wide)} of {len(seen)} sampled hashes have more than {MANY:,} fields: "
            f"{_names(wide)}",
            "fewer sessions for each user (max_sessions), or fewer variants (max_variants)",
        )
    if not endless and not big and not wide:
        yield Finding(Severity.OK, "keys", f"{len(seen)} sampled keys end, and none is too large")


def _names(sights: Sequence[Sight]) -> str:
    return ", ".join(
        f"{sight.key.decode('utf-8', 'backslashreplace')[:80]} ({_extent(sight)})"
        for sight in sights[:NAMED]
    )


def _extent(sight: Sight) -> str:
    if sight.kind == "string":
        return size_words(sight.length)
    return f"{sight.kind}, {sight.length:,} in it"
