"""`cachemw demo`: the tour in the browser."""

from importlib import import_module
from importlib.util import find_spec

import click


@click.command()
@click.option("--port", default=8000, show_default=True, help="On this machine only.")
@click.option("--plain", is_flag=True, help="The same in plain Starlette.")
def demo(port: int, plain: bool) -> None:
    """A tour of everything, in the browser.

    The demo is in the repository, not in the package: `python3 run.py demo` brings all it needs.
    """
    if find_spec("demo_app") is None:
        raise click.ClickException(
            "the demo is in the repository: clone it, and python3 run.py demo"
        )
    import_module("demo_app.__main__").serve(port, plain=plain)
