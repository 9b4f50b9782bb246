"""What a request that changes something makes obsolete, and the purge of it.

Purged are, after success only: the target's own URL and those that Location and Content-Location
name (RFC 9111 §4.4), the groups that the response declares invalid (RFC 9875), and what marks on
the route say. It happens before the client hears of its success, so that its next read is fresh.

What an operator has written means the same everywhere: the path of a mark is that of every host, as
it is for `Cache.purge(url=...)`. What a response names is of the request's own origin alone.
"""

import logging
from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import unquote

from starlette.types import Scope

from cachemw.asgi import head_of, route_path
from cachemw.caching.groups import group_tag, groups_to_invalidate
from cachemw.caching.invalidation import targets_to_invalidate
from cachemw.caching.keeper import Keeper
from cachemw.caching.marks import PurgesMark
from cachemw.caching.policy import CachePolicy
from cachemw.caching.purging import Address, purge_url
from cachemw.caching.stamps import namespace_tag
from cachemw.caching.tags import TagInputs
from cachemw.errors import StoreUnavailable
from cachemw.messages import RequestHead, ResponseHead
from cachemw.routes import Matched
from cachemw.routetable import RouteTable
from cachemw.stores.base import Store
from cachemw.telemetry.events import Subject, shortened
from cachemw.telemetry.timing import purging

logger = logging.getLogger("cachemw.cache")

Marks: TypeAlias = tuple[PurgesMark, ...]


class Changes:
    """Purges on behalf of requests."""

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        policies: RouteTable[CachePolicy],
        marks: RouteTable[Marks],
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._policies = policies
        self._marks = marks

    def marks_of(self, scope: Scope) -> Matched[Marks] | None:
        """What is marked on the route of a request."""
        return self._marks.match(
            scope.get("app"), scope["method"], route_path(scope), scope["headers"]
        )

    async def purge_after(
        self,
        scope: Scope,
        response: ResponseHead,
        marks: Matched[Marks] | None,
        *,
        again: bool = False,
    ) -> None:
        """Purge what the success of a request made obsolete. A purge that is lost, because the
        store is away, is logged: what it was about is served until its lifetime ends. One that is
        done `again` is not counted."""
        if not 200 <= response.status < 400:
            return
        request = head_of(scope)
        cause = f"{request.method} {scope['path']}"
        purged: list[str] = []
        try:
            with purging(
                self._store, Subject.CHANGE, () if again else purged, cause=shortened(cause)
            ):
                await self._purge_after(scope, request, response, marks, purged)
        except StoreUnavailable as error:
            logger.error("a purge after %s %s was lost: %s", request.method, scope["path"], error)

    async def _purge_after(
        self,
        scope: Scope,
        request: RequestHead,
        response: ResponseHead,
        marks: Matched[Marks] | None,
        purged: list[str],
    ) -> None:
        for path, query in targets_to_invalidate(request, response):
            # Of the own origin only: what a response names must not evict what is somebody else's.
            own = Address((request.scheme, request.host), path, query)
            await self._purge_url(scope, request, own, purged)
        groups = [group_tag(request, g) for g in groups_to_invalidate(request, response)]
        await self._purge_tags(groups, purged)
        if marks is not None:
            await self._obey(scope, request, marks, purged)

    async def _obey(
        self, scope: Scope, request: RequestHead, marks: Matched[Marks], purged: list[str]
    ) -> None:
        inputs = TagInputs(dict(marks.params), request.query, request.headers)
        for mark in marks.policy:
            tags = list(mark.tags.render(inputs))
            if mark.namespace:
                tags.append(namespace_tag(mark.namespace))
            await self._purge_tags(tags, purged, soft=mark.soft)
            for template in mark.urls:
                address = _address(template.url(inputs))
                if address is not None:
                    await self._purge_url(scope, request, address, purged, soft=mark.soft)

    async def _purge_tags(
        self, tags: Sequence[bytes], purged: list[str], *, soft: bool = False
    ) -> None:
        if tags:
            purged += [tag.decode("utf-8", "replace") for tag in tags]
            await self._keeper.purge_tags(tags, soft=soft)

    async def _purge_url(
        self,
        scope: Scope,
        request: RequestHead,
        address: Address,
        purged: list[str],
        *,
        soft: bool = False,
    ) -> None:
        """Purge a URL, if it is one that is cached at all."""
        plain = unquote(address.path.decode("latin-1"))
        routed = route_path({**scope, "path": plain})

        def policy_for(head: RequestHead) -> CachePolicy | None:
            named = ((b"host", head.host),)
            matched = self._policies.match(scope.get("app"), head.method, routed, named)
            if matched is None or head.method not in matched.policy.methods:
                return None
            if plain not in purged:
                purged.append(plain)
            return matched.policy

        own = request.scheme, request.host
        await purge_url(self._keeper, policy_for, address, soft=soft, own=own)


def _address(url: str) -> Address | None:
    """What a mark's template has come to. None if what it was filled with makes it no address."""
    try:
        return Address.of_path(url) if url.startswith("/") else Address.parse(url)
    except ValueError:
        return None
