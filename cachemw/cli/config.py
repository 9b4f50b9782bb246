"""`cachemw config`: is the settings file right, what does it come to, and its schema."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import click

from cachemw.caching.policy import CachePolicy
from cachemw.cli.reach import json_option
from cachemw.cli.tell import Column, note, rows
from cachemw.config import Settings, load_settings
from cachemw.installing import limits_from, sessions_from
from cachemw.routes import Routes
from cachemw.schema import schema as settings_schema
from cachemw.stores.targets import from_url


@click.group()
def config() -> None:
    """Check a settings file, show it, print its schema.

    CACHEMW_* variables are laid over the file, as they are for the app.
    """


@config.command()
@click.argument("file", required=False, envvar="CACHEMW_CONFIG", type=click.Path(dir_okay=False))
def check(file: str | None) -> None:
    """Whether FILE, and the CACHEMW_* variables, can be meant. Ends with 2 if not."""
    _checked(file)
    note(f"{file or 'the variables'}: nothing amiss")


@config.command()
@click.argument("file", required=False, envvar="CACHEMW_CONFIG", type=click.Path(dir_okay=False))
@json_option
def show(file: str | None, as_json: bool) -> None:
    """What FILE and the CACHEMW_* variables come to together."""
    settings = _checked(file)
    told = [{"section": "store", "name": "", "says": _place(settings.store)}]
    for section, policies in (("policies", settings.policies), ("cache", settings.cache)):
        told += [_policy(section, name, policy) for name, policy in policies.items()]
    told += [_said("limits", name, value) for name, value in settings.limits.items()]
    told += [_said("sessions", name, value) for name, value in (settings.sessions or {}).items()]
    rows([one for one in told if one["says"]], COLUMNS, as_json=as_json)


@config.command()
def schema() -> None:
    """The JSON schema of a settings file, for editors."""
    click.echo(json.dumps(settings_schema(), indent=2))


COLUMNS: Sequence[Column[dict[str, str]]] = (
    Column("SECTION", lambda one: one["section"]),
    Column("NAME", lambda one: one["name"]),
    Column("SAYS", lambda one: one["says"], wide=True),
)


def _checked(file: str | None) -> Settings:
    """The settings, once everything in them has been tried. `ConfigurationError` names the key."""
    settings = load_settings(file)
    Routes[CachePolicy].of(settings.cache)
    Routes[Any].of(limits_from(settings.limits))
    sessions_from(None, settings.sessions)
    _place(settings.store)
    return settings


def _place(url: str | None) -> str:
    """The store, without its password."""
    if url is None or url.partition(":")[0] in ("memory", "embedded"):
        return url or ""
    return str(from_url(url))


def _policy(section: str, name: str, policy: CachePolicy) -> dict[str, str]:
    return {"section": section, "name": name, "says": policy.describe()}


def _said(section: str, name: str, value: Any) -> dict[str, str]:
    is_secret = name in ("secrets", "encryption_keys")
    says = "(not shown)" if is_secret else json.dumps(value, default=str)
    if isinstance(value, Mapping) and not is_secret:
        pairs = cast(Mapping[str, object], value).items()
        says = ", ".join(f"{key} {json.dumps(one, default=str)}" for key, one in pairs)
    return {"section": section, "name": name, "says": says}
