"""The command `cachemw`. Its ends, for scripts that call it:

    0     done
    1     not done: the store is away, there was nothing to be found, somebody said no
    2     asked wrongly: an option, a URL, a pattern
    3     nothing matched, with --fail-empty
    130   interrupted

Data goes to stdout; progress and complaints go to stderr.
"""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from cachemw.errors import CachemwError, ConfigurationError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, and end the process."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        sys.exit(f"cachemw: the command needs {' and '.join(missing)}: pip install 'cachemw[cli]'")
    import click

    from cachemw.cli.group import cachemw

    try:
        sys.exit(cachemw.main(arguments, prog_name="cachemw", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # whoever read has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except CachemwError as error:
        click.echo(f"cachemw: {error}", err=True)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
