"""Errors: one line that names the thing, what was expected and what to do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import (
    LONGEST,
    InputError,
    concise,
    one_line,
    reason_of,
    shortened,
    unknown_name,
)

NAMES = st.lists(st.text(min_size=1, max_size=40), max_size=200, unique=True)


@given(name=st.text(max_size=1000), valid=NAMES)
def test_an_unknown_name_is_said_in_under_500_characters(name: str, valid: list[str]) -> None:
    said = str(unknown_name("kind of thing", name, valid))
    assert len(said) < 500
    shown = said.partition("valid: ")[2]
    assert not valid or shown != "none"


def test_of_many_names_the_three_nearest_are_shown_and_the_rest_counted() -> None:
    many = [f"method-{i:03d}" for i in range(200)]
    said = str(unknown_name("method", "method-017x", many, listing="bench list methods"))
    assert "did you mean 'method-017'? valid: method-017, " in said
    listed = said.partition("valid: ")[2]
    names, _, rest = listed.rpartition(" and ")
    assert len(names.split(", ")) == 3
    assert rest == "197 more (all: bench list methods)"


def test_another_case_is_no_other_name() -> None:
    names = ["ViT-B-32", "RN50", "vit_medium"]
    assert "did you mean 'ViT-B-32'?" in str(unknown_name("model", "vit-b-32", names))


def test_a_short_list_is_whole() -> None:
    assert str(unknown_name("rule", "best", ["max-val", "within-1pt"])) == (
        "unknown rule 'best': valid: max-val, within-1pt"
    )


@given(st.text(max_size=3000))
def test_a_message_is_short_and_printable(text: str) -> None:
    for said in (concise(text), one_line(ValueError(text)), str(InputError(text))):
        assert len(said) <= LONGEST
        assert not said or said.isprintable()


def test_a_long_path_keeps_its_ends() -> None:
    said = str(InputError(f"cannot read /data/{'x' * 1000}/cat.png: damaged"))
    assert said.startswith("cannot read /data/xxx") and said.endswith("xxx/cat.png: damaged")


WORDS = st.lists(st.text("abc", min_size=1, max_size=12), min_size=20, max_size=300)


@given(WORDS, st.integers(30, 200))
def test_a_sentence_is_cut_between_words(words: list[str], most: int) -> None:
    for said in (shortened(" ".join(words), most), reason_of(OSError("\n".join(words)), most)):
        assert len(said) <= most
        kept = said.removesuffix("...").split(" ")
        assert kept == words[: len(kept)]


@given(WORDS)
def test_of_a_long_message_whole_words_are_left_out(words: list[str]) -> None:
    before, _, after = concise(" ".join(["start", *words * 3, "end"])).partition("... ")
    assert before.startswith("start ") and (not after or after.endswith(" end"))
    assert {*before.split(" "), *after.split(" ")} <= {"start", "end", "", *words}


def test_a_long_word_is_cut_itself() -> None:
    assert shortened("at " + "x" * 100, 20) == "at " + "x" * 14 + "..."
