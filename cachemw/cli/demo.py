"""`cachemw demo`: the tour in the browser."""

import click


@click.command()
@click.option("--port", default=8000, show_default=True, help="On this machine only.")
@click.option("--plain", is_flag=True, help="The same in plain Starlette.")
def demo(port: int, plain: bool) -> None:
    """A tour of everything, in the browser.

    The demo is in the repository, not in the package: `python3 run.py demo` brings all it needs.
    """
    from importlib.util import find_spec

    if find_spec("demo_app") is None:
        raise click.ClickException(
            "the demo is in the repository: clone it, and python3 run.py demo"
        )
    import uvicorn

    click.echo(f"The tour is at http://127.0.0.1:{port}/ (Ctrl-C ends it)", err=True)
    named = "demo_app.plain:app" if plain else "demo_app.main:app"
    uvicorn.run(named, host="127.0.0.1", port=port, log_level="warning")
