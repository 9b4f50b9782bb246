"""What a policy means on one route: all that does not depend on the request, worked out once."""

from dataclasses import dataclass

from cachemw.caching.policy import CachePolicy
from cachemw.caching.stamps import namespace_tag, route_tag
from cachemw.caching.tags import TagInputs
from cachemw.messages import RequestHead
from cachemw.routes import Matched, Pattern


@dataclass(frozen=True, slots=True)
class Setting:
    """A policy on the route of a pattern."""

    policy: CachePolicy
    pattern: Pattern
    fixed_tags: tuple[bytes, ...]
    is_plain: bool
    """Whether neither cookies nor identities are part of its keys."""

    @classmethod
    def of(cls, policy: CachePolicy, pattern: Pattern) -> "Setting":
        tags = [route_tag(pattern.text)]
        if policy.namespace:
            tags.append(namespace_tag(policy.namespace))
        tags += policy.tag_templates.fixed
        told_apart = policy.credentials == "identity" or policy.cookie_names or policy.identities
        return cls(policy, pattern, tuple(dict.fromkeys(tags)), not told_apart)

    def tags(
        self, matched: Matched[CachePolicy], request: RequestHead, identity: str
    ) -> tuple[bytes, ...]:
        """The tags that a request tells for every entry it leads to."""
        templates = self.policy.tag_templates.templates
        if not templates:
            return self.fixed_tags
        inputs = TagInputs(matched.params, request.query, request.headers, identity)
        rendered = (template.render(inputs) for template in templates)
        return tuple(dict.fromkeys((*self.fixed_tags, *rendered)))


class Settings:
    """The settings met so far. Policies and patterns are few, and compared by identity."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Setting] = {}

    def of(self, matched: Matched[CachePolicy]) -> Setting:
        key = (id(matched.policy), id(matched.pattern))
        setting = self._known.get(key)
        if setting is None:  # it holds both, so that no other object can get their ids
            setting = self._known[key] = Setting.of(matched.policy, matched.pattern)
        return setting
