"""Tools for tests: of apps that use cachemw, and of stores that people write for it."""

from cachemw.testing.clock import FakeClock
from cachemw.testing.faultproxy import FaultProxy
from cachemw.testing.stores import STORE_CHECKS, Twins, check_script, check_store

__all__ = ["STORE_CHECKS", "FakeClock", "FaultProxy", "Twins", "check_script", "check_store"]
