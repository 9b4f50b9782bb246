"""What a lease is given for, where nothing was seen before it was asked for."""

import pytest

from cachemw import CachePolicy
from cachemw.caching.keeper import Keeper
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.messages import RequestHead
from cachemw.stores import MemoryStore

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("chosen", [(), (b"somebody",)], ids=["the resource", "a variant"])
async def test_who_saw_nothing_is_to_look_again_at_a_refusal(chosen: tuple[bytes, ...]) -> None:
    keeper = Keeper(MemoryStore())
    request = RequestHead("GET", "http", b"localhost", b"/", b"")
    resource = Resource(request, CachePolicy(ttl="1m"), b"0123456789abcdef", chosen, ())
    variant = resource.variant(())
    held = await keeper.lease(resource, variant, is_first=True)
    assert held is not None
    await keeper.give_back(resource, held, variant, Reason.NO_STORE)
    assert await keeper.lease(resource, variant, is_first=True) is None
    assert await keeper.lease(resource, variant) is not None
