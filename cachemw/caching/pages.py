"""The short way to a hit: what equal requests before this one have come to.

A busy page is asked for again and again, and nothing about it changes but the time. What the long
way (`exchange.py`) has worked out for it is kept here as a `Page`. It is made by pure functions of

    the address       method, scheme, host, path and query as they came, and the fields that select
                      a variant; no other field has a say under the policy, which is seen to
    what was read     the entry's bytes up to its body, its stamps, the signpost to it

and is used where all of these are the same again, byte for byte. They are looked at for each
request, and so is the clock. Whatever differs, and whatever is rare (stale entries, guards,
identities, a Cache-Control of the client's), takes the long way. That is the definition: what this
file answers is what would have been answered there, to the byte.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from functools import lru_cache
from typing import TypeAlias

from cachemw.caching.compression import decompressed
from cachemw.caching.credentials import is_credential, keeps_users_apart
from cachemw.caching.entry import WITHOUT_LENGTH, Entry, is_entry, lead_of, unpack
from cachemw.caching.policy import CachePolicy
from cachemw.caching.replay import CONDITIONS, Answer, answer
from cachemw.caching.rules import Found
from cachemw.caching.status import CACHE_STATUS, HIT, LARGEST, hit
from cachemw.errors import UnreadableEntry
from cachemw.messages import Header, RequestHead, first_of
from cachemw.telemetry.events import shortened

Address: TypeAlias = tuple[Hashable, ...]
Fields: TypeAlias = Mapping[bytes, bytes]
Values: TypeAlias = list[bytes | None]
Reader: TypeAlias = Callable[[tuple[bytes, ...]], Callable[[], Awaitable[Values]]]
Served: TypeAlias = tuple[float, Answer]
"""An answer, and the age of what it was made of."""

REMEMBERED = 10_000  # pages, of one to two kilobytes each
NAMES = 256  # of fields, for each policy
_SPOKEN_OF = 4096  # values of Age and Cache-Status
_OUTSPOKEN = frozenset(
    {b"cache-control", b"pragma", b"if-match", b"if-unmodified-since", b"upgrade"}
)
"""What a client says to the cache itself. Conditions that it may answer are not among it."""


class Bystanders:
    """The names of fields that have no say in what a policy's pages are, as far as met."""

    def __init__(self, policy: CachePolicy) -> None:
        self.policy = policy
        self.known: set[bytes] = set()
        """They have none in how much of a page is wanted, either: conditions are not among them."""

    def are_all(self, names: Collection[bytes]) -> bool:
        if any(map(self._has_a_say, names)):
            return False
        if len(self.known) >= NAMES:
            self.known.clear()
        self.known.update(names)
        self.known -= CONDITIONS
        return True

    def _has_a_say(self, name: bytes) -> bool:
        if name in _OUTSPOKEN:
            return True
        if self.policy.credentials != "bypass":  # stripped: nobody asks who it is
            return False
        return name == b"cookie" or is_credential(name, self.policy)


class Page:
    """A page as it was answered from the cache."""

    __slots__ = (
        *(
            "_at",
            "_cut",
            "_flags",
            "_fresh",
            "_has_length",
            "_headers",
            "_initial_age",
            "_lead",
            "_others",
            "_received",
            "_rest",
            "_size",
            "_status",
        ),
        *("bystanders", "is_near", "keys", "knows_nobody", "method", "path", "read", "route"),
        "took",
    )

    def __init__(
        self,
        found: Found,
        bystanders: Bystanders,
        method: str,
        path: str,
        route: str,
        reader: Reader,
    ) -> None:
        look, entry = found.look, found.entry
        assert look is not None and entry is not None
        values = look.taken()
        # The entry stands first, or last where a signpost leads to it.
        is_first = is_entry(values[0])
        self._at = 0 if is_first else -1
        self._rest = slice(1, None) if is_first else slice(None, -1)
        self._others = values[self._rest]
        self._lead = lead = lead_of(values[self._at] or b"")
        self._cut, self._flags, self._size = len(lead), lead[2], len(values[self._at] or b"")
        header = entry.header
        self._received, self._initial_age = header.received / 1e6, header.initial_age
        self._fresh, self._status = header.fresh, header.status
        self._headers = tuple(map(_shared, header.headers))
        self._has_length = (
            header.status in WITHOUT_LENGTH
            or first_of(header.headers, b"content-length") is not None
        )
        self.method = method
        self.path = shortened(path)
        self.route = route
        self.took = header.took
        self.keys = look.keys
        self.read = reader(look.keys)
        self.is_near = look.is_near
        self.bystanders = bystanders
        self.knows_nobody = bystanders.policy.credentials == "bypass"

    def answer(self, values: Values, now: int, request: RequestHead | None) -> Served | None:
        """What is answered where these are the values of `keys`; None: that takes the long way.

        `request` is given when it wants anything but the whole.
        """
        stored = values[self._at]
        if (
            stored is None
            or not stored.startswith(self._lead)
            or len(stored) != self._size
            or values[self._rest] != self._others
        ):
            return None
        passed = now / 1e6 - self._received
        age = self._initial_age + (passed if passed > 0 else 0.0)
        left = self._fresh - age
        if left <= 0:
            return None
        try:
            if request is not None:
                entry = unpack(stored)
                assert isinstance(entry, Entry)
                return age, answer(request, entry, hit(left), now)
            body = stored[self._cut :]
            if self._flags:
                body = decompressed(self._flags, body)
        except UnreadableEntry:
            return None
        headers = [*self._headers, _age[int(age)], _hit[int(left)]]
        if not self._has_length:
            headers.append((b"content-length", b"%d" % len(body)))
        return age, (self._status, headers, body)


