"""Which server a job goes to: the only one, or the one that owns its key in a cluster.

A node is a server as this event loop sees it: a lane for short commands, a second one beside it
for large values, so that they delay nobody, and one breaker for both.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.crc import key_slot

from cachemw.errors import StoreUnavailable
from cachemw.stores.breaker import Breaker
from cachemw.stores.jobs import Command, Raw, Read
from cachemw.stores.lane import Lane
from cachemw.stores.wire import Address, Dial, dialer

SLOTS = 16384
SETTLE = 0.01  # seconds between two looks at a slot that is on the move
CONNECT = 1.0  # seconds a connection may take; who waits for it leaves at the deadline


class Node:
    """One server: its lanes and its breaker."""

    def __init__(self, dial: Dial, deadline: float, breaker: Breaker, name: str = "") -> None:
        self.name = name
        self.breaker = breaker
        self.lane = Lane(dial, breaker, deadline=deadline)
        self.beside = Lane(dial, breaker, deadline=deadline * 5)

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.lane!r}>"

    def admits(self, job: Command[Any]) -> bool:
        """Whether this server may be asked; if not, the job has heard so."""
        if not self.breaker.is_open:
            return True
        if self.breaker.wants_probe(time.monotonic()):
            self.lane.probe()
        job.fail(StoreUnavailable("breaker-open", f"{self.name} does not answer"))
        return False

    def submit(self, job: Command[Any]) -> None:
        if self.admits(job):
            (self.beside if job.is_large else self.lane).submit(job)

    def submit_read(self, job: Read) -> None:
        """Like `submit`, within the MGET of this turn."""
        if self.admits(job):
            (self.beside if job.is_large else self.lane).submit_read(job)

    def submit_asking(self, job: Command[Any]) -> None:
        """Submit a job for a slot that is about to be this node's (ASK)."""
        if self.admits(job):
            lane = self.beside if job.is_large else self.lane
            lane.submit(Raw(job.key, "ASKING"))
            lane.submit(job)

    def close(self) -> None:
        self.lane.close()
        self.beside.close()


class Topology(Protocol):
    """Where jobs go."""

    def submit(self, job: Command[Any]) -> None: ...
    def read(self, keys: Sequence[bytes], job: Callable[[Sequence[bytes]], Read]) -> list[Read]: ...
    def split(self, keys: Sequence[bytes]) -> list[Sequence[bytes]]: ...
    async def nodes(self) -> list[Node]: ...
    def known_nodes(self) -> list[Node]: ...
    def close(self) -> None: ...


