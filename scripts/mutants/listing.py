"""The mutants of a source file: where they are, and their code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from .operators import applies, operators

Place = tuple[int, int]
SAID = ("remark", "warn", "print_line")
"""Functions whose arguments are texts for people."""


@dataclass(frozen=True)
class Mutant:
    """One changed place of a file."""

    file: str
    line: int
    column: int
    operator: str
    occurrence: int

    def code(self, root: Path) -> str:
        """Return the code of the whole file with the change."""
        source = (root / self.file).read_text()
        return mutate_code(source, operators()[self.operator], self.occurrence) or source

    def can_be_tried(self, root: Path) -> bool:
        """Whether the changed file can be compiled and differs, and signals no other process."""
        code, source = self.code(root), (root / self.file).read_text()
        if "kill(" in source.splitlines()[self.line - 1]:
            return False
        try:
            compile(code, self.file, "exec")
        except (SyntaxError, ValueError):
            return False
        return code != source

    def change(self, root: Path) -> str:
        """Return the first changed line and what it became."""
        before = (root / self.file).read_text().splitlines()
        after = self.code(root).splitlines()
        pairs = zip(before, [*after, ""], strict=False)
        old, new = next(((a, b) for a, b in pairs if a != b), ("", ""))
        return f"`{old.strip()}` -> `{new.strip()}`"


def mutants(root: Path, target: str) -> list[Mutant]:
    """Return the mutants of a target: a file, or ``file::name`` for one function or class of it.

    Left out is what cannot change a number: annotations, decorators, the texts of errors and
    remarks, type aliases.
    """
    file, _, name = target.partition("::")
    source = (root / file).read_text()
    tree = ast.parse(source)
    within = [(_start(source, n), _end(source, n)) for n in tree.body
              if not name or getattr(n, "name", None) == name]  # fmt: skip
    left_out = list(_left_out(tree, source))
    found = []
    for kind, operator in operators().items():
        occurrence = -1
        for node in ast_nodes(get_ast(source)):
            for place, _ in operator.mutation_positions(node):
                occurrence += 1
                if not applies(kind, node) or not _inside(place, within):
                    continue
                if _inside(place, left_out):
                    continue
                found.append(Mutant(file, *place, kind, occurrence))
    return sorted(found, key=lambda m: (m.line, m.column, m.operator, m.occurrence))


def statement(root: Path, mutant: Mutant) -> tuple[range, bool]:
    """Return the lines of the mutant's statement, and whether it runs when the file is imported."""
    tree = ast.parse((root / mutant.file).read_text())
    lines, on_import = range(mutant.line, mutant.line + 1), True
    todo: list[tuple[ast.AST, bool]] = [(tree, True)]
    while todo:
        node, imported = todo.pop()
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                continue
            first = child.pattern if isinstance(child, ast.match_case) else child
            body = getattr(child, "body", None)
            last = body[0].lineno - 1 if body else child.end_lineno  # type: ignore[union-attr]
            header = range(first.lineno, max(last, first.lineno) + 1)
            if mutant.line in header:
                lines, on_import = header, imported
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            todo.append((child, imported and not is_function))
    return lines, on_import


def _left_out(tree: ast.Module, source: str) -> Iterator[tuple[Place, Place]]:
    nodes: list[ast.AST | None] = []
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(target=ast.Name(id="position")):  # the order of reports
                nodes.append(node)
            case ast.arg(annotation=annotation) | ast.AnnAssign(annotation=annotation):
                nodes.append(annotation)
            case ast.FunctionDef(returns=returns, decorator_list=decorators):
                nodes += [returns, *decorators]
            case ast.ClassDef(decorator_list=decorators):
                nodes += decorators
            case ast.Raise(exc=error):
                nodes.append(error)
            case ast.Call(func=ast.Name(id=called), args=args) if called in SAID:
                nodes += args
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                nodes.append(node)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
            nodes.append(node)
    for found in nodes:
        if found is not None:
            yield _start(source, found), _end(source, found)


def _start(source: str, node: ast.AST) -> Place:
    return node.lineno, _column(source, node.lineno, node.col_offset)  # type: ignore[attr-defined]


def _end(source: str, node: ast.AST) -> Place:
    line, offset = node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]
    return line, _column(source, line, offset)


def _column(source: str, line: int, offset: int) -> int:
    """Return the column in characters, which parso counts, from that in bytes, which ast counts."""
    return len(source.split("\n")[line - 1].encode()[:offset].decode())


def _inside(place: Place, spans: list[tuple[Place, Place]]) -> bool:
    return any(start <= place < end for start, end in spans)