@lru_cache(_SPOKEN_OF)
def _shared(line: Header) -> Header:
    """One object for all equal lines: the pages of a site have most of theirs in common."""
    return line


class _Told(dict[int, Header]):
    """Fields that say a number, ready made: the same ones are sent again and again."""

    def __init__(self, name: bytes, form: bytes) -> None:
        self._name, self._form = name, form

    def __missing__(self, number: int) -> Header:
        if len(self) >= _SPOKEN_OF:
            self.clear()
        told = self[number] = self._name, self._form % number
        return told


_age, _hit = _Told(b"age", b"%d"), _Told(CACHE_STATUS, HIT)


class Pages:
    """The pages that this process has answered lately."""

    def __init__(self) -> None:
        self._pages: OrderedDict[Address | None, Page | tuple[bytes, ...]] = OrderedDict()
        self._bystanders: dict[int, Bystanders] = {}
        self._met: set[int] = set()
        """Pages for which there was no room when they were met."""
        self.paths: set[str] = set()
        """Of all pages, and of some former ones: by theirs, most other requests are told."""
        self.edition = 0
        """Of the app's routes, for which these pages were made."""

    def of(self, address: Address | None, fields: Fields) -> tuple[Page | None, bool]:
        """The page that is asked for, if nothing else in the request has a say; and whether it is
        wanted as a whole."""
        page = self._pages.get(address)
        if isinstance(page, tuple):  # the fields that select a variant
            page = self._pages.get((address, *map(fields.get, page)))
        if page is None or isinstance(page, tuple):
            return None, False
        others = page.bystanders
        if others.known.issuperset(fields):
            return page, page.method == "GET"
        if not others.are_all(fields):
            return None, False
        return page, page.method == "GET" and CONDITIONS.isdisjoint(fields)

    def learn(
        self,
        method: str,
        path: str,
        address: Address | None,
        fields: Fields,
        policy: CachePolicy,
        route: str,
        found: Found,
        reader: Reader,
    ) -> None:
        """Remember what was found, for the next one who asks. `reader` prepares its read."""
        if address is None or not self._is_worth_it(address):
            return
        bystanders = self._bystanders_of(policy)
        if not _is_simple(policy, found) or not bystanders.are_all(fields):
            return
        page = Page(found, bystanders, method, path, route, reader)
        if len(self.paths) > 2 * REMEMBERED:
            self.clear()
        self.paths.add(path)
        if found.fields:
            self._keep(address, found.fields)
            address = (address, *map(fields.get, found.fields))
        self._keep(address, page)

    def clear(self) -> None:
        self._pages.clear()
        self.paths.clear()

    def keep_to(self, edition: int) -> None:
        """Forget all pages: they were made for another edition of the app's routes."""
        self.edition = edition
        self.clear()

    def _is_worth_it(self, address: Address) -> bool:
        """Whether a page may take the place of another one: most of many are not back soon, and
        those that are must not be pushed out by them. It may once it is met again."""
        if len(self._pages) < REMEMBERED or address in self._pages:
            return True
        number, met = hash(address), self._met
        if number in met:
            return True
        if len(met) >= REMEMBERED:
            met.clear()
        met.add(number)
        return False

    def _keep(self, address: Address, page: Page | tuple[bytes, ...]) -> None:
        self._pages[address] = page
        if len(self._pages) > REMEMBERED:
            self._pages.popitem(last=False)

    def _bystanders_of(self, policy: CachePolicy) -> Bystanders:
        known = self._bystanders.get(id(policy))
        if known is None:  # it holds the policy, so that no other one can get its id
            known = self._bystanders[id(policy)] = Bystanders(policy)
        return known


def _is_simple(policy: CachePolicy, found: Found) -> bool:
    """Whether nothing but freshness decides about the next use, and one look shows all of it."""
    return (
        found.look is not None
        and found.entry is not None
        and not found.is_soft
        and found.entry.header.fresh < LARGEST
        and policy.guard is None
        and policy.refresh_ahead is None
        and not keeps_users_apart(policy)
        and not (policy.cookie_names or policy.identities)
    )
