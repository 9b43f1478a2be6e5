"""Pages of the site that are made: of commands, methods, Python, decisions and notebooks."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import cloup

from bench.api.registry import methods
from bench.cli.main import SECTIONS
from bench.cli.show.catalogue import describe_name

PACKAGES: Mapping[str, str] = {
    "api": "the plugin contract",
    "posthoc": "arrays in, arrays out",
    "models": "models, heads, training",
    "data": "folders, readers, suites",
    "testing": "contracts, fakes and synthetic data",
    "core": "errors, records, the store",
    "leaderboard": "from records to boards",
    "report": "tables, figures and pages",
    "front": "the functions behind `bench.run`",
}
"""The packages that users and plugins import from; `tests/repository/test_examples.py` has them."""


def reference(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the pages made from the repository at `root`: their path on the site, their text."""
    yield "reference/command-line.md", "\n".join(_command_line())
    yield "reference/method-cards.md", "\n".join(_methods())
    for package in PACKAGES:
        yield f"reference/python/{package}.md", "\n".join(_package(root, package))
    yield "decisions/index.md", "\n".join(_decisions(root))
    for path in sorted((root / "docs" / "examples").glob("*.ipynb")):
        yield f"examples/{path.stem}.md", _notebook(path)


def _linked(text: str, up: str = "..") -> str:
    """Return a text with the pages of the documentation that it names as links."""
    return re.sub(r"\bdocs/([a-z0-9/-]+\.md)", rf"[docs/\1]({up}/\1)", text)


def _command_line() -> Iterator[str]:
    yield "# Command line\n"
    yield "What `bench --help` and `bench COMMAND --help` print, for all commands.\n"
    yield "| command | |\n|---|---|"
    for section in SECTIONS:
        for name, command in section.commands.items():
            anchor = f"bench-{name}"
            yield f"| [`bench {name}`](#{anchor}) | {command.get_short_help_str(limit=200)} |"
    for section in SECTIONS:
        for name, command in section.commands.items():
            yield from _command(f"bench {name}", command, "##")


def _command(name: str, command: click.Command, level: str) -> Iterator[str]:
    yield f"\n{level} {name}\n"
    with click.Context(command, info_name=name) as context:
        if isinstance(command, click.Group):
            yield _prose(command)
            for sub in command.list_commands(context):
                yield from _command(f"{name} {sub}", command.commands[sub], f"{level}#")
            return
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{name} {usage}\n```\n"
        yield _prose(command)
        for title, options in _groups(command):
            yield f"\n**{title}**\n\n| option | |\n|---|---|"
            for option in options:
                record = option.get_help_record(context)
                if record is not None:
                    what, text = (_cell(part) for part in record)
                    yield f"| `{what}` | {_linked(text)} |"
    if command.epilog:
        lines = re.sub(
            r"^Examples:\s*", "", click.unstyle(command.epilog).replace("\b", "").strip()
        )
        examples = "\n".join(line.strip() for line in lines.splitlines() if line.strip())
        yield f"\n```bash\n{examples}\n```"


def _prose(command: click.Command) -> str:
    return _linked(inspect.cleandoc((command.help or "").replace("\b", ""))) + "\n"


def _groups(command: click.Command) -> Iterator[tuple[str, list[click.Option]]]:
    """The options of a command as its help groups them."""
    own = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    grouped = command.option_groups if isinstance(command, cloup.Command) else []
    for group in grouped:
        yield group.title.rstrip(":"), [option for option in own if option in group.options]
    rest = [option for option in own if not any(option in group.options for group in grouped)]
    if rest:
        yield "Other options" if grouped else "Options", rest


def _cell(text: str) -> str:
    """A text of one line that a cell of a table can have."""
    return " ".join(text.split()).replace("|", "\\|")


def _methods() -> Iterator[str]:
    yield "# Methods\n"
    yield "What `bench show METHOD` prints. See also [papers and codes](../methods.md)."
    for name in methods():
        card = describe_name(name, "mini")
        official = card["under protocol official"]
        yield f"\n## {name}\n\n**{card['title']}.** {card['idea']}\n"
        yield f"```text\n{card['equation']}\n```\n\nSource: {_linked(card['source'])}. "
        yield f"Kind: {card['kind']}. Needs: {card['needs'] or 'nothing'}.\n"
        if card["parameters"]:
            yield "| parameter | default | `official` | source of the values |\n|---|---|---|---|"
        for key, value in card["parameters"].items():
            source = _linked(_cell(card["sources"].get(key, "")))
            published = f"`{_cell(official[key])}`" if key in official else ""
            yield f"| `{key}` | `{_cell(value)}` | {published} | {source} |"


def _package(root: Path, package: str) -> Iterator[str]:
    yield f"# bench.{package}\n\n{PACKAGES[package].capitalize()}.\n"
    folder = root / "bench" / package
    for path in sorted(folder.rglob("*.py")):
        parts = ("bench", package, *path.relative_to(folder).with_suffix("").parts)
        if any(part[0] == "_" and part != "__init__" for part in parts):
            continue
        module = ".".join(part for part in parts if part != "__init__")
        yield f"::: {module}\n"


def _decisions(root: Path) -> Iterator[str]:
    yield "# Decisions\n\nWhy things are as they are, a dated page for each hard question.\n"
    for path in sorted((root / "docs" / "decisions").glob("*.md"), reverse=True):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        yield f"- [{title}]({path.name})"


def _notebook(path: Path) -> str:
    """The cells of a notebook, and the notebook itself to load down."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    return "\n\n".join([*parts, f"[The notebook]({path.name})"])
