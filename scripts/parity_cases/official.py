"""Checkouts of the official repositories, and access to single functions in them.

The repositories need packages, data sets and GPUs that a function's arithmetic does not need. So a
named function, class or statement is extracted from its file's syntax tree and run in our own
namespace. None of their code is copied: without a checkout nothing can be compared.
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
    "LiNeS": "LiNeS_example.ipynb",
    "FusionBench": "fusion_bench/method/model_stock/model_stock.py",
    "LDIFS": "loss/ldifs.py",
    "FTP": "util/FTP.py",
    "DaWin": "dawin_rft/main_dawin.py",
    "Lipsum-FT": "scripts/Lipsum-FT.py",
}
"""A file of each repository that none of the others has."""


@dataclass(frozen=True)
class Checkout:
    """A repository's files at `commit` (read from its file COMMIT or from git)."""

    name: str
    path: Path
    commit: str

    def define(self, file: str, name: str, **given: Any) -> Any:
        """Define the function or class `name` of `file` in the namespace `given`, and return it."""
        self._execute(file, self._named(file, name), given)
        return given[name]

    def run(
        self, file: str, function: str, kind: type[ast.stmt], mentions: str, **given: Any
    ) -> dict[str, Any]:
        """Run one statement of a function and return all names after it.

        It is the outermost statement of the syntax class `kind` that contains the identifiers
        `mentions` (words separated by blanks). Raises InputError unless there is exactly one.
        """
        (body,) = self._named(file, function)
        words = set(mentions.split())
        found = [n for n in _outermost(body, kind) if words <= _identifiers(n)]
        if len(found) != 1:
            raise self._strange(f"{file}:{function}", f"{len(found)} statements with {mentions}")
        self._execute(file, found, given)
        return given

    def _named(self, file: str, name: str) -> list[ast.stmt]:
        """Return the only definition of `name`, as a list."""
        path = self.path / file
        body = ast.parse(path.read_text()).body if path.is_file() else []
        found = [node for node in body if getattr(node, "name", None) == name]
        if len(found) != 1:
            raise self._strange(file, f"{len(found)} definitions of {name}")
        return found

    def _strange(self, where: str, what: str) -> InputError:
        """Return the error for a file that is not the version described in docs/parity.md."""
        return InputError(
            f"{self.name} {self.commit[:7]}: {where} has {what}, expected 1; check out the commit "
            "that docs/parity.md names"
        )

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
    """Return the repositories in a folder, or the folder itself if it is one of them.

    Raises InputError if there is none.
    """
    if not path.is_dir():
        raise InputError(f"--official {path}: no such folder")
    found: dict[str, Checkout] = {}
    for folder in [path, *sorted(p for p in path.iterdir() if p.is_dir())]:
        for name, mark in MARKS.items():
            if (folder / mark).is_file():
                found.setdefault(name, Checkout(name, folder, _commit(folder)))
    if not found:
        raise InputError(
            f"--official {path}: expected a checkout of {', '.join(MARKS)}, or a folder of them; "
            "docs/parity.md has the commands"
        )
    return found


def _commit(folder: Path) -> str:
    if (folder / "COMMIT").is_file():
        return (folder / "COMMIT").read_text().strip()
    if not (folder / ".git").exists():
        raise InputError(f"{folder} has no .git: write its commit into {folder / 'COMMIT'}")
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise InputError(f"{folder}: {' '.join(result.stderr.split())}")
    return result.stdout.strip()


class _Whole(nn.Module):
    """A replacement for DataParallel, which gathers a scalar as a vector."""

    def __init__(self, module: nn.Module, device_ids: object = None) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> Any:
        """Call the module."""
        found = self.module(*inputs)
        if isinstance(found, tuple):
            return tuple(t if t.ndim else t.unsqueeze(0) for t in found)
        return found


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Run official loops on the CPU, without their prints and deprecation warnings."""
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
