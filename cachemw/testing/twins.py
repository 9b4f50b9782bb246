"""Scripts against their twins: the Lua on a server and the Python in memory, side by side.

Both live through the same history, and after each step must have given the same reply and hold the
same keys. What the scripts are for is not known here.
"""

from collections.abc import Callable, Sequence

from cachemw.errors import StoreUnavailable
from cachemw.scripts import Keyspace, Reply, Script, WrongType
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from cachemw.testing.clock import FakeClock

SLACK = 5_000  # milliseconds that a step may have taken on the server


class Twins:
    """A store on a server and one in memory that live through the same history.

    twins = Twins(RedisStore(client, prefix=""), keys)
    await twins.run(SCRIPT, keys, args)        # AssertionError unless both answer alike
    await twins.advance(500)                   # milliseconds pass, on both

    Time on the server cannot be moved, so its keys are aged instead: what would be over by then
    is deleted, and the rest is given that much less to live. `keys` names every key in play.
    Compare no absolute times in replies, unless with a `view` that makes them alike. The store on
    the server must have an empty prefix, so that keys and seals are the same on both.
    """

    def __init__(self, server: Store, keys: Sequence[bytes]) -> None:
        self.server = server
        self.keys = keys
        self.clock = FakeClock()
        self.memory = MemoryStore(clock=self.clock)
        is_bare = self.memory.sealed(b"k", b"") == server.sealed(b"k", b"")
        _demand(is_bare, 'to be compared, the store on the server needs prefix=""')

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes],
        *,
        view: Callable[[Reply], object] = lambda reply: reply,
    ) -> Reply:
        """Run a script on both, demand the same reply and the same keys, and answer the reply."""
        replies: list[object] = []
        reply: Reply = None
        for store in (self.memory, self.server):
            try:
                reply = await store.run(script, keys, args)
                replies.append(view(reply))
            except StoreUnavailable as error:
                replies.append(error.reason)
        asked = f"{script.name}{(*keys, *args)!r}"
        _demand(replies[0] == replies[1], f"{asked}: twin {replies[0]!r}, Lua {replies[1]!r}")
        await self.compare(asked)
        return reply

    async def compare(self, after: str) -> None:
        """Demand that both hold the same: kinds, contents, and times to live to within 5 s."""
        for key in self.keys:
            twin, lua = [await store.run(LOOK, (key,), ()) for store in (self.memory, self.server)]
            _demand(_alike(twin, lua), f"after {after}, {key!r}: twin {twin!r}, Lua {lua!r}")

    async def advance(self, milliseconds: int) -> None:
        """Let time pass on both."""
        self.clock.advance(milliseconds / 1000)
        for key in self.keys:
            await self.server.run(_AGE, (key,), (b"%d" % milliseconds,))


async def check_script(
    server: Store,
    script: Script,
    steps: Sequence[tuple[Sequence[bytes], Sequence[bytes]]],
    *,
    view: Callable[[Reply], object] = lambda reply: reply,
) -> None:
    """Run `steps`, each keys and arguments, on a server and on the twin, comparing after each."""
    twins = Twins(server, sorted({key for keys, _ in steps for key in keys}))
    await server.delete(twins.keys)
    for keys, args in steps:
        await twins.run(script, keys, args, view=view)


def _alike(twin: Reply, lua: Reply) -> bool:
    if not isinstance(twin, list) or not isinstance(lua, list):
        return twin == lua
    (ttl, *content), (server_ttl, *server_content) = twin, lua
    both = isinstance(ttl, int) and isinstance(server_ttl, int)
    return both and content == server_content and _near(ttl, server_ttl)


def _near(ttl: Reply, server_ttl: Reply) -> bool:
    assert isinstance(ttl, int) and isinstance(server_ttl, int)
    if min(ttl, server_ttl) < 0:
        return ttl == server_ttl
    return abs(ttl - server_ttl) <= SLACK


def _demand(kept: bool, broken: str) -> None:
    if not kept:
        raise AssertionError(broken)


# --- looking at a key, and ageing it


def _look(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    ttl = db.ttl(keys[0])
    try:
        return [ttl, db.get(keys[0]) or b""]
    except WrongType:
        fields = db.hgetall(keys[0])
        return [ttl, *(part for field in sorted(fields) for part in (field, fields[field]))]


def _age(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    left = db.ttl(keys[0])
    return int(left > 0 and db.expire(keys[0], left - int(args[0])))


LOOK = Script(
    "check-look",
    """
local ttl, value = redis.call('PTTL', KEYS[1]), redis.pcall('GET', KEYS[1])
if type(value) ~= 'table' then return {ttl, value or ''} end
local flat, fields, names = redis.call('HGETALL', KEYS[1]), {}, {}
for i = 1, #flat, 2 do
  fields[flat[i]] = flat[i + 1]
  names[#names + 1] = flat[i]
end
table.sort(names)
local reply = {ttl}
for _, name in ipairs(names) do
  reply[#reply + 1] = name
  reply[#reply + 1] = fields[name]
end
return reply
""",
    _look,
)
_AGE = Script(
    "check-age",
    "local left = redis.call('PTTL', KEYS[1]) "
    "if left < 0 then return 0 end "
    "return redis.call('PEXPIRE', KEYS[1], left - ARGV[1])",
    _age,
)
