"""`cachemw dashboard`: the dashboard of a store, without an app to mount it in."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import click
from starlette.applications import Starlette
from starlette.routing import Mount

from cachemw.cli.reach import load_app, on_a_store, patient
from cachemw.dashboard import dashboard as made
from cachemw.stores import open_store


@click.command()
@click.option("--port", default=8001, show_default=True, help="On this machine only.")
@click.option("--allow-purge", is_flag=True, help="Let it purge; else it only shows.")
@on_a_store
def dashboard(port: int, allow_purge: bool, store: str | None, app: str | None) -> None:
    """Serve the dashboard of a store, on this machine."""
    import uvicorn

    if app is None and not store:
        raise click.UsageError("name a store: --store redis://localhost:6379/0, or --app")
    source: Any = load_app(app) if app else open_store(patient(store or ""))
    opened = source if app is None else None

    @asynccontextmanager
    async def open_and_close(_: Starlette) -> AsyncGenerator[None]:
        if opened is not None:
            await opened.open()
        try:
            yield
        finally:
            if opened is not None:
                await opened.aclose()

    shown = made(source, allow_purge=allow_purge)
    served = Starlette(routes=[Mount("/", shown)], lifespan=open_and_close)
    click.echo(f"The dashboard is at http://127.0.0.1:{port}/ (Ctrl-C ends it)", err=True)
    uvicorn.run(served, host="127.0.0.1", port=port, log_level="warning")
