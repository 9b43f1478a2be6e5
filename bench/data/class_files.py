"""Lists of class names in files: one name per line, JSON, YAML, CSV, and numbered lists.

A file is read as what it is. Where it gives each name a number, the numbers are the order, not the
lines. Numbers from 1 on are keys of the classes, since labels may use them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import InputError, reason_of
from bench.core.foreign.documents import parse_json, parse_yaml
from bench.core.foreign.files import text_of

NUMBERS = frozenset({"index", "idx", "id", "number", "class_id", "label_id", "class_index"})
KEYS = frozenset({"key", "folder", "wnid", "synset"})
NAMES = frozenset({"name", "names", "class", "classname", "class_name", "label", "label_name"})
PROMPTS = frozenset({"prompt", "text"})
"""Titles of the columns of CSV files, in lower case."""

Pairs = list[tuple[str, str]]
"""(key, prompt) of each class, in order."""

NUMBER_FIRST = r"(?P<n>\d{1,9})(?:[.)]?\s+|\s*[,;:]\s*)(?P<name>.*\S)"
NUMBER_LAST = r"(?P<name>\S.*?)(?:\s+|\s*[,;:]\s*)(?P<n>\d{1,9})"
"""Lines of numbered lists, such as ``1 cat``, ``1. cat``, ``1: cat``, ``cat 0``, ``cat,0``."""

FORMS = (
    "a name per line, a numbered list, JSON or YAML with a list of names, {index: name}, "
    "{name: index} or {folder: prompt}, or CSV with a header such as index,name"
)


def read_class_file(path: Path) -> Pairs:
    r"""Return (key, prompt) of the classes that a file lists, in order.

    Raises InputError, naming the file and the forms that are read, for any other content.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.class_files import read_class_file
    >>> _ = Path("names.txt").write_text("2 dog\n1 cat")
    >>> read_class_file(Path("names.txt"))
    [('1', 'cat'), ('2', 'dog')]
    >>> _ = Path("names.json").write_text('{"0": "cat", "1": "dog"}')
    >>> read_class_file(Path("names.json"))
    [('cat', 'cat'), ('dog', 'dog')]
    """
    text, suffix = text_of(path), path.suffix.lower()
    try:
        if suffix == ".json":
            return _of_data(parse_json(text))
        if suffix in (".yaml", ".yml"):
            return _of_data(parse_yaml(text))
        if suffix in (".csv", ".tsv"):
            return _of_table(text, "\t" if suffix == ".tsv" else ",")
        return _of_lines([line.strip() for line in text.splitlines() if line.strip()])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: expected {FORMS}: {reason_of(error, 120)}") from error


def class_pairs(raw: Mapping[Any, Any] | Sequence[Any]) -> Pairs:
    """Return (key, prompt) of the classes in a list of names or a mapping.

    A mapping gives ``folder: prompt``, ``name: index`` or ``index: prompt``. Indices, which are
    0 to C - 1 or 1 to C, decide the order; from 1 on, they are keys. Raises
    InputError if something is not a name.

    Examples
    --------
    >>> from bench.data.class_files import class_pairs
    >>> class_pairs({"n02123045": "tabby cat", "n02110958": "pug"})
    [('n02123045', 'tabby cat'), ('n02110958', 'pug')]
    >>> class_pairs({"dog": 1, "cat": 0})
    [('cat', 'cat'), ('dog', 'dog')]
    """
    if not isinstance(raw, Mapping):
        return [(name, name) for name in map(text_name, raw)]
    if _is_count(list(raw.values())):
        return _in_order([(number, text_name(name)) for name, number in raw.items()])
    pairs = [(text_name(key), text_name(prompt)) for key, prompt in raw.items()]
    if _is_count([_number(key) for key, _ in pairs]):
        return sorted(pairs, key=lambda pair: int(pair[0]))
    return pairs


def text_name(value: Any) -> str:
    """Return a value of a file as a name. InputError for words that YAML reads as booleans or null.

    Examples
    --------
    >>> from bench.data.class_files import text_name
    >>> text_name(" cat "), text_name(7)
    ('cat', '7')
    """
    if isinstance(value, bool) or value is None:
        raise InputError(f"{value!r} is not a name: quote words such as yes, no, on, off, null")
    if not isinstance(value, str | int) or not str(value).strip():
        raise InputError(f"{value!r:.80} is not a name: expected text")
    if len(str(value).strip().splitlines()) > 1:
        raise InputError(f"{value!r:.80} is not a name: expected one line")
    return str(value).strip()


# JSON and YAML


def _of_data(found: Any) -> Pairs:
    if isinstance(found, Mapping) and len(found) == 1:  # {"classes": [...]}
        (inside,) = found.values()
        found = inside if isinstance(inside, list | dict) else found
    if isinstance(found, Mapping):
        pairs = {str(key): value for key, value in found.items()}
        numbers = [_number(key) for key in pairs]
        if _is_count(numbers):
            ordered = [pairs[key] for key in sorted(pairs, key=int)]
            if all(isinstance(value, list) and len(value) == 2 for value in ordered):
                return [(text_name(key), text_name(prompt)) for key, prompt in ordered]
            if 0 not in numbers:  # labels "1" to "C" are names of folders, too
                return class_pairs(pairs)
            found = ordered
    if isinstance(found, list | Mapping) and found:
        return class_pairs(found)
    raise InputError(f"expected {FORMS}; got {found!r:.80}")


# CSV


def _of_table(text: str, delimiter: str) -> Pairs:
    rows = [[c.strip() for c in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter)]
    rows = [row for row in rows if any(row)]
    title = [column.lower() for column in rows[0]] if rows else []
    known = {*NUMBERS, *KEYS, *NAMES, *PROMPTS}
    if not {*title} & known or len({*title}) < len(title):
        if rows and all(len(row) == 1 for row in rows):
            return _of_lines([row[0] for row in rows])
        if rows and all(len(row) == 2 for row in rows):
            return _of_lines([" ".join(row) for row in rows], numbered=True)
        raise InputError(
            f"expected a header such as index,name or folder,prompt; got {title!r:.80}"
        )
    for row in rows[1:]:
        if len(row) != len(title) or not all(row):
            raise InputError(f"expected {len(title)} non-empty fields per line, got {row!r:.80}")
    columns = dict(zip(title, zip(*rows[1:], strict=True), strict=True)) if rows[1:] else {}
    numbers, keys, names, prompts = (
        next((columns[column] for column in title if column in kind and column in columns), None)
        for kind in (NUMBERS, KEYS, NAMES, PROMPTS)
    )
    keys = keys or names or prompts
    if keys is None:
        raise InputError(f"expected a column of names, such as index,name; got {title!r:.80}")
    pairs = list(zip(keys, prompts or names or keys, strict=True))
    if numbers is None:
        return pairs
    counted = [_number(number) for number in numbers]
    if not _is_count(counted):
        raise InputError(
            f"expected the numbers 0 to {len(pairs) - 1} once each; got {counted!r:.80}"
        )
    ordered = sorted(zip(map(int, numbers), pairs, strict=True))
    from_one = ordered[0][0] == 1 and keys is names
    return [(str(n) if from_one else key, prompt) for n, (key, prompt) in ordered]


# Lines


def _of_lines(lines: Sequence[str], *, numbered: bool = False) -> Pairs:
    """Return the classes of a text file; with `numbered`, InputError unless all have numbers."""
    if lines and lines[0][0] in "[{":
        return _of_data(parse_json("\n".join(lines)))
    if lines and all(line.startswith("- ") for line in lines):
        return _of_data(parse_yaml("\n".join(lines)))
    for pattern in (NUMBER_FIRST, NUMBER_LAST):
        found = [re.fullmatch(pattern, line) for line in lines]
        parts = [(int(match["n"]), match["name"]) for match in found if match]
        names = {name for _, name in parts}
        if len(parts) == len(names) == len(lines) > 1 and _is_count([n for n, _ in parts]):
            return _in_order(parts)
    if numbered:
        raise InputError(f"expected {FORMS}; got the line {lines[0]!r:.80}")
    listed = [line for line in lines if re.fullmatch(r"""(["']).*\1,?|.*[^,],""", line)]
    if listed:
        raise InputError(
            f"expected a name per line without quotes or commas; got {listed[0]!r:.80}"
        )
    return [(line, line) for line in lines]


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,9}", text) else None


def _is_count(numbers: Sequence[Any]) -> bool:
    """Whether these are the whole numbers 0 to C - 1 or 1 to C, in any order."""
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        return False
    return sorted(numbers) in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))


def _in_order(numbered: Sequence[tuple[int, str]]) -> Pairs:
    """Return names in the order of their numbers; numbers from 1 are names of the classes, too."""
    ordered = sorted(numbered)
    return [(str(n) if ordered[0][0] else name, name) for n, name in ordered]
