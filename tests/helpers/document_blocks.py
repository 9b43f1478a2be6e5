"""For tests: the code blocks of the documents, and how a reader works through a page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import click
from commands import Result, bench
from markdown_it import MarkdownIt

from bench.cli.main import cli

TITLE = re.compile(r'title="([^"]+)"')
OUTPUT = "Output"
LAUNCHERS = re.compile(
    r"^(?:\.venv/bin/)?(?:torchrun [^ ]+ \d+ -m |accelerate launch [^ ]+ \d+ -m )?(?=bench )"
)


@dataclass(frozen=True)
class Block:
    """A code block: its language, the file that it shows (or `OUTPUT`), its text, its line."""

    language: str
    title: str
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        """The lines of a shell, joined where they go on, without comments."""
        joined = self.text.replace("\\\n", " ")
        lines = (re.sub(r"(^|\s+)#\s.*$", "", line).strip() for line in joined.splitlines())
        return [one.strip() for line in lines if line for one in line.split(" && ")]


def blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page, also those that are only indented."""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type in {"fence", "code_block"}:
            language = token.info.split(" ")[0] if token.info else ""
            found = TITLE.search(token.info)
            line = (token.map or [0])[0] + 1
            yield Block(language, found[1] if found else "", token.content, line)


def commands_of(page: Path) -> Iterator[tuple[int, str]]:
    """The commands on a page: those of shell blocks, and of indented blocks with commands."""
    for block in blocks(page):
        if block.language in {"bash", "yaml"} or (not block.language and not block.title):
            for command in block.commands:
                if block.language == "bash" or re.match(r"(- run: )?[\w./]+ [\w\"'.-]", command):
                    yield block.line, command.removeprefix("- run: ")


def arguments_of(command: str) -> list[str] | None:
    """The arguments of a bench command, also one for several processes; None for others."""
    plain, found = LAUNCHERS.subn("", command, count=1)
    if not found:
        return None
    plain = re.sub(r"(?<= )\.\.\.(?= |$)", "", plain)  # `bench run ... --out DIR`: and the rest
    plain = re.sub(r"\[(-[^]]*)\]", r"\1", plain)  # `[--data DIR]`: where it is needed
    plain = plain.replace("POINTS", "1")
    return shlex.split(plain)[1:]


def parse(arguments: list[str]) -> None:
    """Parse a command line as bench does, without carrying it out. Raises ClickException."""
    command: click.Command = cli
    name = "bench"
    while isinstance(command, click.Group):
        name, *arguments = arguments
        found = command.commands.get(name)
        if found is None:
            raise click.UsageError(f"no command {name!r}")
        command = found
    command.make_context(name, arguments)


def masked(text: str) -> list[str]:
    """The lines of an output without what differs between machines: numbers and blanks."""
    plain = re.sub(r"[-+]?\d[\d,.]*", "#", re.sub(r"[\u2500-]{2,}", "", text))
    return [" ".join(line.split()) for line in plain.splitlines() if line.strip()]


@dataclass
class Reader:
    """One who works through a page in the working folder, block by block.

    Files that the page shows are written, Python is executed, commands of bench are carried out in
    this process, and what the page shows as output must be what the last block printed. `skip`
    says why a command is not carried out; it is parsed if it is one of bench.
    """

    skip: Callable[[str], str | None]
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    printed: str = ""

    def read(self, page: Path) -> None:
        """Work through a page; a block that fails is named by page and line."""
        for block in blocks(page):
            try:
                self.follow(block)
            except Exception as error:
                raise AssertionError(f"{page.name}:{block.line}: {error}") from error

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        if block.title == OUTPUT:
            shown, printed = masked(block.text), masked(self.printed)
            assert [line for line in shown if line not in printed] == [], self.printed
        elif block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            with redirect_stdout(StringIO()) as out:
                exec(compile(block.text, "block", "exec"), self.names)
            self.printed = out.getvalue()
        elif block.language == "bash":
            for command in block.commands:
                self.run(command)

    def run(self, command: str) -> None:
        """Carry a command out."""
        arguments = arguments_of(command)
        if self.skip(command) is not None:
            if arguments is not None:
                parse(arguments)
            return
        assert arguments is not None, f"{command}: not a command of bench"
        result: Result = bench(*arguments)
        assert result.code == 0, f"{command}: {result.err}"
        self.printed = result.out + result.err
