"""Stores for the tests beside this file."""

from tests.stores.conftest import opened as opened
