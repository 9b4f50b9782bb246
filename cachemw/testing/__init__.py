"""Tools for tests: of apps that use cachemw, and of stores that people write for it."""

from cachemw.testing.client import Client
from cachemw.testing.clock import FakeClock
from cachemw.testing.faultproxy import FaultProxy
from cachemw.testing.gate import Gate
from cachemw.testing.origin import START, ScriptedOrigin
from cachemw.testing.stores import STORE_CHECKS, check_store
from cachemw.testing.twins import Twins, check_script

__all__ = [
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
