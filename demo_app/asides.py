"""What the tour has no step for, as data: a button for each behaviour that `more.py` shows."""

from demo_app.tour import Ask, button, get

MORE = (
    button(
        "HEAD is answered from GET",
        get("/more/file", "200 miss"),
        Ask("HEAD", "/more/file", "200 hit"),
    ),
    button(
        "A range of a stored page",
        get("/more/file", "200 hit"),
        get("/more/file", "206 hit", headers={"Range": "bytes=0-8"}),
    ),
    button(
        "only-if-cached: 504 rather than a run",
        get(
            "/more/edition?of=nobody",
            "504 error only-if-cached",
            headers={"Cache-Control": "only-if-cached"},
        ),
    ),
    button(
        "The app's own headers, s-maxage first",
        get("/more/origin", "200 miss"),
        get("/more/origin", "200 hit"),
    ),
    button(
        "CDN-Cache-Control wins over Cache-Control",
        get("/more/targeted", "200 miss"),
        get("/more/targeted", "200 hit"),
    ),
    button(
        "A lifetime of its own for browsers",
        get("/more/logo", "200 miss"),
        get("/more/logo", "200 hit"),
    ),
    button(
        "A 404 that is kept for ten seconds",
        get("/more/missing/7", "404 miss"),
        get("/more/missing/7", "404 hit"),
    ),
    button(
        "A lifetime that the response decides",
        get("/more/edition", "200 miss"),
        get("/more/edition", "200 hit"),
    ),
    button(
        "POST, keyed by its body",
        Ask("POST", "/more/graphql", "200 miss", body='{"query": "{ tea }"}'),
        Ask("POST", "/more/graphql", "200 hit", body='{"query": "{ tea }"}'),
        Ask("POST", "/more/graphql", "200 miss", body='{"query": "{ cups }"}'),
    ),
    button(
        "PUT purges its own URL",
        get("/more/document", "200 miss"),
        get("/more/document", "200 hit"),
        Ask("PUT", "/more/document", "200 answer"),
        get("/more/document", "200 miss"),
    ),
    button(
        "Cache-Groups, invalidated by a header",
        get("/more/menu", "200 miss"),
        get("/more/menu", "200 hit"),
        Ask("POST", "/more/menu", "200 answer"),
        get("/more/menu", "200 miss"),
    ),
    button(
        "A stream: first byte at once, kept when it is whole",
        get("/more/stream", "200 miss"),
        get("/more/stream", "200 hit"),
    ),
    button(
        "Pages for one user each",
        get("/more/orders", "200 miss", headers={"Authorization": "Bearer ada"}),
        get("/more/orders", "200 hit", headers={"Authorization": "Bearer ada"}),
        get("/more/orders", "200 miss", headers={"Authorization": "Bearer bob"}),
    ),
    button(
        "One page for all members, and a guard",
        get("/more/handbook", "200 miss", headers={"Authorization": "Bearer ada"}),
        get("/more/handbook", "200 hit", headers={"Authorization": "Bearer bob"}),
        get("/more/handbook", "403 bypass guard", headers={"Authorization": "Bearer eve"}),
    ),
    button(
        "One named cookie in the key",
        get("/more/themed", "200 miss", cookies={"theme": "dark"}),
        get("/more/themed", "200 hit", cookies={"theme": "dark"}),
        get("/more/themed", "200 miss", cookies={"theme": "light"}),
    ),
    button(
        "The app fails: the old page instead",
        get("/more/flaky", "200 miss"),
        get("/more/flaky", "200 stale stale-if-error", wait=2.2),
    ),
    button(
        "The app is slow: the old page after 200 ms",
        get("/more/slowing", "200 miss"),
        get("/more/slowing", "200 stale stale-if-error", wait=2.2),
    ),
    button(
        "Refreshed ahead: never stale",
        get("/more/busy", "200 miss"),
        get("/more/busy", "200 hit", wait=2.5),
        get("/more/busy", "200 hit", wait=1),
    ),
    button(
        "Work in the background delays nobody",
        get("/more/mailing", "200 miss"),
        get("/more/mailing", "200 hit"),
    ),
)
