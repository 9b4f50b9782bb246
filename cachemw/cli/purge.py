"""`cachemw purge`: make what is kept invalid."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import click

from cachemw.caching.cache import Cache
from cachemw.caching.endpoint import Order, carry_out
from cachemw.caching.keeper import Keeper
from cachemw.caching.purging import PolicyOf
from cachemw.caching.relay import purge_everything
from cachemw.caching.remote import PurgeClient
from cachemw.cli.reach import Reached, awaited, json_option, on_a_store, reached
from cachemw.cli.tell import confirmed, facts, progress
from cachemw.inspection import Filter, Kind, State, listing, named
from cachemw.stores.base import Store


@dataclass(frozen=True, slots=True)
class Orders:
    """What is to be purged."""

    tags: tuple[str, ...]
    namespaces: tuple[str, ...]
    routes: tuple[str, ...]
    urls: tuple[str, ...]
    keys: tuple[str, ...]
    patterns: tuple[str, ...]
    everything: bool

    def words(self) -> str:
        named = (
            *(f"tag {tag}" for tag in self.tags),
            *(f"namespace {name}" for name in self.namespaces),
            *(f"route {route}" for route in self.routes),
            *(f"URL {url}" for url in self.urls),
            *(f"key {key}" for key in self.keys),
            *(f"keys like {pattern}" for pattern in self.patterns),
            *(["everything that is cached"] if self.everything else []),
        )
        return ", ".join(named)

    def filters(self) -> Iterator[Filter]:
        """What the orders cover that is not named one by one."""
        yield from (Filter(tag=tag) for tag in self.tags)
        yield from (Filter(namespace=name) for name in self.namespaces)
        yield from (Filter(route=route) for route in self.routes)
        yield from (Filter(pattern, kind=Kind.VALUE) for pattern in self.patterns)
        if self.everything:
            yield Filter()


@click.command()
@click.option("-t", "--tag", "tags", multiple=True, help="Whatever has this tag.")
@click.option("--namespace", "namespaces", multiple=True, help="Whatever is in it.")
@click.option("--route", "routes", multiple=True, help="A route's responses: '/products/{id}'.")
@click.option("-u", "--url", "urls", multiple=True, help="A URL, all variants of it.")
@click.option("-k", "--key", "keys", multiple=True, help="A value.")
@click.option("-p", "--pattern", "patterns", multiple=True, help="Values: 'user:1001:*'.")
@click.option("--all", "everything", is_flag=True, help="All responses and values.")
@click.option("--soft", is_flag=True, help="Mark as stale, to be served while it is made anew.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what it would cover; do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--region", envvar="CACHEMW_REGION", help="This region, whose purges others follow.")
@click.option("--to", metavar="URL", help="A purge endpoint, in place of a store.")
@click.option("--fail-empty", is_flag=True, help="End with 3 when a dry run covers nothing.")
@on_a_store
@json_option
@awaited
async def purge(
    tags: tuple[str, ...],
    namespaces: tuple[str, ...],
    routes: tuple[str, ...],
    urls: tuple[str, ...],
    keys: tuple[str, ...],
    patterns: tuple[str, ...],
    everything: bool,
    soft: bool,
    dry_run: bool,
    yes: bool,
    region: str | None,
    to: str | None,
    fail_empty: bool,
    store: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Make responses and values invalid, everywhere.

    \b
    cachemw purge --tag product:3 --store redis://localhost:6379/0
    cachemw purge --pattern 'user:1001:*' --dry-run
    """
    orders = Orders(tags, namespaces, routes, urls, keys, patterns, everything)
    if not orders.words():
        raise click.UsageError(
            "nothing to purge: --tag, --namespace, --route, --url, --key, --pattern or --all"
        )
    if everything and soft:
        raise click.UsageError("--all is not soft: bump namespaces, or purge routes with --soft")
    if to is not None:
        if patterns or everything or dry_run or region:
            raise click.UsageError("--to takes no --pattern, --all, --dry-run or --region")
        await _order(orders, to, soft=soft, yes=yes, as_json=as_json)
        return
    async with reached(store, app) as found:
        if dry_run:
            covered = await _covered(found.store, orders, found.policies)
            facts({"would_purge": covered}, {"would purge": f"{covered:,}"}, as_json=as_json)
            if fail_empty and not covered:
                raise SystemExit(3)
            return
        how = "softly " if soft else ""
        if not confirmed(f"Purge {how}{orders.words()} in {found.store}?", yes=yes):
            raise SystemExit(1)
        count = await _purge(found, orders, soft=soft, region=region)
    _tell(orders, count, soft=soft, as_json=as_json)


def _tell(orders: Orders, count: int, *, soft: bool, as_json: bool) -> None:
    said = {"purged": orders.words(), "soft": soft, "found": count}
    is_counted = bool(orders.urls or orders.keys or orders.patterns)
    told = {"purged": orders.words(), "found by name": f"{count:,}" if is_counted else ""}
    facts(said, told, as_json=as_json)


async def _order(orders: Orders, to: str, *, soft: bool, yes: bool, as_json: bool) -> None:
    """Have it done by an app that takes signed orders."""
    key = os.environ.get("CACHEMW_PURGE_KEY", "")
    if not key:
        raise click.UsageError("--to signs with CACHEMW_PURGE_KEY, which is to be 'id:secret'")
    client = PurgeClient(to, key)
    if not confirmed(f"Purge {'softly ' if soft else ''}{orders.words()} at {to}?", yes=yes):
        raise SystemExit(1)
    count = await client.purge(
        tags=orders.tags,
        urls=orders.urls,
        keys=orders.keys,
        namespaces=orders.namespaces,
        routes=orders.routes,
        soft=soft,
    )
    _tell(orders, count, soft=soft, as_json=as_json)


async def _covered(store: Store, orders: Orders, policies: PolicyOf | None) -> int:
    """How many responses and values would be invalid that are not so yet."""
    keys: set[str] = set()
    with progress("looking") as done:
        for wanted in orders.filters():
            found = await listing(store, wanted, most=10**9, look_at=10**9)
            keys.update(one.key for one in found.items if one.state is not State.PURGED)
            done(len(keys))
        for name in (*orders.urls, *orders.keys):
            for one in await named(store, name, policies=policies):
                if one.kind in (Kind.RESPONSE, Kind.VALUE) and one.state is not State.PURGED:
                    keys.add(one.key)
    return len(keys)


async def _purge(found: Reached, orders: Orders, *, soft: bool, region: str | None) -> int:
    cache = found.cache
    if region is not None:
        cache = Cache(found.store, policies=found.policies, region=region)
    order = Order(
        tags=orders.tags,
        namespaces=orders.namespaces,
        routes=orders.routes,
        urls=orders.urls,
        keys=orders.keys,
        soft=soft,
    )
    count = await carry_out(cache, order)
    for pattern in orders.patterns:
        with progress(f"keys like {pattern}") as done:
            count += await cache.purge(pattern=pattern, soft=soft, progress=done)
    if orders.everything:
        with progress("everything"):
            await purge_everything(found.store, Keeper(found.store))
    return count
