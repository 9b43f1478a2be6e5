"""Prompt templates: how a class name is put into one, and where templates are read from.

In a template ``{}`` stands for the class name as it is and ``{a}`` for the name with its article,
underscores read as spaces: "an airport hangar", "a barn". Official templates come as Python files;
those are read, never run.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import InputError, unknown_name

PLAIN = ("a photo of a {}.",)
"""Our own prompt, where nothing that is installed ships the official ones."""
_PLACE = re.compile(r"\{[^{}]*\}|[{}]")
_ARTICLE = "append_proper_article"
"""What wise-ft's templates call for ``{a}`` (src/templates/utils.py)."""


def fill_template(template: str, name: str) -> str:
    """The prompt of a class."""
    article = "an" if name[:1] in tuple("aeiou") else "a"
    with_article = f"{article} {name.replace('_', ' ')}"
    return _PLACE.sub(lambda place: with_article if place[0] == "{a}" else name, template)


def check_templates(templates: Sequence[Any]) -> tuple[str, ...]:
    """The templates. Raises InputError unless each is a text with one place for the class name."""
    for template in templates:
        if not isinstance(template, str) or _PLACE.findall(template) not in (["{}"], ["{a}"]):
            raise InputError(
                f"template {template!r} must contain {{}} once, for the class name "
                "(or {a}, for the name with its article)"
            )
    return tuple(templates)


def read_templates(path: Path, name: str) -> tuple[str, ...]:
    """The templates of a file.

    A ``.json`` file holds a list, or lists by name, of which `name` is taken; a ``.py`` file lists
    of texts or of lambdas as the official codes have them (the list ``NAME_template``, or its
    only list); any other a template per line. ``{c}`` is read as ``{}``. Raises InputError.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read templates {path}: {error}") from error
    try:
        if path.suffix == ".py":
            found = _of_python(text, name)
        elif path.suffix == ".json":
            found = _named(json.loads(text), name)
        else:
            found = [line.strip() for line in text.splitlines() if line.strip()]
        found = [t.replace("{c}", "{}") if isinstance(t, str) else t for t in found]
        if not found:
            raise InputError("no template: expected one per line, such as 'a photo of a {}.'")
        return check_templates(found)
    except (InputError, SyntaxError, ValueError) as error:
        raise InputError(f"templates {path}: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise InputError(f"templates {path}: nested too deeply to be read") from error


def templates_digest(path: Path) -> str:
    """The SHA-256 of a file of templates. Raises InputError if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read templates {path}: {error}") from error


def _named(found: Any, name: str) -> list[Any]:
    if isinstance(found, dict):
        if name not in found:
            raise unknown_name("list of templates", name, map(str, found))
        found = found[name]
    if not isinstance(found, list):
        raise InputError("expected a list of templates, or lists by name")
    return found


def _of_python(text: str, name: str) -> list[Any]:
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
    _refuse_changes(tree, chosen)
    nodes = lists[chosen]
    return [_of_node(node) for node in nodes]


def _refuse_changes(tree: ast.Module, name: str) -> None:
    """Raise InputError if a file does more with a list than to make it once: += would be lost."""
    made = False
    for statement in tree.body:
        makes = isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in statement.targets
        )
        named = any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(statement))
        if named and ((makes and made) or not isinstance(statement, ast.Assign)):
            raise InputError(f"line {statement.lineno}: {name} is changed after it was made")
        made |= makes


def _of_node(node: ast.expr) -> str:
    """The template that a text, or a lambda of the class name, stands for."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Lambda) and len(node.args.args) == 1:
        argument, body = node.args.args[0].arg, node.body
        if isinstance(body, ast.JoinedStr):
            return "".join(_part(part, argument) for part in body.values)
    raise _unreadable(node)


def _part(part: ast.expr, argument: str) -> str:
    if isinstance(part, ast.Constant) and not _PLACE.search(str(part.value)):
        return str(part.value)
    said = ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ""
    plain = isinstance(part, ast.FormattedValue) and part.conversion < 0 and not part.format_spec
    if plain and said == argument:
        return "{}"
    if plain and said == f"{_ARTICLE}({argument})":
        return "{a}"
    raise _unreadable(part)


def _unreadable(node: ast.expr) -> InputError:
    said = " ".join(ast.unparse(node).split())
    return InputError(f"line {node.lineno}: not a template that can be read: {said}")
