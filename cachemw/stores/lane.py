"""The lane: one connection to one server that everybody in this event loop shares.

What is submitted within one turn of the loop leaves in one write; reads of one turn become one MGET
in which no key stands twice, apart from those of long values. Replies arrive in the order of the
commands, and each goes to the job at the head of the queue. One timer watches the oldest job only:
since replies keep their order, nobody behind it can be answered before it.

A lane has one answer to every doubt, whether a deadline, a broken stream, or a reply that does not
fit its job: it drops the connection, and everybody in flight hears `StoreUnavailable`. So a
left-over reply can never reach the next caller. It never sends anything twice. It knows nothing
about what commands mean; jobs do (`jobs.py`).

A server whose replies flow is no outage, however long the line: who is overdue hears "overloaded"
and keeps the place, so that the replies still find their jobs.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection

from cachemw.errors import StoreUnavailable
from cachemw.stores.breaker import Breaker
from cachemw.stores.cargo import Desync, Job, Ping, ReadJob, together
from cachemw.stores.wire import Dial, adopt, release
from cachemw.telemetry.counters import Spans

logger = logging.getLogger("cachemw.store")

_MORE: Any = object()  # hiredis returns this when a reply is not complete yet
LATE = 0.02  # seconds; a timer this late tells of a blocked loop, not of a slow server
MOST_WAITING = 4_000  # jobs; about what a server does within the usual deadline
PATIENCE = 4  # deadlines for which the oldest reply may be overdue, while bytes arrive
MOST_UNSENT = 64 * 1024 * 1024  # bytes that the server has not taken from us yet


class Lane(asyncio.Protocol):
    """A pipelined connection that mends itself. All methods belong to one event loop."""

    def __init__(
        self,
        dial: Dial,
        breaker: Breaker,
        *,
        deadline: float,
        name: str = "",
        trips: Spans | None = None,
    ) -> None:
        self.name = name
        self._trips = trips or Spans()
        self._dial = dial
        self._breaker = breaker
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._turn: list[Job] = []  # submitted in this turn of the loop
        self._reads: list[ReadJob] = []  # likewise, to become one MGET
        self._queue: deque[tuple[Job, float]] = deque()  # waiting for a connection
        self._waiting: deque[tuple[Job, float]] = deque()  # written, unanswered
        self._transport: asyncio.WriteTransport | None = None
        self._connection: AbstractConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reader: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0  # not asked of the timer: for what is due at once, uvloop has none
        self._probing: asyncio.TimerHandle | None = None
        self._flush_is_due = False
        self._is_full = False
        self._unsent = 0  # bytes that wait for the end of the turn, or for a connection
        # The first job of a write whose trip is being timed. uvloop's time has milliseconds only.
        self._timed: Job | None = None
        self._timed_from = 0.0
        self._overdue = 0  # how many of `_waiting`, from its head, have heard that they are late
        self._heard_at = -1e9
        self.is_closed = False
        self.connected_at = -1e9
        self.connects = 0

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "up" if self._transport else "down"
        return f"<Lane {self.name} {state}, {self.load} under way>"

    @property
    def load(self) -> int:
        """How many jobs are under way."""
        return len(self._waiting) + len(self._turn) + len(self._reads) + len(self._queue)

    # --- what callers do

    def submit(self, *jobs: Job) -> None:
        """Send commands with this turn's others, these next to each other."""
        if self._has_room(jobs):
            self._turn.extend(jobs)
            for job in jobs:
                self._unsent += len(job.command)
            if not self._flush_is_due:
                self._flush_soon()

    def submit_read(self, job: ReadJob) -> None:
        """Read keys together with this turn's other readers."""
        if self._has_room((job,)):
            self._reads.append(job)
            if not self._flush_is_due:
                self._flush_soon()

    def renew(self) -> None:
        """Connect again, because this server is no longer the right one; once a second at most."""
        self._loop.call_soon(self._renew)  # not amid the replies, one of which said so

    def close(self) -> None:
        self.is_closed = True
        if self._probing is not None:
            self._probing.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        self._lose("closed", "the store was closed")
        self._fail_queue("closed", "the store was closed")

    async def aclose(self) -> None:
        """Close, and wait until nothing of it is left in the loop."""
        self.close()
        if self._connecting is not None:
            await asyncio.wait([self._connecting])

    def _renew(self) -> None:
        if self._transport is not None and self._loop.time() - self.connected_at > 1.0:
            self._lose("connection", "connecting again")

    def _has_room(self, jobs: Sequence[Job]) -> bool:
        others = len(self._waiting) + len(self._turn) + len(self._reads) + len(self._queue)
        if self.is_closed:
            refusal = "closed", "the store was closed"
        elif self._is_full or self._unsent >= MOST_UNSENT or others >= MOST_WAITING:
            refusal = "overloaded", f"{others} calls are under way"
        else:
            return True
        for job in jobs:
            job.fail(StoreUnavailable(*refusal))
        return False

    # --- writing

    def _flush_soon(self) -> None:
        self._flush_is_due = True
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        turn, self._turn = self._turn, []
        reads, self._reads = self._reads, []
        if reads:
            turn += together(reads)
        # The deadline counts from here: that the loop was blocked between the call and the write
        # says nothing about the server. Waiting for a connection is part of it.
        now = self._loop.time()
        due = now + self._deadline
        self._queue.extend([(job, due) for job in turn])
        if not self._queue:
            return
        if self._transport is None:
            self._connect()
        else:
            self._transport.write(b"".join([job.command for job, _ in self._queue]))
            if self._timed is None:
                self._timed, self._timed_from = self._queue[0][0], perf_counter()
            self._waiting.extend(self._queue)
            self._queue.clear()
            self._unsent = 0
        self._watch(now)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False

    # --- reading

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        self._heard_at = self._loop.time()
        try:
            reader.feed(data)
            reply = reader.gets()
            while reply is not _MORE:
                if not waiting:
                    raise Desync("a reply to nothing")
                job = waiting[0][0]
                job.accept(reply)
                waiting.popleft()
                if job is self._timed:
                    self._timed = None
                    self._trips.add(perf_counter() - self._timed_from)
                if self._overdue:
                    self._overdue -= 1
                reply = reader.gets()
        except Exception as error:  # whatever it is, the next reply would go to the wrong job
            logger.warning("%s: dropping a connection that is out of step: %r", self.name, error)
            self._lose("desync", repr(error))
        else:
            if self._breaker.succeeded():
                logger.warning("%s answers again", self.name)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._lose("connection", str(exc) if exc else "the server closed the connection")

    # --- connecting

    def _connect(self) -> None:
        if self._connecting is None and not self.is_closed:
            self._connecting = self._loop.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        try:
            connection = await self._dial()
            self._reader = hiredis.Reader(notEnoughData=_MORE)
            self._transport = adopt(connection, self)
        except StoreUnavailable as error:
            self._note_failures(1)
            self._fail_queue(error.reason, error.detail)
        else:
            self._connection = connection
            self._transport.set_write_buffer_limits(high=MOST_UNSENT)
            self._is_full = False
            self.connected_at = self._loop.time()
            self.connects += 1
            # A handshake without credentials hears nothing from the server: only a PONG shows life.
            due = self._queue[0][1] if self._queue else self.connected_at + self._deadline
            self._queue.appendleft((Ping(), due))
            self._flush()
        finally:
            self._connecting = None

    def _probe(self) -> None:
        """While the breaker is open, look for the server, on nobody's time."""
        self._probing = None
        if self._breaker.is_open and not self.is_closed:
            if self._transport is None:
                self._connect()
            self._probing = self._loop.call_later(self._breaker.retry_after, self._probe)

    # --- giving up

    def _watch(self, now: float) -> None:
        if self._timer is None:
            oldest = self._oldest_deadline()
            if oldest is not None:
                self._ring(max(oldest, now), is_second_look=False)

    def _ring(self, when: float, *, is_second_look: bool) -> None:
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._check_deadline, is_second_look)

    def _oldest_deadline(self) -> float | None:
        if len(self._waiting) > self._overdue:
            return self._waiting[self._overdue][1]
        return self._queue[0][1] if self._queue else None

    def _check_deadline(self, is_second_look: bool) -> None:
        timer, self._timer = self._timer, None
        oldest, now = self._oldest_deadline(), self._loop.time()
        if oldest is None:
            return
        if now < oldest:
            self._watch(now)
        elif timer is not None and now - self._rings_at > LATE and not is_second_look:
            # The loop was blocked, and that time does not count: replies may lie in the socket, or
            # a handshake may have been kept waiting.
            patience = min(now - self._rings_at, self._deadline)
            self._ring(now + patience, is_second_look=True)
        elif self._is_answering(now):
            self._note_long_reply()
            self._fail_overdue(now)
            self._watch(now)
        else:
            self._note_long_reply()
            detail = f"no answer within {self._deadline * 1000:.0f} ms"
            self._note_failures(sum(job.callers for job, _ in (*self._waiting, *self._queue)))
            self._lose("timeout", detail)
            self._fail_queue("timeout", detail)

    def _is_answering(self, now: float) -> bool:
        """Whether replies flow: then the line is long, and the server is well."""
        if self._transport is None or not self._waiting:
            return False
        is_stuck = now - self._waiting[0][1] > PATIENCE * self._deadline
        return now - self._heard_at < self._deadline / 2 and not is_stuck

    def _fail_overdue(self, now: float) -> None:
        """Tell those who are late; their replies are still to come, and are dropped then."""
        error = StoreUnavailable("overloaded", f"{self.load} calls are under way")
        for job, due in itertools.islice(self._waiting, self._overdue, None):
            if due > now:
                break
            job.fail(error)
            self._overdue += 1

    def _note_long_reply(self) -> None:
        if self._transport is not None and self._waiting and self._reader.has_data():
            self._waiting[0][0].note_long()

    def _lose(self, reason: str, detail: str) -> None:
        """Drop the connection; everybody in flight hears of it."""
        transport, connection = self._transport, self._connection
        self._transport = self._connection = None
        if transport is not None and connection is not None:
            release(connection, transport)
        waiting, self._waiting = self._waiting, deque()
        self._overdue = 0
        self._timed = None
        for job, _ in waiting:
            job.fail(StoreUnavailable(reason, detail))
        if waiting and reason == "connection":
            self._note_failures(1)

    def _fail_queue(self, reason: str, detail: str) -> None:
        jobs = [*(job for job, _ in self._queue), *self._turn, *self._reads]
        self._queue.clear()
        self._turn, self._reads = [], []
        self._unsent = 0
        for job in jobs:
            job.fail(StoreUnavailable(reason, detail))

    def _note_failures(self, number: int) -> None:
        now = self._loop.time()
        for _ in range(min(number, self._breaker.failures)):
            if self._breaker.failed(now):
                logger.warning("%s does not answer; doing without it until it does", self.name)
                if self._probing is not None:  # of the time before
                    self._probing.cancel()
                self._probing = self._loop.call_later(0, self._probe)
