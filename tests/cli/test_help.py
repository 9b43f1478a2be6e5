"""Help: options in groups, examples for each command, first lines that are shown whole."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import cloup
import pytest
from commands import bench

from bench.cli.main import cli

SEVERAL = {"run", "plan", "score", "import"}
"""Commands with so many options that these stand in groups."""


def commands(group: click.Group = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")


COMMANDS = dict(commands())


def test_first_lines_are_not_cut() -> None:
    for group in ("", "data", "cache"):
        shown = bench(*group.split(), "--help").out
        assert "..." not in shown.split("Examples:")[0].split("Options:")[1]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_says_what_it_does_in_a_sentence(name: str) -> None:
    first = (COMMANDS[name].help or "").splitlines()[0]
    assert first.endswith(".") and len(first) <= 65


@pytest.mark.parametrize("name", sorted(n for n, c in COMMANDS.items() if " " not in n))
def test_every_command_has_examples_that_parse(name: str) -> None:
    shown = bench(name, "--help").out.split("Examples:\n")[1].replace("\\\n", " ")
    lines = [line for line in shown.splitlines() if line.strip()]
    assert 2 <= len(lines) <= 4
    for line in lines:
        for part in line.split("#")[0].split("&&"):
            program, first, *rest = shlex.split(part)
            assert program == "bench"
            command = COMMANDS[first]
            if isinstance(command, click.Group):
                command, rest = command.commands[rest[0]], rest[1:]
            command.make_context(first, rest, resilient_parsing=False)


@pytest.mark.parametrize("name", ["", *sorted(COMMANDS)])
def test_help_fits_a_terminal(name: str) -> None:
    assert max(map(len, bench(*name.split(), "--help").out.splitlines())) <= 80


@pytest.mark.parametrize("name", sorted(SEVERAL))
def test_long_lists_of_options_stand_in_groups(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, cloup.Command)
    assert len(command.option_groups) >= 3
    headings = re.findall(r"^(\S.*):$", bench(name, "--help").out, re.MULTILINE)
    assert {group.title for group in command.option_groups} <= set(headings)
