"""The harness names no method: what is particular to one stands on its class."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from places import ROOT

from bench.api.registry import methods

ALLOWED = {
    "api/method.py": "the names of the untouched model and of the default base",
    "cli/": "examples of the command line, and the file format of wise-ft's checkpoints",
    "data/cards.py": "papers' codes as origins of folder layouts",
    "data/mini/model.py": "linear: an option of timm",
    "leaderboard/published/": "papers' tables and their presets",
    "core/paths.py": "ftp: a scheme of addresses",
    "models/training/trainers.py": "zero-shot: the start of a head",
    "runs/import_checkpoints.py": "the file format of wise-ft's checkpoints",
    "runs/results/plan_lines.py": "fisher: a kind of work",
    "runs/study/config.py": "the default of --methods",
    "runs/study/score.py": "the default of --methods",
    "testing/fakes.py": "invented records of a well-known run",
}
"""Files and folders of bench that may write a method's name, and why."""


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """String constants that are no docstrings, with their lines."""
    stated = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in stated:
            yield node.lineno, node.value


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        for attribute in ("id", "attr", "name", "arg"):
            if isinstance(name := getattr(node, attribute, None), str):
                yield getattr(node, "lineno", 0), name


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "bench").rglob("*.py")):
        place = path.relative_to(ROOT / "bench").as_posix()
        if not place.startswith(("methods/", "datasets/")):
            yield place, ast.parse(Path(path).read_text())


def found() -> dict[str, list[str]]:
    """Places that name a method, by file."""
    names = list(methods())
    value = re.compile(rf"({'|'.join(map(re.escape, names))})([,:.@+].*)?")
    # Single words such as linear and soup are ordinary names; ose and vrf are not.
    special = [n.replace("-", "_") for n in names if "-" in n or n in ("ose", "vrf", "flyp")]
    variable = re.compile(rf"(.*_)?({'|'.join(special)})(_.*)?")
    places: dict[str, list[str]] = {}
    for place, tree in sources():
        lines = [f"{n}: {t!r}" for n, t in texts(tree) if value.fullmatch(t)]
        lines += [
            f"{n}: {t}"
            for n, t in identifiers(tree)
            if variable.fullmatch(t) and "zero_shot" not in t
        ]
        if lines:
            places[place] = lines
    return places


def test_the_harness_names_no_method() -> None:
    unexpected = {
        place: lines for place, lines in found().items() if not place.startswith(tuple(ALLOWED))
    }
    assert unexpected == {}


def test_every_exception_is_needed() -> None:
    places = found()
    assert [name for name in ALLOWED if not any(p.startswith(name) for p in places)] == []
