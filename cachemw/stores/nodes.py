"""A server as one event loop sees it, and the simplest topology: one server alone.

A node is a lane for short commands, a second one beside it for large values, so that they delay
nobody, and one breaker for both.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from cachemw.errors import StoreUnavailable
from cachemw.stores.breaker import Breaker
from cachemw.stores.jobs import RESEND, Command, Raw, Read
from cachemw.stores.lane import Lane
from cachemw.stores.wire import Dial
from cachemw.telemetry.counters import StoreCounts

CONNECT = 1.0  # seconds a connection may take; who waits for it leaves at the deadline
BESIDE = 5  # deadlines that a large value may take


def patience(job: Command[Any], deadline: float) -> float:
    """How long a job may take, on the lane or beside it."""
    return deadline * BESIDE if job.is_large else deadline


class Node:
    """One server: its lanes and its breaker."""

    def __init__(
        self,
        dial: Dial,
        deadline: float,
        breaker: Breaker,
        name: str = "",
        counts: StoreCounts | None = None,
    ) -> None:
        self.name = name
        self.counts = counts or StoreCounts()
        self.dial = dial
        self.breaker = breaker
        self.deadline = deadline
        trips = self.counts.trips
        self.lane = Lane(dial, breaker, deadline=deadline, name=name, trips=trips)
        self.beside = Lane(dial, breaker, deadline=deadline * BESIDE, name=name)

    def __repr__(self) -> str:
        return f"<Node {self.lane!r}>"

    @property
    def is_idle(self) -> bool:
        return self.lane.load == self.beside.load == 0

    def submit(self, job: Command[Any]) -> None:
        job.counts = self.counts
        if not self.breaker.is_open or self._admits(job):
            (self.beside if job.is_large else self.lane).submit(job)

    def submit_read(self, job: Read) -> None:
        """Like `submit`, within the MGET of this turn."""
        job.counts = self.counts
        if not self.breaker.is_open or self._admits(job):
            (self.beside if job.is_large else self.lane).submit_read(job)

    def submit_asking(self, job: Command[Any]) -> None:
        """Submit a job for a slot that is about to be this node's (ASK)."""
        if self._admits(job):
            asking = Raw(job.key, "ASKING")
            (self.beside if job.is_large else self.lane).submit(asking, job)

    def renew(self) -> None:
        self.lane.renew()
        self.beside.renew()

    def close(self) -> None:
        self.lane.close()
        self.beside.close()

    async def aclose(self) -> None:
        await self.lane.aclose()
        await self.beside.aclose()

    def _admits(self, job: Command[Any]) -> bool:
        """Whether this server may be asked; if not, the job has heard so."""
        if not self.breaker.is_open:
            return True
        job.fail(StoreUnavailable("breaker-open", f"{self.name} does not answer"))
        return False


class Topology(Protocol):
    """Where jobs go."""

    is_closed: bool

    def submit(self, job: Command[Any]) -> None: ...
    def submit_read(self, job: Read) -> list[Read]: ...  # the jobs that it came to, in any order
    def split(self, keys: Sequence[bytes]) -> list[Sequence[bytes]]: ...  # what one UNLINK may name
    async def nodes(self) -> list[Node]: ...
    def known_nodes(self) -> list[Node]: ...
    async def aclose(self) -> None: ...


class OneServer:
    """A single server, or whichever one the sentinels call primary when a connection is made."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.is_closed = False

    def submit(self, job: Command[Any]) -> None:
        job.reroute = self._reroute
        self.node.submit(job)

    def submit_read(self, job: Read) -> list[Read]:
        job.reroute = self._reroute
        self.node.submit_read(job)
        return [job]

    def split(self, keys: Sequence[bytes]) -> list[Sequence[bytes]]:
        return [keys]

    async def nodes(self) -> list[Node]:
        return [self.node]

    def known_nodes(self) -> list[Node]:
        return [self.node]

    async def aclose(self) -> None:
        self.is_closed = True
        await self.node.aclose()

    def _reroute(self, job: Command[Any], refusal: str) -> bool:
        if refusal == RESEND:
            job.bound(patience(job, self.node.deadline))
            self.node.submit(job)
            return True
        if refusal.startswith("READONLY"):  # it was a primary once; the address may lead elsewhere
            self.node.renew()
        return False
