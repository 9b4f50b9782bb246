"""Every command and every option is in docs/cli.md, and nothing there has been renamed since."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cachemw.cli.group import COMMANDS, cachemw

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## cachemw (\S+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
COMMON = PAGE.partition("\n## ")[0]


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        assert command is not None
        yield f"{name} {each}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {each}")


ALL = dict(commands(cachemw, "cachemw"))


@pytest.mark.parametrize("name", ALL)
def test_a_command_is_documented_with_all_its_options(name: str) -> None:
    section = SECTIONS[name.split()[1]]
    if isinstance(ALL[name], click.Group):
        return
    assert name in PAGE
    for option in ALL[name].params:
        if isinstance(option, click.Option):
            for spelt in option.opts:
                assert f"`{spelt}" in section or f"`{spelt}" in COMMON, f"{name} {spelt}"


def test_what_is_documented_is_there() -> None:
    assert set(SECTIONS) == set(COMMANDS)
    known = {spelt for command in ALL.values() for one in command.params for spelt in one.opts}
    known |= {"--help", "-h", "--version"}
    told = set(re.findall(r"`(--?[a-z][a-z-]*)", PAGE))
    assert told <= known, told - known


@pytest.mark.parametrize("name", ALL)
def test_a_command_says_what_it_does_in_a_line(name: str) -> None:
    command = ALL[name]
    assert len(command.get_short_help_str(limit=200)) <= 60
    assert all(
        getattr(option, "help", "")
        for option in command.params
        if option.param_type_name == "option"
    )
