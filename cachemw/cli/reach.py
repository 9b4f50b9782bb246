"""What a command works on: a store, by its URL, or an app, by its import string."""

import asyncio
import functools
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import click

from cachemw.caching.cache import Cache
from cachemw.caching.purging import PolicyOf
from cachemw.errors import ConfigurationError
from cachemw.inspection import CachedApp
from cachemw.stores import Store, open_store

F = TypeVar("F", bound=Callable[..., Any])

# People wait longer than requests, and regions are far. A URL may say otherwise.
PATIENCE = "deadline=2s"


def on_a_store(command: F) -> F:
    """Options that say where: `--store`, or an app whose store it is."""
    for option in (
        click.option(
            "-a",
            "--app",
            metavar="MODULE:APP",
            envvar="CACHEMW_APP",
            help="The app whose store, policies and sessions are meant.",
        ),
        click.option(
            "-s",
            "--store",
            metavar="URL",
            envvar="CACHEMW_STORE",
            help="The store, such as redis://localhost:6379/0; unnecessary with --app.",
        ),
    ):
        command = option(command)
    return command


json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line, for programs."
)


def awaited(command: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """A command that is a coroutine function."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(command(*args, **kwargs))

    return run


@dataclass(frozen=True, slots=True)
class Reached:
    """A store that is open, and the app that it came from, if one was named."""

    store: Store
    app: Any = None

    @property
    def handle(self) -> Any:
        """What `install` has left in the app, None where it has not."""
        return getattr(getattr(self.app, "state", None), "cachemw", None)

    @property
    def policies(self) -> PolicyOf | None:
        """Which query parameters count, where an app can tell."""
        return None if self.app is None else CachedApp.of(self.app).policy_of

    @property
    def cache(self) -> Cache:
        """The app's own, so that other regions hear of purges as they do of its."""
        return self.handle.cache if self.handle else Cache(self.store, policies=self.policies)


@asynccontextmanager
async def reached(store: str | None, app: str | None) -> AsyncGenerator[Reached]:
    """What was named, opened, and closed in the end."""
    if app is None and not store:
        raise click.UsageError(
            "name a store: --store redis://localhost:6379/0, CACHEMW_STORE, or --app shop.main:app"
        )
    loaded = load_app(app) if app else None
    found = open_store(patient(store or "")) if loaded is None else CachedApp.of(loaded).store
    if found.is_of_one_process:
        click.echo(
            "memory:// and embedded:// are of one process, and what a running app keeps is not in "
            "this one: give both a server, redis://...",
            err=True,
        )
    try:
        yield Reached(found, loaded)
    finally:
        await found.aclose()


def load_app(named: str) -> Any:
    """The app that `package.module:name` stands for; without a name it is `app`."""
    module_name, _, path = named.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = import_module(module_name)
    except ConfigurationError:
        raise
    except Exception as error:  # whatever the app's own code raises
        raise ConfigurationError(
            f"{named!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    for part in (path or "app").split("."):
        found = getattr(found, part, None)
        if found is None:
            raise ConfigurationError(
                f"{module_name!r} has no {path or 'app'!r}: write it like 'shop.main:app'"
            )
    return found


def patient(url: str) -> str:
    """A store's URL, with a deadline for people."""
    is_of_this_process = url.startswith(("memory:", "embedded:"))
    if "deadline=" in url or is_of_this_process:
        return url
    return url + ("&" if "?" in url else "?") + PATIENCE
