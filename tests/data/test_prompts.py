"""Prompt templates: filled in, and read from text, JSON and Python files without running them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.data.prompts import PLAIN, check_templates, fill_template, read_templates

WORDS = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(WORDS, NAMES, WORDS)
def test_a_name_is_put_in_as_it_is(before: str, name: str, after: str) -> None:
    assert fill_template(f"{before}{{}}{after}", name) == before + name + after


@given(WORDS, NAMES, WORDS)
def test_with_an_article_underscores_are_spaces(before: str, name: str, after: str) -> None:
    filled = fill_template(f"{before}{{a}}{after}", name)
    article = "an " if name[0] in "aeiou" else "a "
    assert filled == before + article + name.replace("_", " ") + after


@pytest.mark.parametrize(
    ("template", "name", "prompt"),
    [
        ("a photo of a {}.", "airport_hangar", "a photo of a airport_hangar."),
        ("a photo of {a}.", "airport_hangar", "a photo of an airport hangar."),
        ("a photo of {a}.", "multi-unit_residential", "a photo of a multi-unit residential."),
        ("a photo of {a}.", "Ocelot", "a photo of a Ocelot."),
        ("{}", "{}", "{}"),
        ("{} in the wild.", "{a} {b}", "{a} {b} in the wild."),
        ("a photo of {a}.", "époisses", "a photo of a époisses."),
    ],
)
def test_filled(template: str, name: str, prompt: str) -> None:
    assert fill_template(template, name) == prompt


@given(WORDS, WORDS)
def test_a_template_has_one_place(before: str, after: str) -> None:
    for place in ("{}", "{a}"):
        assert check_templates([f"{before}{place}{after}"]) == (f"{before}{place}{after}",)
    for wrong in ("", "{c}", "{}{}", "{}{a}", "{{}}", "{} {", "}{}"):
        with pytest.raises(InputError, match="once, for the class name"):
            check_templates([f"{before}{wrong}{after}"])


def test_the_plain_prompt_is_a_template() -> None:
    assert check_templates(PLAIN) == PLAIN


def written(folder: Path, file: str, text: str) -> Path:
    path = folder / file
    path.write_text(text, encoding="utf-8")
    return path


def test_text_has_a_template_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, "p.txt", "\ufeffa photo of a {}.\n\n  {c}, drawn \n{a}, naïve\n")
    assert read_templates(path, "any") == ("a photo of a {}.", "{}, drawn", "{a}, naïve")


def test_json_has_a_list_or_lists_by_name(tmp_path: Path) -> None:
    listed = written(tmp_path, "list.json", json.dumps(["a {c}.", "{}"]))
    assert read_templates(listed, "any") == ("a {}.", "{}")
    named = written(tmp_path, "named.json", json.dumps({"one": ["a {}"], "two": ["the {}"]}))
    assert read_templates(named, "two") == ("the {}",)


OFFICIAL = """\
from tests.utils import append_proper_article, get_plural
raise SystemExit("this file must not be run")

