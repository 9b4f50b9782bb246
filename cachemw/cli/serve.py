"""`cachemw serve`: run an app with uvicorn."""

import os
import sys

import click


@click.command()
@click.argument("app", metavar="[MODULE:APP]", envvar="CACHEMW_APP")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8000, show_default=True, help="0 takes any that is free.")
@click.option("--workers", default=1, show_default=True, help="Processes; they share the store.")
@click.option("--reload", is_flag=True, help="Begin anew when a file changes.")
@click.option("--log-level", default="info", show_default=True, help="As uvicorn names them.")
def serve(app: str, host: str, port: int, workers: int, reload: bool, log_level: str) -> None:
    """Serve an app with uvicorn."""
    import uvicorn

    if workers > 1 and reload:
        raise click.UsageError("--reload is for one worker")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    named = app if ":" in app else f"{app}:app"
    uvicorn.run(named, host=host, port=port, workers=workers, reload=reload, log_level=log_level)
