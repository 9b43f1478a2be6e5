"""Checkouts of the official repositories, and their functions without the modules around them.

The repositories import packages, data sets and GPUs that a function's arithmetic does not need. So
a named function, class or statement is taken out of its file's syntax tree and run in a namespace
of ours. Nothing of theirs is copied: without a checkout there is nothing to compare with.
"""

from __future__ import annotations

import ast
import contextlib
import io
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from bench.core.errors import InputError

MARKS = {
    "VRF": "src/knn_distance.py",
    "wise-ft": "src/models/finetune.py",
    "FLYP": "src/models/flyp_loss.py",
    "CaRot": "src/models/carot_loss.py",
}
"""Each repository and a file that only it has."""


@dataclass(frozen=True)
class Checkout:
    """A repository's files at `commit` (as its file COMMIT or git says)."""

    name: str
    path: Path
    commit: str

    def define(self, file: str, name: str, **given: Any) -> Any:
        """The function or class `name` of `file`, defined among the names in `given`."""
        self._execute(file, self._named(file, name), given)
        return given[name]

    def run(
        self, file: str, function: str, kind: type[ast.stmt], mentions: str, **given: Any
    ) -> dict[str, Any]:
        """Run one statement out of a function: all names after it.

        It is the outermost statement of the syntax class `kind` with the identifiers `mentions`
        (words separated by blanks) in it. Raises InputError unless there is exactly one.
        """
        (body,) = self._named(file, function)
        words = set(mentions.split())
        found = [n for n in _outermost(body, kind) if words <= _identifiers(n)]
        if len(found) != 1:
            raise self._strange(f"{file}:{function}", f"{len(found)} statements with {mentions}")
        self._execute(file, found, given)
        return given

    def _named(self, file: str, name: str) -> list[ast.stmt]:
        """The one definition of `name`, as a list."""
        path = self.path / file
        body = ast.parse(path.read_text()).body if path.is_file() else []
        found = [node for node in body if getattr(node, "name", None) == name]
        if len(found) != 1:
            raise self._strange(file, f"{len(found)} definitions of {name}")
        return found

    def _strange(self, where: str, what: str) -> InputError:
        """The error for a file that is not the one that was read."""
        return InputError(f"{self.name} {self.commit[:7]}: {where} has {what}, expected 1")

    def _execute(self, file: str, nodes: list[ast.stmt], names: dict[str, Any]) -> None:
        module = ast.Module(nodes, type_ignores=[])
        exec(compile(module, str(self.path / file), "exec"), names)


def _outermost(node: ast.AST, kind: type[ast.stmt]) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, kind):
            yield child
        else:
            yield from _outermost(child, kind)


def _identifiers(node: ast.AST) -> set[str]:
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return names | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def checkouts(path: Path) -> dict[str, Checkout]:
    """The repositories in a folder, or the one that the folder is; InputError if there is none."""
    if not path.is_dir():
        raise InputError(f"--official {path}: no such folder")
    found: dict[str, Checkout] = {}
    for folder in [path, *sorted(p for p in path.iterdir() if p.is_dir())]:
        for name, mark in MARKS.items():
            if (folder / mark).is_file():
                found.setdefault(name, Checkout(name, folder, _commit(folder)))
    if not found:
        raise InputError(f"--official {path}: neither is nor holds one of {', '.join(MARKS)}")
    return found


def _commit(folder: Path) -> str:
    if (folder / "COMMIT").is_file():
        return (folder / "COMMIT").read_text().strip()
    if not (folder / ".git").exists():
        raise InputError(f"{folder}: write the commit it was taken from into {folder / 'COMMIT'}")
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise InputError(f"{folder}: {' '.join(result.stderr.split())}")
    return result.stdout.strip()


class _Whole(nn.Module):
    """Stands in for DataParallel, which gathers a scalar as a vector."""

    def __init__(self, module: nn.Module, device_ids: object = None) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> Any:
        """The module's own."""
        found = self.module(*inputs)
        if isinstance(found, tuple):
            return tuple(t if t.ndim else t.unsqueeze(0) for t in found)
        return found


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Within it official loops run on the CPU, without their prints and deprecation warnings."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        for owner, name, value in (
            (torch.Tensor, "cuda", lambda self: self),
            (nn.Module, "cuda", lambda self: self),
            (nn, "DataParallel", _Whole),
            (torch.cuda, "device_count", lambda: 0),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        yield
