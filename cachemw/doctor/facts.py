"""What servers say about themselves. Asked here, judged elsewhere; a refusal is a fact, too."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from cachemw.errors import StoreUnavailable
from cachemw.stores.redis import RedisStore
from cachemw.stores.selfcheck import facts_of, text_of

ROUNDS = 15  # trips whose time is taken
APART = 0.01  # seconds between them, so that one hiccup is not all that is seen


@dataclass(frozen=True, slots=True)
class Facts:
    """One server, as it says it is. What it may not be asked stands in `refused`."""

    name: str
    info: Mapping[str, str] = field(default_factory=dict[str, str])
    config: Mapping[str, str] = field(default_factory=dict[str, str])
    cluster: Mapping[str, str] = field(default_factory=dict[str, str])
    nodes: str = ""
    """The map of the cluster as this server draws it (CLUSTER NODES)."""
    trips: tuple[float, ...] = ()
    """What trips to it took, in seconds, sorted."""
    ahead: float | None = None
    """By how many seconds its clock is ahead of ours."""
    refused: tuple[str, ...] = ()
    away: str = ""
    """Why it did not answer at all; empty when it did."""

    def number(self, name: str) -> int:
        """A number of INFO, 0 where it is not told."""
        text = self.info.get(name, "0")
        return int(text) if text.lstrip("-").isdigit() else 0

    @property
    def maxmemory(self) -> int:
        return self.number("maxmemory")

    @property
    def policy(self) -> str:
        return self.info.get("maxmemory_policy", "")


async def facts_about(store: RedisStore) -> list[Facts]:
    """All that is asked of every server. Never raises for what is refused or away."""
    clocks = await _clocks(store)
    trips = await _trips(store)
    infos = await store.survey("INFO")
    configs = await store.survey("CONFIG", "GET", "*")
    states: Mapping[str, Any] = {}
    maps: Mapping[str, Any] = {}
    if store.target.is_cluster:
        states, maps = await store.survey("CLUSTER", "INFO"), await store.survey("CLUSTER", "NODES")
    told: list[Facts] = []
    for name, info in infos.items():
        answers = {
            "INFO": info,
            "CONFIG GET": configs.get(name),
            "CLUSTER INFO": states.get(name),
            "CLUSTER NODES": maps.get(name),
        }
        refused = [what for what, said in answers.items() if _is_refusal(said)]
        told.append(
            Facts(
                name,
                facts_of(info),
                _pairs(configs.get(name)),
                facts_of(states.get(name)),
                text_of(maps.get(name)),
                tuple(sorted(trips.get(name, ()))),
                clocks.get(name),
                tuple(refused),
                _absence(info),
            )
        )
    return told


async def _trips(store: RedisStore) -> dict[str, list[float]]:
    """How long trips take, to each server; one that does not answer has none."""
    took: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, seconds in (await store.trips()).items():
            took.setdefault(name, []).append(seconds)
        await asyncio.sleep(APART)
    return took


async def _clocks(store: RedisStore) -> dict[str, float]:
    """By how much each server's clock is ahead of this machine's, in seconds."""
    sent = time.time()
    said = await store.survey("TIME")
    middle = (sent + time.time()) / 2
    return {
        name: int(instant[0]) + int(instant[1]) / 1e6 - middle
        for name, answer in said.items()
        if isinstance(answer, list) and (instant := cast(list[bytes], answer))
    }


def _is_refusal(said: Any) -> bool:
    return isinstance(said, StoreUnavailable) and said.reason == "refused"


def _absence(said: Any) -> str:
    return str(said) if isinstance(said, StoreUnavailable) and not _is_refusal(said) else ""


def _pairs(said: Any) -> dict[str, str]:
    """CONFIG GET, as a map or as a list of names and values."""
    if isinstance(said, dict):
        items = list(cast(dict[bytes, bytes], said).items())
    elif isinstance(said, list):
        flat = cast(Sequence[bytes], said)
        items = list(zip(flat[::2], flat[1::2], strict=False))
    else:
        return {}
    return {text_of(name): text_of(value) for name, value in items}
