"""Where the subcommands are: each in a module of its name, imported when it is asked for."""

from importlib import import_module

import click

COMMANDS = (
    *("demo", "serve", "routes", "explain", "stats", "top", "tail", "ls", "get"),
    *("purge", "bump", "warm", "limits", "sessions", "doctor", "config", "dashboard", "relay"),
)


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"cachemw.cli.{cmd_name}"), cmd_name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cachemw")
def cachemw() -> None:
    """Response cache, data cache, sessions and rate limits on one Redis or Valkey."""