class OneServer:
    """A single server, or whichever one the sentinels call primary when a connection is made."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def submit(self, job: Command[Any]) -> None:
        job.reroute = self._reroute
        self.node.submit(job)

    def read(self, keys: Sequence[bytes], job: Callable[[Sequence[bytes]], Read]) -> list[Read]:
        reading = job(keys)
        reading.reroute = self._reroute
        self.node.submit_read(reading)
        return [reading]

    def split(self, keys: Sequence[bytes]) -> list[Sequence[bytes]]:
        return [keys] if keys else []

    async def nodes(self) -> list[Node]:
        return self.known_nodes()

    def known_nodes(self) -> list[Node]:
        return [self.node]

    def close(self) -> None:
        self.node.close()

    def _reroute(self, job: Command[Any], refusal: str) -> bool:
        if refusal == "RESEND":
            self.node.submit(job)
            return True
        if refusal.startswith("READONLY"):  # it was a primary once; the address may lead elsewhere
            self.node.lane.renew()
            self.node.beside.renew()
        return False


class Cluster:
    """The primaries of a cluster. Follows MOVED and ASK itself, on the lanes it has.

    A refused command was not carried out, so sending it on is no retry. The map is read again when
    a node says MOVED, or fails; at most one reading is under way.
    """

    def __init__(
        self,
        seeds: Sequence[Address],
        deadline: float,
        breaker: Callable[[], Breaker],
    ) -> None:
        self._seeds = seeds
        self._deadline = deadline
        self._breaker = breaker
        self._nodes: dict[tuple[str, int], Node] = {}
        self._owner: list[Node | None] = [None] * SLOTS
        self._homeless: list[Command[Any]] = []  # waiting for the first map
        self._refreshing: asyncio.Task[None] | None = None
        self._known = False
        self._closed = False

    def submit(self, job: Command[Any]) -> None:
        job.reroute = self._reroute
        if self._closed:
            job.fail(StoreUnavailable("closed", "the store was closed"))
            return
        node = self._owner[key_slot(job.key)]
        if node is None:
            self._await_map(job)
        else:
            node.submit(job)
            if node.breaker.is_open:
                self._refresh()

    def read(self, keys: Sequence[bytes], job: Callable[[Sequence[bytes]], Read]) -> list[Read]:
        # An MGET may not span slots, so that each group of a slot is a command of its own.
        jobs = [job(group).pack() for group in self.split(keys)]
        for reading in jobs:
            self.submit(reading)
        return jobs

    def split(self, keys: Sequence[bytes]) -> list[Sequence[bytes]]:
        groups: dict[int, list[bytes]] = {}
        for key in keys:
            groups.setdefault(key_slot(key), []).append(key)
        return list(groups.values())

    async def nodes(self) -> list[Node]:
        self._refresh()
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing])
        return self.known_nodes()

    def known_nodes(self) -> list[Node]:
        return list({id(node): node for node in self._owner if node is not None}.values())

    def close(self) -> None:
        self._closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
        for node in self._nodes.values():
            node.close()
        self._fail_homeless("closed", "the store was closed")

    # --- being sent elsewhere

    def _reroute(self, job: Command[Any], refusal: str) -> bool:
        kind, _, rest = refusal.partition(" ")
        if kind == "RESEND":
            self.submit(job)
        elif kind == "MOVED":
            slot, node = self._parse(rest)
            self._owner[slot] = node
            self._refresh()
            self.submit(job)
        elif kind == "ASK":
            self._parse(rest)[1].submit_asking(job)
        elif kind in ("TRYAGAIN", "CLUSTERDOWN"):
            # Half of a script's keys are on the move, or an election is on. Not for long.
            self._refresh()
            asyncio.get_running_loop().call_later(SETTLE, self.submit, job)
        else:
            if kind == "READONLY":
                self._refresh()
            return False
        return True

    def _parse(self, rest: str) -> tuple[int, Node]:
        slot, _, place = rest.partition(" ")
        host, _, port = place.rpartition(":")
        return int(slot), self._node(host or self._any_host(), int(port))

    def _node(self, host: str, port: int) -> Node:
        node = self._nodes.get((host, port))
        if node is None:
            address = self._seeds[0].at(host, port)
            node = Node(dialer(address, CONNECT), self._deadline, self._breaker(), str(address))
            self._nodes[host, port] = node
        return node

    def _any_host(self) -> str:
        return str(self._seeds[0].options["host"])

    # --- the map

    def _await_map(self, job: Command[Any]) -> None:
        if self._known and self._refreshing is None:
            job.fail(StoreUnavailable("refused", "no node owns the slot of this key"))
            self._refresh()
            return
        self._homeless.append(job)
        self._refresh()

    def _refresh(self) -> None:
        if self._refreshing is None and not self._closed:
            self._refreshing = asyncio.get_running_loop().create_task(self._read_map())

    async def _read_map(self) -> None:
        try:
            for seed in self._seeds:
                self._node(str(seed.options["host"]), int(seed.options["port"]))
            # All at once: a node that hangs costs nothing, and the first sane answer serves.
            loop = asyncio.get_running_loop()
            questions = [loop.create_task(self._ask(*item)) for item in self._nodes.items()]
            for answer in asyncio.as_completed(questions):
                if await answer:
                    self._known = True
                    break
            for question in questions:  # a late answer may be of a node that was away
                question.cancel()
            homeless, self._homeless = self._homeless, []
            for job in homeless:
                if self._known:
                    self.submit(job)
                else:
                    job.fail(StoreUnavailable("connection", "no node of the cluster answers"))
            if self._known:
                self._forget_strangers()
                await asyncio.sleep(0.1)  # one reading says enough for a while
        finally:
            self._refreshing = None

    async def _ask(self, key: tuple[str, int], node: Node) -> bool:
        question = Raw(b"", "CLUSTER", "SLOTS")
        node.lane.submit(question)  # past the breaker: this is the probe
        try:
            answer = await question.future
            return self._learn(key[0], answer)
        except (StoreUnavailable, TypeError, ValueError, IndexError):
            return False

    def _learn(self, asked: str, answer: Any) -> bool:
        owner: list[Node | None] = [None] * SLOTS
        for first, last, primary, *_ in answer:
            host = primary[0].decode() if primary[0] not in (None, b"", b"?") else asked
            node = self._node(host, int(primary[1]))
            owner[first : last + 1] = [node] * (last + 1 - first)
        if not any(owner):
            return False
        self._owner = owner
        return True

    def _forget_strangers(self) -> None:
        """Close nodes that own nothing and were not named by the operator."""
        seeds = {(str(seed.options["host"]), int(seed.options["port"])) for seed in self._seeds}
        owners = {id(node) for node in self._owner}
        for key, node in list(self._nodes.items()):
            if id(node) not in owners and key not in seeds:
                del self._nodes[key]
                node.close()

    def _fail_homeless(self, reason: str, detail: str) -> None:
        homeless, self._homeless = self._homeless, []
        for job in homeless:
            job.fail(StoreUnavailable(reason, detail))
