"""Names of classes: by which a class is found, and by which it is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.data.classes import Classes, respelled, shorten_list


def test_classes_are_shown_by_what_says_more_than_a_number() -> None:
    assert Classes(("1", "n2"), ("cat", "dog")).shown == ("cat", "n2")
    assert Classes(("n1", "n2"), ("cat", "dog")).shown == ("n1", "n2")


def test_a_class_is_found_by_key_by_a_prompt_of_its_own_and_by_number_where_none_is_a_name() -> (
    None
):
    classes = Classes(("a", "b", "c"), ("missile", "missile", "b"))
    assert classes.spellings() == {"0": 0, "1": 1, "2": 2, "a": 0, "b": 1, "c": 2}
    assert Classes(("a", "7"), ("x", "y")).spellings() == {"a": 0, "x": 0, "7": 1, "y": 1}
    assert Classes(("a", "b"), ("x", "1")).spellings() == {"a": 0, "x": 0, "b": 1, "1": 1}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cta", r"^unknown class 'cta': did you mean 'cat'\? valid: cat, cow, dog$"),
        ("catt", r"did you mean 'cat'\? valid: cat, cow, dog$"),
        ("doc", r"did you mean 'dog'\? valid: dog, cow, cat$"),
        ("zzz", "^unknown class 'zzz': valid: cow, dog, cat$"),
        ("3", "if these count from 1, subtract 1; names are cow, dog, cat$"),
        ("4", "^unknown class '4': numbers go from 0 to 2; names are cow, dog, cat$"),
    ],
)
def test_another_name_is_refused_with_the_nearest_first(name: str, message: str) -> None:
    classes = Classes(("cow", "dog", "cat"), ("cow", "dog", "cat"))
    with pytest.raises(InputError, match=message):
        classes.index(name, classes.spellings())


def test_names_match_without_regard_to_their_spelling_where_one_class_is_meant() -> None:
    classes = Classes(("Polar_bear", "dog", "a b", "A-B"), ("polar bear", "hound", "one", "two"))
    found = classes.matched(["POLAR-Bear", "Hound ", "A_b", "a b", "cow"])
    assert found == {"POLAR-Bear": 0, "Hound ": 1, "a b": 2}
    assert classes.matched(["dog", "DOG"]) == {"dog": 1}
    assert classes.matched(["Dog", "DOG"]) == {}  # which of them?


def test_names_in_another_spelling_are_counted_and_the_first_is_shown() -> None:
    classes = Classes(("cat", "dog", "cow"), ("cat", "dog", "cow"))
    (caveat,) = respelled(classes.matched(["cow", "Cat", "DOG"]), classes)
    assert caveat.startswith("matched 2 names to their classes")
    assert caveat.endswith(", such as 'Cat' as 'cat'")
    assert respelled(classes.matched(["cow"]), classes) == ()


@given(st.lists(st.text("ab", min_size=1)), st.integers(1, 5))
def test_a_list_is_shortened_only_if_it_is_longer(names: list[str], count: int) -> None:
    found, more = shorten_list(names, count), len(names) - count
    assert found == ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


@given(st.lists(st.integers(0, 9), min_size=1, unique=True), st.data())
def test_numbers_are_names_where_all_are_and_positions_do_not_say_otherwise(
    keys: list[int], data: st.DataObject
) -> None:
    classes = Classes(tuple(map(str, keys)), tuple(f"class {key}" for key in keys))
    labels = data.draw(st.lists(st.integers(0, 9) | st.sampled_from(keys), min_size=1))
    are_names, are_places = {*labels} <= {*keys}, {*labels} <= set(range(len(keys)))
    named = [keys.index(label) for label in labels] if are_names else labels
    if are_names and are_places and named != labels:
        with pytest.raises(InputError, match=r"by its name, but .* by its position"):
            classes.of_numbers(np.array(labels), "here")
    else:
        assert classes.of_numbers(np.array(labels), "here").tolist() == named
