"""Tools for tests: of apps that use cachemw, and of stores that people write for it."""

from cachemw.testing.chaos import ChaosStore, Mischief, at
from cachemw.testing.client import Client
from cachemw.testing.clock import FakeClock
from cachemw.testing.faultproxy import FaultProxy
from cachemw.testing.gate import Gate
from cachemw.testing.leaks import (
    CachedRoute,
    Caller,
    Leak,
    LeakFound,
    cached_routes,
    check_leaks,
    find_leaks,
)
from cachemw.testing.origin import START, ScriptedOrigin
from cachemw.testing.stores import STORE_CHECKS, check_store
from cachemw.testing.twins import Twins, check_script

__all__ = [
    "CachedRoute",
    "Caller",
    "ChaosStore",
    "Mischief",
    "at",
    "Leak",
    "LeakFound",
    "cached_routes",
    "check_leaks",
    "find_leaks",
    "START",
    "STORE_CHECKS",
    "Client",
    "FakeClock",
    "FaultProxy",
    "Gate",
    "ScriptedOrigin",
    "Twins",
    "check_script",
    "check_store",
]
