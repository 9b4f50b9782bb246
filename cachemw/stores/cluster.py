"""A cluster: which node owns a key, learned by asking, and corrected by every MOVED and ASK.

A refused command was not carried out, so sending it on is no retry. The map is read again when a
node says MOVED, or fails; at most one reading is under way, and nobody waits for it except at the
very beginning.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from redis.crc import key_slot

from cachemw.errors import StoreUnavailable
from cachemw.stores.breaker import Breaker
from cachemw.stores.jobs import RESEND, Command, Raw, Read
from cachemw.stores.lane import MOST_WAITING
from cachemw.stores.nodes import CONNECT, Node, patience
from cachemw.stores.wire import Address, dialer
from cachemw.telemetry.counters import StoreCounts

SLOTS = 16384
SETTLE = 0.01  # seconds between two looks at a slot that is on the move
MAP_AGE = 0.1  # seconds for which one reading of the map says enough

_Owners: TypeAlias = list[Node | None]


class Cluster:
    """The primaries of a cluster."""

    def __init__(
        self,
        seeds: Sequence[Address],
        deadline: float,
        breaker: Callable[[], Breaker],
        counts: StoreCounts,
    ) -> None:
        self._seeds = [(_place(seed), seed) for seed in seeds]
        self._deadline = deadline
        self._breaker = breaker
        self._counts = counts
        self._nodes: dict[tuple[str, int], Node] = {}
        self._owners: _Owners = [None] * SLOTS
        self._homeless: list[Command[Any]] = []  # waiting for the first map
        self._reading: asyncio.Task[None] | None = None
        self._read_at = -MAP_AGE
        self._has_map = False
        self.is_closed = False

    def submit(self, job: Command[Any]) -> None:
        job.reroute, job.counts = self._reroute, self._counts
        node = self._owners[key_slot(job.key)]
        if self.is_closed:
            job.fail(StoreUnavailable("closed", "the store was closed"))
        elif node is None:
            self._submit_homeless(job)
        else:
            node.submit(job)
            if node.breaker.is_open:
                self._read_map_soon()

    def submit_read(self, job: Read) -> list[Read]:
        # An MGET may not span slots, so that the keys of each slot are a command of their own.
        groups = self.split(job.keys)
        jobs = [job] if len(groups) == 1 else [Read(group, job.recall) for group in groups]
        for each in jobs:
            self.submit(each.pack())
        return jobs

    def split(self, keys: Sequence[bytes]) -> list[Sequence[bytes]]:
        if len(keys) == 1:
            return [keys]
        groups: dict[int, list[bytes]] = {}
        for key in keys:
            groups.setdefault(key_slot(key), []).append(key)
        return list(groups.values())

    async def nodes(self) -> list[Node]:
        self._read_map_soon()
        if self._reading is not None:
            await asyncio.wait([self._reading])
        return self.known_nodes()

    def known_nodes(self) -> list[Node]:
        return list({id(node): node for node in self._owners if node is not None}.values())

    async def aclose(self) -> None:
        self.is_closed = True
        if self._reading is not None:
            self._reading.cancel()
        for node in self._nodes.values():
            node.close()  # all, before the first wait: a late MOVED must not lead to a new one
        if self._reading is not None:
            await asyncio.wait([self._reading])
        self._settle_homeless(StoreUnavailable("closed", "the store was closed"))
        for node in self._nodes.values():
            await node.aclose()

    # --- being sent elsewhere

    def _reroute(self, job: Command[Any], refusal: str) -> bool:
        kind, _, rest = refusal.partition(" ")
        if job.hops == 1:
            job.bound(patience(job, self._deadline))
        match kind:
            case "MOVED":
                slot, node = self._parse(rest)
                self._owners[slot] = node
                self._read_map_soon()
                self.submit(job)
            case "ASK":
                self._parse(rest)[1].submit_asking(job)
            case "TRYAGAIN" if isinstance(job, Read) and len(job.keys) > 1:
                self._scatter(job)
            case "TRYAGAIN" | "CLUSTERDOWN":
                # Half of a script's keys are on the move, or an election is on. Not for long.
                self._read_map_soon()
                asyncio.get_running_loop().call_later(SETTLE, self._submit_again, job)
            case "READONLY":
                self._read_map_soon()
                return False
            case _:
                if refusal != RESEND:
                    return False
                self.submit(job)
        return True

    def _submit_again(self, job: Command[Any]) -> None:
        if not job.is_late:
            self.submit(job)

    def _scatter(self, job: Read) -> None:
        """Read key by key: while their slot moves, some are here already and some still there."""
        parts = [Read((key,), job.recall) for key in job.keys]
        for part in parts:
            self.submit(part.pack())

        def finish(done: "asyncio.Future[list[list[bytes | None]]]") -> None:
            error = done.exception()
            if isinstance(error, StoreUnavailable):
                job.fail(error)
            else:
                job.resolve([value for (value,) in done.result()])

        asyncio.gather(*[part.future for part in parts]).add_done_callback(finish)

    def _parse(self, rest: str) -> tuple[int, Node]:
        slot, _, place = rest.partition(" ")
        host, _, port = place.rpartition(":")
        return int(slot), self._node((host or self._seeds[0][0][0], int(port)))

    def _node(self, place: tuple[str, int]) -> Node:
        node = self._nodes.get(place)
        if node is None:
            address = self._seeds[0][1].at(*place)
            dial, breaker = dialer(address, CONNECT), self._breaker()
            node = Node(dial, self._deadline, breaker, str(address), self._counts)
            self._nodes[place] = node
        return node

    # --- the map

    def _submit_homeless(self, job: Command[Any]) -> None:
        self._read_map_soon()
        if self._has_map:
            job.fail(StoreUnavailable("refused", "no node owns the slot of this key"))
        elif self._nodes and all(node.breaker.is_open for node in self._nodes.values()):
            job.fail(StoreUnavailable("breaker-open", "no node of the cluster answers"))
        elif len(self._homeless) >= MOST_WAITING:
            job.fail(StoreUnavailable("overloaded", "too many calls wait for the cluster's map"))
        else:
            job.bound(patience(job, self._deadline))
            self._homeless.append(job)

    def _settle_homeless(self, failure: StoreUnavailable) -> None:
        homeless, self._homeless = self._homeless, []
        for job in homeless:
            if self._has_map and not self.is_closed:
                self._submit_again(job)
            else:
                job.fail(failure)

    def _read_map_soon(self) -> None:
        loop = asyncio.get_running_loop()
        is_new = loop.time() - self._read_at < MAP_AGE
        if self._reading is None and not is_new and not self.is_closed:
            self._reading = loop.create_task(self._read_map())

    async def _read_map(self) -> None:
        try:
            owners = await self._best_map()
            if owners is not None:
                self._owners = owners
                self._has_map = True
            self._settle_homeless(StoreUnavailable("connection", "no node of the cluster answers"))
            if self._has_map:
                self._read_at = asyncio.get_running_loop().time()
                self._forget_strangers()
        finally:
            self._reading = None

    async def _best_map(self) -> _Owners | None:
        """Ask all nodes at once, so that one that hangs costs nothing.

        The first map serves, unless it names a node that we know to be away: somebody else may
        have heard already who took over.
        """
        for place, _ in self._seeds:
            self._node(place)
        loop = asyncio.get_running_loop()
        questions = [loop.create_task(self._ask(*each)) for each in self._nodes.items()]
        fallback: _Owners | None = None
        try:
            for answer in asyncio.as_completed(questions):
                owners = await answer
                if owners is None:
                    continue
                if not any(node.breaker.is_open for node in set(owners) if node is not None):
                    return owners
                fallback = fallback or owners
        finally:
            for question in questions:
                question.cancel()
        return fallback

    async def _ask(self, place: tuple[str, int], node: Node) -> _Owners | None:
        question = Raw(b"", "CLUSTER", "SLOTS")
        node.lane.submit(question)  # past the breaker: this is a look at the server, too
        try:
            return self._owners_by(await question.future, place[0])
        except (StoreUnavailable, TypeError, ValueError, IndexError, AttributeError):
            return None

    def _owners_by(self, answer: Any, host_asked: str) -> _Owners | None:
        owners: _Owners = [None] * SLOTS
        for first, last, (host, port, *_), *_ in answer:
            name = host.decode() if host and host != b"?" else host_asked
            owners[first : last + 1] = [self._node((name, int(port)))] * (last + 1 - first)
        return owners if any(owners) else None

    def _forget_strangers(self) -> None:
        """Close nodes that own nothing, were not named by the operator, and have nothing to do."""
        seeds = {place for place, _ in self._seeds}
        owners = {id(node) for node in self._owners}
        for place, node in list(self._nodes.items()):
            if id(node) not in owners and place not in seeds and node.is_idle:
                del self._nodes[place]
                node.close()


def _place(address: Address) -> tuple[str, int]:
    return str(address.options["host"]), int(address.options["port"])
