"""Parse JSON and YAML of unknown origin, within a budget of depth and of values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bench.core.errors import InputError, shortened
from bench.core.foreign.files import text_of

DEPTH = 64
"""The most levels of lists and mappings in each other."""

VALUES = 2_000_000
"""The most values in a JSON document."""

YAML_VALUES, YAML_CHARACTERS = 250_000, 32 * 2**20
"""The most values, and characters in them, of YAML, with what is repeated by a name counted as
often as it is repeated. PyYAML reads some 20,000 values per second."""

DIGITS = 100
"""The most characters of a number in YAML."""


class DocumentError(ValueError):
    """Text that is no valid JSON or YAML, or is beyond the budget; `line` is 0 if unknown.

    Examples
    --------
    >>> from bench.core.foreign.documents import DocumentError
    >>> DocumentError("invalid YAML", 3).line
    3
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(shortened(" ".join(reason.split()), 300))
        self.line = line


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a mapping of pairs, for `json.loads`. Raises DocumentError if a key stands twice.

    Examples
    --------
    >>> from bench.core.foreign.documents import without_repeats
    >>> without_repeats([("alpha", 0.5)])
    {'alpha': 0.5}
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise DocumentError(f"key {twice!r:.80} appears twice: remove one")
    return found


def parse_json(text: str) -> Any:
    """Return the content of a JSON document. Raises DocumentError.

    Examples
    --------
    >>> from bench.core.foreign.documents import parse_json
    >>> parse_json('{"alpha": 0.5}')
    {'alpha': 0.5}
    >>> parse_json(100 * "[" + 100 * "]")
    Traceback (most recent call last):
    ...
    bench.core.foreign.documents.DocumentError: nested more than 64 levels deep: ...
    """
    try:
        found = json.loads(text, object_pairs_hook=without_repeats)
    except DocumentError:
        raise
    except json.JSONDecodeError as error:
        raise DocumentError(f"invalid JSON: {error}", error.lineno) from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:  # Python's limit on the digits of whole numbers
        raise DocumentError("invalid JSON: a whole number of more than 4,300 digits") from error
    _check_tree(found)
    return found


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises InputError if it cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.foreign.documents import read_json
    >>> _ = Path("a.json").write_text('{"alpha": 0.5}')
    >>> read_json(Path("a.json"))
    {'alpha': 0.5}
    """
    try:
        return parse_json(text_of(path))
    except DocumentError as error:
        raise InputError(f"cannot read {path}: {error}") from error


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML document, whose mappings name no key twice.

    Raises DocumentError.

    Examples
    --------
    >>> from bench.core.foreign.documents import parse_yaml
    >>> parse_yaml("classes: [cat, dog]")
    {'classes': ['cat', 'dog']}
    >>> parse_yaml("name: pets, name: cars")
    Traceback (most recent call last):
    ...
    bench.core.foreign.documents.DocumentError: invalid YAML: mapping values are not allowed here
    """
    try:
        found = yaml.load(text, Loader=_Loader)
    except DocumentError:
        raise
    except yaml.MarkedYAMLError as error:
        line = 0 if error.problem_mark is None else error.problem_mark.line + 1
        raise DocumentError(f"invalid YAML: {error.problem or error.context}", line) from error
    except RecursionError as error:
        raise _too_deep() from error
    except Exception as error:  # its constructors raise almost anything for !!int, !!binary, ...
        reason = str(error) or type(error).__name__
        raise DocumentError(f"invalid YAML: {reason}") from error
    _check_tree(found)
    return found


class _Loader(yaml.SafeLoader):
    """A YAML loader that counts values, and rejects the second of two equal keys.

    Also whole numbers with colons, which YAML 1.1 reads in base 60: ``1:30`` is 90 there.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = self.values = self.characters = 0
        self.sizes: dict[yaml.Node, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node, which may be an earlier one that is named again."""
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if node not in self.sizes:
                raise DocumentError("a value contains itself (an anchor in itself)", line)
            self._count(*self.sizes[node], line)
            return node
        if self.depth >= DEPTH:
            raise _too_deep(line)
        self.depth += 1
        before = self.values, self.characters
        node = super().compose_node(parent, index)
        scalar = len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        self._count(1, scalar, line)
        if node is not None:
            self.sizes[node] = self.values - before[0], self.characters - before[1]
        self.depth -= 1
        return node

    def _count(self, values: int, characters: int, line: int) -> None:
        self.values += values
        self.characters += characters
        if self.values > YAML_VALUES:
            raise _too_many(YAML_VALUES, "values", line)
        if self.characters > YAML_CHARACTERS:
            raise _too_many(YAML_CHARACTERS, "characters", line)

    def mapping(self, node: Any) -> dict[Any, Any]:
        """Return a mapping."""
        if isinstance(node, yaml.MappingNode):  # else the line below says what it is
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        problem = f"key {key.value!r:.80} appears twice: remove one"
                        raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                    seen.add(key.value)
        found: dict[Any, Any] = self.construct_mapping(node, deep=True)
        return found

    def number(self, node: Any) -> int | float:
        """Return a number, whose digits are limited."""
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode) and len(node.value) > DIGITS:
            said = f"a number of {len(node.value):,} characters: expected {DIGITS} at the most"
            raise DocumentError(said, line)
        is_whole = node.tag.endswith(":int")
        if ":" in str(node.value):
            raise DocumentError(f"{node.value!r:.80} is no number: put quotes around a text", line)
        construct = self.construct_yaml_int if is_whole else self.construct_yaml_float
        try:
            found: int | float = construct(node)
        except (ValueError, ArithmeticError) as error:
            raise DocumentError(f"{node.value!r:.80} is not a number", line) from error
        return found


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)


def _check_tree(root: Any) -> None:
    """Raise DocumentError for a tree of too many values or levels, or with text that is none."""
    level, values = [root], 0
    for _ in range(DEPTH + 1):
        values += len(level)
        if values > VALUES:
            raise _too_many(VALUES, "values")
        for value in level:
            if isinstance(value, str) and not _is_text(value):
                raise DocumentError(f"{value!r:.80} has characters that no text can have")
        level = [inner for value in level for inner in _children(value)]
        if not level:
            return
    raise _too_deep()


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list | tuple | set):
        yield from value


def _is_text(value: str) -> bool:
    """Whether text has neither zero characters nor halves of surrogate pairs."""
    try:
        return (value.isascii() and "\0" not in value) or b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _too_deep(line: int = 0) -> DocumentError:
    return DocumentError(f"nested more than {DEPTH} levels deep: expected a plain document", line)


def _too_many(most: int, what: str, line: int = 0) -> DocumentError:
    return DocumentError(f"more than {most:,} {what}, repetitions counted: save less in it", line)
