"""What limits have counted, and whose count begins anew: for operators, over the whole store.

The store knows clients by a digest only, so that nobody can read addresses or keys from it. Who
knows a client finds its count; a list shows digests.
"""

import re
from dataclasses import dataclass

from cachemw.ratelimit.identity import Identity, client_ip
from cachemw.stores.base import Store
from cachemw.stores.look import Sight, look

AT_ONCE = 200
_KEY = re.compile(rb"rl:\{([0-9a-f]{32})\}:(.+):(block|[fs]\d+)")
_TAG = re.compile(r"[0-9a-f]{32}")
_COUNT = re.compile(rb"(\d{1,15})(?: \d{1,15})?")


@dataclass(frozen=True, slots=True)
class Counter:
    """One window of one client under one rule, or its block."""

    client: str
    """The digest of who is limited."""
    rule: str
    """Its name; of a rule without one, a digest of its place that begins with `~`."""
    window: float
    """Seconds that it counts over; 0 for a block."""
    count: int
    left: float
    """Seconds until it begins anew."""

    @property
    def is_block(self) -> bool:
        return not self.window


async def busiest(
    store: Store, client: str = "*", *, most: int = 20, look_at: int = 50_000
) -> list[Counter]:
    """Blocks first, then the largest counts, among the first `look_at` keys of limits; or those of
    one client, by its digest."""
    found: dict[bytes, Counter] = {}
    looked_at = 0
    async for batch in store.scan(b"rl:{%b}:*" % client.encode("ascii", "replace")):
        for start in range(0, len(batch), AT_ONCE):
            keys = batch[start : start + AT_ONCE]
            looked_at += len(keys)
            read = ((sight.key, _counter(sight)) for sight in await look(store, keys, 64))
            found.update((key, counter) for key, counter in read if counter is not None)
        if looked_at >= look_at:
            break
    return sorted(found.values(), key=lambda one: (not one.is_block, -one.count))[:most]


def digest_of(client: str, by: str = "ip") -> str:
    """The digest of a client: an address, or what another `by` of a rule told it apart by.

    `by` is a rule's kind of identity: `ip`, `header:x-api-key`, `subject:user_id`. A digest, as
    `busiest` lists it, stands for itself.
    """
    if _TAG.fullmatch(client):
        return client
    value = client_ip.canonical(client) if by == client_ip.kind else client
    return Identity(by, value).tag.decode()


async def forget(store: Store, digest: str, rule: str = "") -> int:
    """Let a client's counts begin anew, and end its blocks. How many there were.

    Workers remember a refusal for up to ten seconds. Raises `StoreUnavailable`.
    """
    count = 0
    async for batch in store.scan(b"rl:{%b}:*" % digest.encode("ascii", "replace")):
        found = ((key, _KEY.fullmatch(key)) for key in batch)
        keys = [key for key, match in found if match and rule in ("", match[2].decode())]
        count += await store.delete(keys)
    return count


def _counter(sight: Sight) -> Counter | None:
    match, counted = _KEY.fullmatch(sight.key), _COUNT.fullmatch(sight.begins)
    if match is None or counted is None:
        return None
    client, rule, window = (part.decode("utf-8", "backslashreplace") for part in match.groups())
    span = 0.0 if window == "block" else int(window[1:]) / 1000
    return Counter(client, rule, span, int(counted[1]), max(0, sight.lives) / 1000)
