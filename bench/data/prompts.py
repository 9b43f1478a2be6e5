"""Prompt templates: fill in class names and read templates from files.

In a template, ``{}`` stands for the class name as it is, and ``{a}`` for the name with its article
and with spaces instead of underscores: "an airport hangar", "a barn". Official templates are Python
files; these are parsed, never executed.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.core.errors import InputError, reason_of, shortened, unknown_name
from bench.core.foreign.documents import parse_json, parse_yaml
from bench.core.foreign.files import read_bounded, reading, text_of

PLAIN = ("a photo of a {}.",)
"""The default prompt, used if no installed package has the official ones."""
_PLACE = re.compile(r"\{[^{}]*\}|[{}]")
_ARTICLE = "append_proper_article"
"""The function that wise-ft's templates call where we write ``{a}`` (src/templates/utils.py)."""


def fill_template(template: str, name: str) -> str:
    """Return the prompt for a class name.

    Examples
    --------
    >>> from bench.data.prompts import fill_template
    >>> fill_template("a photo of {a}.", "airport_hangar"), fill_template("a {}.", "barn")
    ('a photo of an airport hangar.', 'a barn.')
    """
    article = "an" if name[:1] in tuple("aeiou") else "a"
    with_article = f"{article} {name.replace('_', ' ')}"
    return _PLACE.sub(lambda place: with_article if place[0] == "{a}" else name, template)


def check_templates(templates: Sequence[Any]) -> tuple[str, ...]:
    """Return the templates as a tuple.

    Raises InputError unless each one is a string with exactly one ``{}`` or ``{a}``.

    Examples
    --------
    >>> from bench.data.prompts import check_templates
    >>> check_templates(["a photo of {a}.", "the {}."])
    ('a photo of {a}.', 'the {}.')
    >>> check_templates(["a photo."])
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: template 'a photo.' must contain {} once, for the ...
    """
    for template in templates:
        if not isinstance(template, str) or _PLACE.findall(template) not in (["{}"], ["{a}"]):
            raise InputError(
                f"template {shortened(repr(template), 80)} must contain {{}} once, for the class "
                "name, or {a} once, for the name with its article"
            )
    return tuple(templates)


def read_templates(path: Path, name: str) -> tuple[str, ...]:
    r"""Read the templates from a file.

    A ``.json`` or ``.yaml`` file has one list, or a mapping from which the list `name` is taken. A
    ``.py`` file has lists of strings or of lambdas, as in the official codes; the list
    ``NAME_template`` is taken, or the only list. Any other file has one template per line. ``{c}``
    is read as ``{}``. Raises InputError if the file cannot be read or has no valid templates.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.prompts import read_templates
    >>> _ = Path("prompts.txt").write_text("a photo of a {}.\na drawing of a {c}.")
    >>> read_templates(Path("prompts.txt"), "pets")
    ('a photo of a {}.', 'a drawing of a {}.')
    """
    with _named():
        text = text_of(path)
    try:
        if path.suffix == ".py":
            found = _parse_python(text, name)
        elif path.suffix == ".json":
            found = _select_list(parse_json(text), name)
        elif path.suffix in (".yaml", ".yml"):
            found = _select_list(parse_yaml(text), name)
        else:
            found = [line.strip() for line in text.splitlines() if line.strip()]
            _check_lines(found)
        found = [t.replace("{c}", "{}") if isinstance(t, str) else t for t in found]
        if not found:
            raise InputError("no template: expected one per line, such as 'a photo of a {}.'")
        return check_templates(found)
    except (InputError, SyntaxError, ValueError) as error:
        raise InputError(f"templates {path}: {reason_of(error, 300)}") from error
    except (RecursionError, MemoryError) as error:
        raise InputError(f"templates {path}: nested too deeply to be parsed") from error


def templates_digest(path: Path) -> str:
    """Return the SHA-256 of a template file. Raises InputError if it cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.prompts import templates_digest
    >>> _ = Path("plain.txt").write_text("a photo of a {}.")
    >>> templates_digest(Path("plain.txt"))[:8]
    'e8e367e7'
    """
    with _named(), reading(path):
        return hashlib.sha256(read_bounded(path)).hexdigest()


@contextmanager
def _named() -> Iterator[None]:
    """Say of an error that templates were to be read."""
    try:
        yield
    except InputError as error:
        raise InputError(f"templates: {error}") from error


_LISTED = re.compile(r"""[-*]\s.*|\d+[.:,]\s.*|\[?["'].*["'][],]*""")
"""A line with a bullet or a number, or in quotes."""


def _check_lines(lines: Sequence[str]) -> None:
    """Raise InputError if all lines have the marks of a list, which would be read as text."""
    if lines and all(_LISTED.fullmatch(line) for line in lines):
        raise InputError(
            f"{shortened(lines[0], 80)}: expected a template per line, without quotes, bullets or "
            "numbers; a list in JSON or YAML needs a file name that ends in .json or .yaml"
        )


def _select_list(content: Any, name: str) -> list[Any]:
    """Return the list of templates in the content of a JSON file."""
    if isinstance(content, dict):
        if name not in content:
            raise unknown_name("list of templates", name, map(str, content))
        content = content[name]
    if not isinstance(content, list):
        raise InputError("expected a list of templates, or an object with named lists")
    return content


def _parse_python(text: str, name: str) -> list[Any]:
    """Return the list of templates in a Python file."""
    tree = ast.parse(text)
    lists = {
        statement.targets[0].id: statement.value.elts
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.List)
    }
    key = f"{name}_template"
    if not lists:
        raise InputError(f"no list of templates: expected {key} = ['a photo of a {{}}.']")
    if len(lists) != 1 and key not in lists:
        raise unknown_name("list of templates", key, lists)
    chosen = key if key in lists else next(iter(lists))
    _check_assigned_once(tree, chosen)
    nodes = lists[chosen]
    return [_template_of(node) for node in nodes]


def _check_assigned_once(tree: ast.Module, name: str) -> None:
    """Raise InputError if a file changes a list after assigning it, since += would be ignored."""
    assigned = False
    for statement in tree.body:
        assigns = isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in statement.targets
        )
        mentions = any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(statement))
        if mentions and ((assigns and assigned) or not isinstance(statement, ast.Assign)):
            raise InputError(
                f"line {statement.lineno}: {name} is changed after its assignment; expected one "
                "list of all templates"
            )
        assigned |= assigns


def _template_of(node: ast.expr) -> str:
    """Return the template that a string, or a lambda of the class name, represents."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Lambda) and len(node.args.args) == 1:
        argument, body = node.args.args[0].arg, node.body
        if isinstance(body, ast.JoinedStr):
            return "".join(_template_part(part, argument) for part in body.values)
    raise _unsupported(node)


def _template_part(part: ast.expr, argument: str) -> str:
    """Return the template text for one part of an f-string."""
    if isinstance(part, ast.Constant) and not _PLACE.search(str(part.value)):
        return str(part.value)
    code = ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ""
    plain = isinstance(part, ast.FormattedValue) and part.conversion < 0 and not part.format_spec
    if plain and code == argument:
        return "{}"
    if plain and code == f"{_ARTICLE}({argument})":
        return "{a}"
    raise _unsupported(part)


def _unsupported(node: ast.expr) -> InputError:
    code = " ".join(ast.unparse(node).split())
    return InputError(
        f"line {node.lineno}: not a template: expected a string or a lambda that puts the class "
        f"name into an f-string, got {code}"
    )
