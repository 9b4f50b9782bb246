"""Rounds of load, in turns: every subject gets one, then every subject the next.

What a round finds is a `Round`; the medians over the rounds of a subject are its `Row`. Redis is
asked before and after, so commands and bytes a request are the server's own figures.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeAlias

from benchmarks.load import Exchange, Load, drive
from benchmarks.servers import Server, serving
from benchmarks.subjects import Subject

Workloads: TypeAlias = Callable[[Server, int], list[Iterator[Exchange]]]
"""For a server and a number of connections: what each connection asks for."""


@dataclass(frozen=True)
class Effort:
    """How long it is measured."""

    rounds: int = 5
    seconds: float = 2.0
    warm_up: float = 0.3

    @classmethod
    def quick(cls) -> "Effort":
        return cls(rounds=3, seconds=0.5, warm_up=0.1)


@dataclass(frozen=True)
class Round:
    """One turn of one subject."""

    load: Load
    cpu: float
    redis_cpu: float
    commands: int
    reads: int
    sent: int
    received: int
    runs: int


@dataclass
class Row:
    """All rounds of a subject at one number of connections."""

    table: str
    connections: int
    name: str
    is_peer: bool
    rounds: list[Round] = field(default_factory=list)

    def median(self, figure: Callable[[Round], float]) -> float:
        return statistics.median(figure(each) for each in self.rounds)

    def per_request(self, figure: Callable[[Round], float]) -> float:
        return self.median(lambda each: figure(each) / max(1, each.load.requests))

    @property
    def rates(self) -> list[float]:
        return [each.load.rate for each in self.rounds]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cpu(self) -> float:
        """CPU seconds of the app's process for a thousand requests."""
        return 1000 * self.per_request(lambda each: each.cpu)

    @property
    def bad(self) -> int:
        return sum(each.load.bad for each in self.rounds)


def compare(
    table: str,
    subjects: Sequence[Subject],
    workloads: Workloads,
    *,
    connections: Sequence[int],
    effort: Effort,
    uncounted: Sequence[Subject] = (),
    first: Sequence[Exchange] = (),
) -> list[Row]:
    """Rows for every subject that can be started, at each number of connections.

    Each is asked for what comes `first` twice before anything is measured.
    """
    with ExitStack() as running:
        servers: list[Server] = []
        for subject in subjects:
            counting = subject not in uncounted
            server = running.enter_context(serving(subject, counting=counting))
            if server is not None:
                servers.append(server)
                drive(server.port, [iter([*first, *first])])
        rows: list[Row] = []
        for count in connections:
            level = {
                server.name: Row(table, count, server.name, server.subject.is_peer)
                for server in servers
            }
            told = f"{table}, {count} connections"
            for turn in range(effort.rounds):
                print(f"\r{told}: round {turn + 1} of {effort.rounds}  ", end="", file=sys.stderr)
                for server in servers:
                    drive(server.port, workloads(server, count), effort.warm_up)
                    level[server.name].rounds.append(
                        one_round(server, workloads(server, count), effort.seconds)
                    )
            print(file=sys.stderr)
            for row in level.values():
                _complain(row)
            rows += level.values()
        return rows


def one_round(server: Server, workload: list[Iterator[Exchange]], seconds: float) -> Round:
    """One turn of load."""
    runs, before = server.runs(), _info(server)
    cpu, redis_cpu = server.cpu(), server.redis_cpu()
    load = drive(server.port, workload, seconds)
    time.sleep(0.02)  # what is under way is part of it
    cpu, redis_cpu = server.cpu() - cpu, server.redis_cpu() - redis_cpu
    after = _info(server)
    commands, reads, received, sent = (new - old for new, old in zip(after, before, strict=True))
    return Round(load, cpu, redis_cpu, commands, reads, sent, received, server.runs() - runs)


def _info(server: Server) -> tuple[int, int, int, int]:
    said = [client.info("stats") for client in (server.redis, *server.others)]
    return (
        sum(stats["total_commands_processed"] for stats in said),
        sum(stats["total_reads_processed"] for stats in said),
        sum(stats["total_net_input_bytes"] for stats in said),
        sum(stats["total_net_output_bytes"] for stats in said),
    )


def _complain(row: Row) -> None:
    if row.bad:
        sample = next(each.load.sample for each in row.rounds if each.load.bad)
        print(f"{row.name}: {row.bad} bad answers, such as {sample[:160]!r}", file=sys.stderr)
