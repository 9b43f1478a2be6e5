"""Files of class names: every form is read as what it is, in the order that its numbers give."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.data.class_files import class_pairs, read_class_file
from bench.data.suites.from_yaml import class_names

NAMES = ["red", "blue", "light green"]
PLAIN = [(name, name) for name in NAMES]
FROM_ONE = [(str(number), name) for number, name in enumerate(NAMES, start=1)]
FILES: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("a.txt", "red\nblue\n\nlight green\n", PLAIN),
    ("a.txt", "0 red\n1 blue\n2 light green", PLAIN),
    ("a.txt", "2 light green\n0 red\n1 blue", PLAIN),
    ("a.txt", "red 0\nlight green 2\nblue 1", PLAIN),
    ("a.txt", "0: red\n1: blue\n2: light green", PLAIN),
    ("a.txt", "red,0\nblue,1\nlight green,2", PLAIN),
    ("a.txt", "1 red\n2 blue\n3 light green", FROM_ONE),
    ("a.txt", "1. red\n2. blue\n3. light green", FROM_ONE),
    ("a.txt", "3\tlight green\n1\tred\n2\tblue", FROM_ONE),
    ("a.txt", '["red", "blue", "light green"]', PLAIN),
    ("a.txt", '[\n"red",\n"blue",\n"light green"\n]', PLAIN),
    ("a.txt", "- red\n- blue\n- light green", PLAIN),
    ("a.names", "red\nblue\nlight green", PLAIN),
    ("a.json", '["red",\n "blue",\n "light green"]', PLAIN),
    ("a.json", '{"classes": ["red", "blue", "light green"]}', PLAIN),
    ("a.json", '{"2": "light green", "0": "red", "1": "blue"}', PLAIN),
    ("a.json", '{"blue": 1, "light green": 2, "red": 0}', PLAIN),
    ("a.json", '{"3": "light green", "1": "red", "2": "blue"}', FROM_ONE),
    ("a.json", '{"blue": 2, "light green": 3, "red": 1}', FROM_ONE),
    ("a.json", '{"n1": "red", "n0": "blue"}', [("n1", "red"), ("n0", "blue")]),
    ("a.json", '{"1": ["n1", "red"], "0": ["n0", "blue"]}', [("n0", "blue"), ("n1", "red")]),
    ("a.yaml", "- red\n- blue\n- light green\n", PLAIN),
    ("a.yml", "names: [red, blue, light green]", PLAIN),
    ("a.yaml", "names:\n  2: light green\n  0: red\n  1: blue", PLAIN),
    ("a.yaml", "{blue: 1, light green: 2, red: 0}", PLAIN),
    ("a.csv", "name\nred\nblue\nlight green", PLAIN),
    ("a.csv", "index,name\n2,light green\n0,red\n1,blue", PLAIN),
    ("a.csv", "Class,ID\nlight green,3\nred,1\nblue,2", FROM_ONE),
    ("a.csv", "folder,prompt\nn1,red\nn0,blue", [("n1", "red"), ("n0", "blue")]),
    ("a.csv", "id,wnid,name\n2,n1,red\n1,n0,blue", [("n0", "blue"), ("n1", "red")]),
    ("a.csv", ",name\n0,red\n1,blue\n2,light green", PLAIN),  # as pandas writes it
    ("a.csv", "red\nblue\nlight green", PLAIN),
    ("a.csv", "0,red\n2,light green\n1,blue", PLAIN),
    ("a.tsv", "name\tindex\nblue\t1\nred\t0\nlight green\t2", PLAIN),
    ("a.txt", "1 euro\n2 euro\n5 euro", [(n, n) for n in ("1 euro", "2 euro", "5 euro")]),
    ("a.txt", "1 euro\n2 euro", [("1 euro", "1 euro"), ("2 euro", "2 euro")]),
    ("a.txt", "boeing 707\nboeing 747", [(n, n) for n in ("boeing 707", "boeing 747")]),
    ("a.txt", "001.Albatross\n002.Auklet", [(n, n) for n in ("001.Albatross", "002.Auklet")]),
    ("a.txt", "0\n1\n2", [("0", "0"), ("1", "1"), ("2", "2")]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "expected"), FILES)
def test_a_file_is_read_as_what_it_is(
    tmp_path: Path, name: str, text: str, expected: list[tuple[str, str]]
) -> None:
    (tmp_path / name).write_text(text)
    assert read_class_file(tmp_path / name) == expected
    classes = class_names({"file": name}, [tmp_path])
    assert list(zip(classes.keys, classes.prompts, strict=True)) == expected


words = st.text("abcdef \u00e9", min_size=1, max_size=5).map(lambda w: " ".join(w.split()))


@given(st.lists(words.filter(bool), min_size=2, max_size=6, unique=True), st.data())
def test_names_of_any_length_are_read_from_every_form(
    names: list[str], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, 1))
    numbered = data.draw(st.permutations(list(enumerate(names, start=first))))
    plain = [(name, name) for name in names]
    counted = [(str(n), name) for n, name in enumerate(names, start=1)] if first else plain
    pairs = [(f"n{n}", name) for n, name in enumerate(names, start=first)]
    forms: list[tuple[str, str, list[tuple[str, str]]]] = [
        (".json", json.dumps(names), plain),
        (".json", json.dumps({"classes": names}), plain),
        (".json", json.dumps({str(n): name for n, name in numbered}), counted),
        (".json", json.dumps({name: n for n, name in numbered}), counted),
        (".json", json.dumps({n: [f"n{n}", name] for n, name in numbered}), pairs),
        (".json", json.dumps(dict(pairs)), pairs),
        (".yaml", json.dumps({"names": dict(numbered)}), counted),
        (".csv", "\n".join(["id,name", *(f"{n},{name}" for n, name in numbered)]), counted),
        (".tsv", "\n".join(["name\tid", *(f"{name}\t{n}" for n, name in numbered)]), counted),
        (".csv", "\n".join(["folder,prompt", *map(",".join, pairs)]), pairs),
        (".txt", "\n".join(names), plain),
        (".txt", "\n".join(f"{n}. {name}" for n, name in numbered), counted),
        (".txt", "\n".join(f"{name} {n}" for n, name in numbered), counted),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for suffix, text, expected in forms:
            path = Path(folder, f"a{suffix}")
            path.write_text(text, encoding="utf-8")
            assert read_class_file(path) == expected, text


def test_one_line_is_a_name_and_no_numbered_list(tmp_path: Path) -> None:
    for line in ("red", "1 euro", "boeing 0"):
        (tmp_path / "a.txt").write_text(line)
        assert read_class_file(tmp_path / "a.txt") == [(line, line)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "red\nblue"),
        ("a.json", '"red"'),
        ("a.json", '["red", {"name": "blue"}]'),
        ("a.json", "[true, null]"),
        ("a.yaml", "red: [blue"),
        ("a.yaml", "- yes\n- no"),
        ("a.csv", "a,b,c\nd,e,f"),
        ("a.csv", "red,crimson\nblue,sky"),
        ("a.csv", "index,name\n0,red\n2,blue"),
        ("a.csv", "index,name\n0,red\n1"),
        ("a.csv", "index\n0\n1"),
        ("a.json", '["red\\nwine", "blue"]'),
        ("a.txt", "['red', 'blue']"),
        ("a.txt", '"red",\n"blue"'),
        ("a.txt", "red,\nblue"),
    ],
)
def test_any_other_form_is_refused_in_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        read_class_file(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert len(str(error.value)) < 500 + len(str(tmp_path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("row", ["1", "1,", "1,blue,sky"])
def test_a_row_of_a_table_has_a_value_in_each_column(tmp_path: Path, row: str) -> None:
    (tmp_path / "a.csv").write_text(f"index,name\n0,red\n{row}")
    with pytest.raises(InputError, match=r"expected 2 non-empty fields per line, got .*'1'"):
        read_class_file(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"dog": 1, "cat": 0}, [("cat", "cat"), ("dog", "dog")]),
        ({1: "dog", 0: "cat"}, [("0", "cat"), ("1", "dog")]),
        ({"zero": "0", "one": "1"}, [("zero", "0"), ("one", "1")]),
        ({7: "dog", 3: "cat"}, [("7", "dog"), ("3", "cat")]),
        ([7, 3], [("7", "7"), ("3", "3")]),
    ],
)
def test_mappings_in_suite_files_are_ordered_by_their_numbers(raw: Any, expected: Any) -> None:
    assert class_pairs(raw) == expected
