"""The command `cachemw`: what it is called, how it ends, and where its subcommands are.

A subcommand is a module beside this one, imported when it is asked for, that has a click command of
its own name. Data goes to stdout, progress and complaints to stderr. It ends with

    0     done
    1     not done: the store is away, or nothing was found
    2     asked wrongly: an option, a URL, a pattern
    130   interrupted
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from cachemw.errors import CachemwError, ConfigurationError

COMMANDS = {"relay": "carry the purges of one region to another"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process."""
    try:
        import click
    except ModuleNotFoundError:
        sys.exit("the command needs what the extra brings: pip install 'cachemw[cli]'")

    class Commands(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return list(COMMANDS)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            if cmd_name not in COMMANDS:
                return None
            command: click.Command = getattr(
                import_module(f"cachemw.cli.{cmd_name}"), cmd_name
            )
            return command

    @click.group(cls=Commands)
    @click.version_option(package_name="cachemw")
    def cachemw() -> None:
        """A response cache, a data cache, sessions and rate limits on one Redis or Valkey."""

    try:
        sys.exit(cachemw.main(arguments, prog_name="cachemw", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except CachemwError as error:
        click.echo(f"cachemw: {error}", err=True)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
