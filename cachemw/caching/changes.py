"""What a request that changes something makes obsolete, and the purge of it.

Purged are, after success only: the target's own URL and those that Location and Content-Location
name (RFC 9111 §4.4), the groups that the response declares invalid (RFC 9875), and what marks on
the route say. It happens before the client hears of its success, so that its next read is fresh.
"""

import logging
from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from starlette.types import Scope

from cachemw.asgi import head_of, host_of, route_path
from cachemw.caching.groups import groups_to_invalidate
from cachemw.caching.invalidation import targets_to_invalidate
from cachemw.caching.keeper import Keeper
from cachemw.caching.keys import primary_key
from cachemw.caching.marks import PurgesMark
from cachemw.caching.policy import CachePolicy
from cachemw.caching.stamps import namespace_tag
from cachemw.caching.tags import TagInputs, tag_bytes
from cachemw.errors import StoreUnavailable
from cachemw.messages import RequestHead, ResponseHead
from cachemw.routes import Matched, RouteTable

logger = logging.getLogger("cachemw.cache")

Marks: TypeAlias = tuple[PurgesMark, ...]


class Changes:
    """Purges on behalf of requests."""

    def __init__(
        self, keeper: Keeper, policies: RouteTable[CachePolicy], marks: RouteTable[Marks]
    ) -> None:
        self._keeper = keeper
        self._policies = policies
        self._marks = marks

    def marks_of(self, scope: Scope) -> Matched[Marks] | None:
        """What is marked on the route of a request."""
        return self._marks.match(
            scope.get("app"), scope["method"], route_path(scope), host_of(scope)
        )

    async def purge_after(
        self, scope: Scope, response: ResponseHead, marks: Matched[Marks] | None
    ) -> None:
        """Purge what the success of a request made obsolete. A purge that is lost, because the
        store is away, is logged: what it was about is served until its lifetime ends."""
        if not 200 <= response.status < 400:
            return
        request = head_of(scope)
        try:
            for path, query in targets_to_invalidate(request, response):
                await self._purge_url(scope, request, path, query)
            groups = [tag_bytes(group) for group in groups_to_invalidate(request, response)]
            await self._purge_tags(groups, soft=False)
            if marks is not None:
                await self._obey(scope, request, marks)
        except StoreUnavailable as error:
            logger.error("a purge after %s %s was lost: %s", request.method, scope["path"], error)

    async def _obey(self, scope: Scope, request: RequestHead, marks: Matched[Marks]) -> None:
        inputs = TagInputs(dict(marks.params), request.query, request.headers)
        for mark in marks.policy:
            tags = list(mark.tags.render(inputs))
            if mark.namespace:
                tags.append(namespace_tag(mark.namespace))
            await self._purge_tags(tags, soft=mark.soft)
            for template in mark.urls:
                url = urlsplit(template.url(inputs))
                path, query = url.path.encode(), url.query.encode()
                await self._purge_url(scope, request, path, query, soft=mark.soft)

    async def _purge_tags(self, tags: Sequence[bytes], *, soft: bool) -> None:
        if tags:
            await self._keeper.purge_tags(tags, soft=soft)

    async def _purge_url(
        self, scope: Scope, request: RequestHead, path: bytes, query: bytes, *, soft: bool = False
    ) -> None:
        """Purge a URL of the request's own origin, if it is one that is cached at all."""
        plain = unquote(path.decode("latin-1"))
        routed = route_path({**scope, "path": plain})
        matched = self._policies.match(scope.get("app"), "GET", routed, host_of(scope))
        if matched is not None:
            target = RequestHead("GET", request.scheme, request.host, path, query)
            await self._keeper.purge_resource(primary_key(target, matched.policy), soft=soft)
