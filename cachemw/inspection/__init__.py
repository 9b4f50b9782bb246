"""Looking at what is cached, and why: for the command line, the dashboard, and scripts.

    await listing(store, Filter(name="/products/*"))      what there is
    await named(store, "/products/3")                     one URL with its variants, or one value
    await content(store, "e:{...}")                       all of it, decoded
    await explain(app, "GET", "/products/3")              what would happen to a request, and why
    route_policies(app)                                   every route with its policy

Nothing here changes anything, runs a handler, or prints.
"""

from cachemw.inspection.apps import CachedApp, RoutePolicy, complaints, route_policies
from cachemw.inspection.explain import Explanation, explain
from cachemw.inspection.listing import Content, Filter, Listing, content, listing, named
from cachemw.inspection.stored import Kind, State, Stored, seen

__all__ = [
    "CachedApp",
    "Content",
    "Explanation",
    "Filter",
    "Kind",
    "Listing",
    "RoutePolicy",
    "State",
    "Stored",
    "complaints",
    "content",
    "explain",
    "listing",
    "named",
    "route_policies",
    "seen",
]
