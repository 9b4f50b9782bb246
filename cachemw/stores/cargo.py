"""What a lane carries: jobs, each with a command and somebody who waits for its reply.

The two that a lane makes itself are here as well: the reads of one turn as one MGET, and the PING
that shows whether a server lives. All others are `jobs.py`.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol, cast

import hiredis

from cachemw.errors import StoreUnavailable


def packed(parts: Sequence[bytes | str | int]) -> bytes:
    """A command as it goes over the wire."""
    return cast(bytes, hiredis.pack_command(tuple(parts)))  # type: ignore[arg-type]


FOREIGN = "a value that does not belong to its key"


class Desync(Exception):
    """A reply that cannot be the answer to the job it would go to."""


class Job(Protocol):
    """A command on its way, and who waits for its reply."""

    command: bytes  # packed, ready to be written
    callers: int  # how many wait for it

    def accept(self, reply: Any) -> None:
        """Take the reply; raise `Desync` if it cannot be this job's."""
        ...

    def fail(self, error: StoreUnavailable) -> None:
        """Hear that there will be no reply, or none in time."""
        ...

    def note_long(self) -> None:
        """Hear that the reply had begun and was too long for the deadline."""
        ...


class ReadJob(Job, Protocol):
    """A job that can be part of a common MGET."""

    keys: Sequence[bytes]
    is_alone: bool  # better a command of its own

    def pack(self) -> Job:
        """This job as a command of its own."""
        ...

    def proven(self, keys: Sequence[bytes], found: Sequence[Any]) -> tuple[list[Any], bool]:
        """The values of any keys, and whether one cannot be what is stored under its key."""
        ...

    def resolve(self, result: list[Any]) -> None:
        """Take the values of this job's keys."""
        ...


class Ping:
    command: bytes = packed(("PING",))
    callers: int = 0

    def accept(self, reply: Any) -> None:
        is_refused = isinstance(reply, hiredis.ReplyError)  # alive, though: LOADING, NOPERM, ...
        if reply != b"PONG" and not is_refused:
            raise Desync("something else than PONG")

    def fail(self, error: StoreUnavailable) -> None:
        pass

    def note_long(self) -> None:
        pass


class CommonRead:
    """The reads of one turn as one MGET, each key once."""

    __slots__ = ("_jobs", "_keys", "callers", "command")

    def __init__(self, jobs: list[ReadJob]) -> None:
        self._jobs = jobs
        self.callers = len(jobs)
        self._keys = list(dict.fromkeys(chain.from_iterable([job.keys for job in jobs])))
        self.command: bytes = packed(("MGET", *self._keys))

    def accept(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            for job in self._jobs:
                job.accept(reply)
            return
        keys, jobs = self._keys, self._jobs
        if not isinstance(reply, list) or len(cast("list[object]", reply)) != len(keys):
            raise Desync("an MGET of another length")
        # Each key once, however many read it. Where one is in doubt, the others are not.
        values, is_doubtful = jobs[0].proven(keys, cast("list[object]", reply))
        value_of = dict(zip(keys, values, strict=True)).__getitem__
        for job in jobs:
            job.resolve(list(map(value_of, job.keys)))
        if is_doubtful:
            raise Desync(FOREIGN)

    def fail(self, error: StoreUnavailable) -> None:
        for job in self._jobs:
            job.fail(error)

    def note_long(self) -> None:
        for job in self._jobs:
            job.note_long()


def together(reads: list[ReadJob]) -> list[Job]:
    """The commands that the reads of one turn come to."""
    common = [job for job in reads if not job.is_alone]
    alone: list[Job] = [job.pack() for job in reads if job.is_alone]
    if common:
        alone.append(common[0].pack() if len(common) == 1 else CommonRead(common))
    return alone
