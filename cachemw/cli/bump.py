"""`cachemw bump`: a new version of a namespace."""

import click

from cachemw.caching.cache import Cache
from cachemw.cli.reach import awaited, json_option, on_a_store, reached
from cachemw.cli.tell import facts


@click.command()
@click.argument("namespaces", nargs=-1, required=True, metavar="NAMESPACE...")
@click.option("--region", envvar="CACHEMW_REGION", help="This region, whose purges others follow.")
@on_a_store
@json_option
@awaited
async def bump(
    namespaces: tuple[str, ...],
    region: str | None,
    store: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Make all that is in a namespace invalid."""
    async with reached(store, app) as found:
        cache = Cache(found.store, region=region) if region is not None else found.cache
        for namespace in namespaces:
            await cache.bump(namespace)
            facts({"bumped": namespace}, {"bumped": namespace}, as_json=as_json)