pets_template = [
    lambda c : f"satellite photo of a {c}.",
    lambda name: f'a "{append_proper_article(name)}" in asia',
    "a plain {} text",
    "another {c}",
]
"""


@pytest.mark.parametrize("name", ["p.yaml", "p.yml"])
def test_yaml_has_a_list_or_lists_by_name(tmp_path: Path, name: str) -> None:
    expected = ("a photo of a {}.", "{} in the wild")
    one = written(tmp_path, name, "- a photo of a {}.\n- '{c} in the wild'\n")
    assert read_templates(one, "pets") == expected
    more = "pets:\n  - a photo of a {}.\n  - '{} in the wild'\ncars: ['a {}']\n"
    assert read_templates(written(tmp_path, name, more), "pets") == expected


@pytest.mark.parametrize(
    "text",
    [
        "- a photo of a {}.\n- a {}.",
        "* a {}.",
        "1. a {}.\n2. the {}.",
        '["a {}.", "the {}."]',
        '"a {}.",\n"the {}."',
        "'a {}.'\n'the {}.'",
    ],
)
def test_marks_of_another_form_are_not_read_as_text(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="a template per line, without quotes, bullets"):
        read_templates(written(tmp_path, "p.txt", text), "pets")


def test_python_is_read_and_not_run(tmp_path: Path) -> None:
    path = written(tmp_path, "pets_template.py", OFFICIAL)
    found = ("satellite photo of a {}.", 'a "{a}" in asia', "a plain {} text", "another {}")
    assert read_templates(path, "pets") == found
    assert read_templates(path, "another suite: the only list is meant") == found


def test_python_with_several_lists_is_read_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "t.py", "a_template = ['a {}']\nb_template = ['b {}']\n")
    assert read_templates(path, "b") == ("b {}",)
    with pytest.raises(InputError, match=r"unknown list of templates 'c_template'.*a_template"):
        read_templates(path, "c")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("p.txt", "", "no template"),
        ("p.txt", "a photo\n", "must contain {} once"),
        ("p.json", "{", "p.json"),
        ("p.json", "[]", "no template"),
        ("p.json", "3", "expected a list of templates"),
        ("p.json", '{"pet": ["a {}"]}', "unknown list of templates 'pets': did you mean 'pet'?"),
        ("p.json", '{"pets": "a {}"}', "expected a list of templates"),
        ("p.json", "[1]", "template 1 must contain"),
        ("p.json", "[" * 200_000, "nested more than 64 levels deep"),
        ("p.py", "pets_template = [", "was never closed"),
        ("p.py", "x = 3", "no list of templates: expected pets_template = ['a photo of a {}.']"),
        ("p.py", "t = []", "no template"),
        ("p.py", "t = [lambda: 'a photo']", "line 1: not a template"),
        ("p.py", "t = [lambda c, d: f'{c} {d}']", "line 1: not a template"),
        ("p.py", "t = [\n    lambda c: c.upper(),\n]", "line 2: not a template"),
        ("p.py", "t = [lambda c: f'a {c.upper()}']", "line 1: not a template"),
        ("p.py", "t = [lambda c: f'a {other(c)}']", "line 1: not a template"),
        ("p.py", "t = [lambda c: f'a {c!r}']", "line 1: not a template"),
        ("p.py", "t = [lambda c: f'a {c:>9}']", "line 1: not a template"),
        ("p.py", "t = [lambda c: f'a {{}}']", "line 1: not a template"),
        ("p.py", "t = [lambda c: f'a photo']", "must contain {} once"),
        ("p.py", "t = [lambda c: 'a ' + c]", "line 1: not a template"),
        ("p.py", "t = [x for x in y]", "no list of templates"),
        ("p.py", "t = [" + "(" * 100_000, "p.py"),
    ],
)
def test_what_is_no_template_is_one_line(tmp_path: Path, file: str, text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        read_templates(written(tmp_path, file, text), "pets")
    said = str(error.value)
    assert said.startswith("templates ") and words in said and file in said and "\n" not in said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_templates(tmp_path / "none.txt", "pets")
    (tmp_path / "latin.txt").write_bytes("a {} \u00e9".encode("latin-1"))
    with pytest.raises(InputError, match="cannot read"):
        read_templates(tmp_path / "latin.txt", "pets")


@pytest.mark.parametrize(
    "more",
    ["x_template += [lambda c: f'{c}!']", "x_template.append('a {}')", "x_template = ['one {}']",
     "if True:\n    x_template = ['a {}']"],
)  # fmt: skip
def test_a_list_that_is_changed_later_is_refused(more: str, tmp_path: Path) -> None:
    path = tmp_path / "t.py"
    path.write_text(f"x_template = ['a photo of {{}}.']\n{more}\n")
    with pytest.raises(InputError, match=r"line 2: x_template is changed"):
        read_templates(path, "x")
    path.write_text("x_template = ['a photo of {}.']\nalias = {'x': x_template}\n")
    assert read_templates(path, "x") == ("a photo of {}.",)
