"""The cards of the data sets: complete, well-formed and equal to the reference; and their page."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import datasets_page
import pydantic
import pytest
from commands import assert_refused, bench
from places import DATA, ROOT

from bench.core.errors import InputError
from bench.data.cards import (
    DIGITS,
    UNKNOWN,
    Archive,
    Copy,
    Layout,
    Location,
    SetCard,
    Terms,
    cards,
    parse_card,
)

FOLDER = ROOT / "datasets" / "cards"
REFERENCE = DATA.parent / "reference" / "datasets.json"
ALL = pytest.mark.parametrize("card", cards().values(), ids=list(cards()))


def texts(value: Any) -> list[str]:
    """All texts in nested lists and mappings, including keys."""
    if isinstance(value, dict):
        return [t for key, inner in value.items() for t in (key, *texts(inner))]
    if isinstance(value, list):
        return [t for inner in value for t in texts(inner)]
    return [value] if isinstance(value, str) else []


def files(card: SetCard) -> list[Archive]:
    return [*card.archives, *card.prompts, *card.metadata]


def links(card: SetCard) -> set[str]:
    urls = {url for archive in files(card) for url in archive.urls}
    return urls | {card.source} | {copy.url for copy in card.copies}


def test_every_file_is_a_card_under_its_own_name() -> None:
    assert sorted(cards()) == sorted(path.stem for path in FOLDER.glob("*.toml"))
    assert all(name == card.name for name, card in cards().items())
    titles = [card.title for card in cards().values()]
    assert len(set(titles)) == len(titles)


@ALL
def test_no_text_is_blank(card: SetCard) -> None:
    written = texts(tomllib.loads((FOLDER / f"{card.name}.toml").read_text()))
    assert written
    assert all(text and text == text.strip() and "\n" not in text for text in written)


@ALL
def test_addresses_are_https_or_guarded_by_a_checksum(card: SetCard) -> None:
    assert all(u.startswith("https://") for u in (card.source, *(c.url for c in card.copies)))
    for archive in files(card):
        plain = [url for url in archive.urls if not url.startswith("https://")]
        assert not plain or (archive.checksums and "without https" in (archive.note or ""))


@ALL
def test_checksums_are_well_formed(card: SetCard) -> None:
    for archive in files(card):
        for kind, digits in archive.checksums.items():
            assert re.fullmatch(f"[0-9a-f]{{{DIGITS[kind]}}}", digits)


def test_no_two_files_have_one_checksum() -> None:
    held: dict[str, str] = {}
    for card in cards().values():
        for archive in files(card):
            for digits in archive.checksums.values():
                assert held.setdefault(digits, archive.file) == archive.file


@ALL
def test_downloads_go_where_loaders_look(card: SetCard) -> None:
    places = [place.path for found in card.layout.folders.values() for place in found]
    for archive in (*card.archives, *card.metadata):
        into = f"{archive.into}/"
        assert archive.into is None or any(f"{place}/".startswith(into) for place in places)
    assert {prompt.into for prompt in card.prompts} <= {f"bench-prompts/{card.name}"}


@ALL
def test_files_beside_archives_are_pinned_to_a_commit(card: SetCard) -> None:
    for file in (*card.prompts, *card.metadata):
        assert all(re.search(r"/[0-9a-f]{40}/", url) for url in file.urls)


def test_a_size_of_disk_usage_is_not_taken_for_the_file_s() -> None:
    constant, mirror = cards()["wilds-iwildcam"].archives
    assert constant.bytes is None
    assert mirror.bytes == mirror.size == 11957415473


@ALL
def test_cards_that_are_named_exist(card: SetCard) -> None:
    for other in (card.shift_of, card.needs):
        assert other is None or "ID" in cards()[other].roles
    if card.shift_of:
        assert set(card.suites) <= set(cards()[card.shift_of].suites)


def test_objectnet_states_its_two_clauses() -> None:
    accepted = " ".join(cards()["objectnet"].terms.accept)
    assert "never use it to tune" in accepted
    assert "red border" in accepted


@pytest.fixture(scope="module")
def reference() -> dict[str, dict[str, Any]]:
    """The collected facts, {name: facts}."""
    if not REFERENCE.is_file():
        pytest.skip(f"no {REFERENCE}: set BENCH_TEST_DATA to the data folder beside its folder")
    return {facts["name"]: facts for facts in json.loads(REFERENCE.read_text())["datasets"]}


UNVERIFIED = {
    "imagenet": ("train",),
    "dtd": ("train", "val"),
    "wilds-fmow": ("id_val", "id_test", "ood_val"),
}
"""Counts that the notes of the reference do not confirm."""
NEWER = {
    *("pacs", "office-home", "vlcs", "domainnet", "terra-incognita", "wilds-camelyon17"),
    *("imagenet-hard", "imagenet-w"),
}
"""Sets that the reference does not have; the tests of their suites have their counts."""
LATER = {"sun397": {"train": 19850, "test": 19850}, "ytbb-robust": {"sets": 2030}}
"""Counts that are newer than the reference: those of a partition, and one inferred later."""


def test_there_is_a_card_for_every_set_of_the_reference(
    reference: dict[str, dict[str, Any]],
) -> None:
    assert set(cards()) == set(reference) | NEWER


@ALL
def test_facts_are_those_of_the_reference(
    card: SetCard, reference: dict[str, dict[str, Any]]
) -> None:
    if card.name in NEWER:
        pytest.skip("the reference does not have this set")
    facts = reference[card.name]
    known = {split: count for split, count in card.images.items() if count != UNKNOWN}
    assert known == facts["images"] | LATER.get(card.name, {})
    assert (card.title, card.classes) == (facts["title"], facts["classes"])
    assert card.classes_total == facts.get("classes_total")
    assert card.shift_of == facts.get("id")
    words = {"ID": "ID", "OOD": "shift", "transfer": "transfer"}
    named = re.findall(r"\b(?:ID|OOD|transfer)\b", facts["role"])
    assert card.roles == tuple(dict.fromkeys(words[word] for word in named))
    assert card.unverified == UNVERIFIED.get(card.name, ())


@ALL
def test_archives_are_those_of_the_reference(
    card: SetCard, reference: dict[str, dict[str, Any]]
) -> None:
    if card.name in NEWER:
        pytest.skip("the reference does not have this set")
    sums = {digits for archive in card.archives for digits in archive.checksums.values()}
    sizes = {archive.size for archive in card.archives}
    names = {archive.file for archive in card.archives}
    for download in reference[card.name]["downloads"]:
        url = re.match(r"https?://\S+", download.get("url", ""))
        assert url is None or url.group() in links(card)
        assert {download[kind] for kind in ("md5", "sha256") if kind in download} <= sums
        assert {download["archive"]} <= names if "archive" in download else True
        assert set(download.get("files", [])) <= names
        assert download.get("size_bytes") in {None, *sizes}
        words = download.get("size", "").removeprefix("zip ").replace("extracted", "on disk")
        assert words in {"", *sizes}


PER_CLASS = {
    "cifar-10": {"train": 5000, "test": 1000},
    "cifar-10.1": {"test": 200},
    "cifar-10.2": {"train": 1000, "test": 200},
    "cifar-100": {"train": 500, "test": 100},
    "dtd": {"train": 40, "val": 40, "test": 40},
    "entity-30": {"source_val": 200, "target_val": 200},
    "food-101": {"train": 750, "test": 250},
    "imagenet": {"val": 50},
    "imagenet-v2": {"test": 10},
    "sun397": {"train": 50, "test": 50},
    "stl-10": {"train": 500, "test": 800, "test_without_monkey": 800},
}


def test_balanced_sets_say_how_many_images_a_class_has() -> None:
    assert {name: card.per_class for name, card in cards().items() if card.per_class} == PER_CLASS
    assert "images per class" in bench("show", "set:imagenet").out
    assert cards()["imagenet-v2"].balance == "test 10"


CARD = (FOLDER / "imagenet-a.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('title = "ImageNet-A"', 'title = " "', "title"),
        ('title = "ImageNet-A"', "", "title"),
        ('title = "ImageNet-A"', 'title = "ImageNet-A"\ncolour = "red"', "colour"),
        ('name = "imagenet-a"', 'name = "imagenet-b"', "its name is 'imagenet-b'"),
        ('shift_of = "imagenet"', "", "names its ID set"),
        ("test = 7500", "test = 0", "images"),
        ("test = 7500", 'test = "unknown"', "need a note"),
        ("classes = 200", 'classes = 200\nunverified = ["val"]', "unverified"),
        ("classes = 200", "classes = 200\nper_class = { test = 38 }", "the images of test"),
        ("classes = 200", "classes = 200\nper_class = { val = 1 }", "the images of val"),
        ("c3e55429", "c3e5542", "is not a valid md5"),
        ("c3e55429", "C3E55429", "is not a valid md5"),
        ("{ md5 =", "{ crc32 =", "is not a valid crc32"),
        ("size = 687552512", "size = -1", "size"),
        ("https://people", "ftp://people", "urls"),
        ('path = "imagenet-a"', 'path = "../imagenet-a"', "path"),
        ('path = "imagenet-a"', 'path = "/imagenet-a"', "path"),
        ('by = ["archive", ', 'by = ["nobody", ', "by"),
        ('licence = "MIT"', "licence = MIT", "Invalid value"),
        ("gated = false", "gated = true", "the clauses to accept"),
    ],
)
def test_a_card_with_a_fault_is_refused_in_one_line(old: str, new: str, word: str) -> None:
    assert old in CARD
    text = CARD.replace(old, new)
    with pytest.raises(InputError, match=re.escape(word)) as error:
        parse_card("imagenet-a.toml", text)
    assert str(error.value).startswith("card imagenet-a.toml: ")
    assert "\n" not in str(error.value)


ARCHIVE = {
    "file": "a.tar",
    "holds": "test",
    "urls": ["https://example.org/a.tar"],
    "size": 1500,
    "into": "a",
}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"checksums": {}}, "needs a note"),
        ({"size": UNKNOWN}, "needs a note"),
        ({"urls": []}, "needs a note"),
        ({"urls": ["http://example.org/a.tar"], "checksums": {}, "note": "old"}, "a checksum"),
        ({"near": True}, "a number and a note"),
        ({"near": True, "size": "1.5 kB", "note": "old"}, "needs a number"),
        ({"into": None}, "needs `into`, its target folder"),
        ({"into": "../a"}, "into"),
    ],
)
def test_what_is_missing_of_an_archive_is_reasoned(changes: dict[str, Any], word: str) -> None:
    whole = {**ARCHIVE, "checksums": {"md5": "0" * 32}}
    assert Archive.model_validate(whole).amount == "1.5 kB"
    with pytest.raises(pydantic.ValidationError, match=word):
        Archive.model_validate({**whole, **changes})


def test_the_download_counts_alternatives_once() -> None:
    assert cards()["wilds-iwildcam"].download == cards()["wilds-iwildcam"].archives[0].amount
    assert cards()["imagenet"].download.count(" + ") == 2
    assert cards()["entity-30"].download.endswith(", plus imagenet")


@pytest.mark.parametrize("model", [Archive, Copy, Layout, Location, SetCard, Terms])
def test_cards_are_frozen_and_closed(model: type[pydantic.BaseModel]) -> None:
    assert model.model_config["frozen"]
    assert model.model_config["extra"] == "forbid"


@ALL
def test_show_prints_all_that_a_user_needs(card: SetCard) -> None:
    result = bench("show", f"set:{card.name}")
    assert result.code == 0
    needed = [card.title, card.terms.licence, card.citation, *card.terms.accept, *links(card)]
    needed += [place.path for places in card.layout.folders.values() for place in places]
    needed += [digits for a in files(card) for digits in a.checksums.values()]
    for text in needed:
        assert text in result.out


def test_show_suggests_the_nearest_set() -> None:
    assert_refused(bench("show", "imagenet-v3"), "did you mean 'imagenet-v2'?")


def test_list_says_title_role_and_size() -> None:
    listed = json.loads(bench("list", "sets", "--json").out)["sets"]
    assert listed["imagenet-v2"] == (
        "ImageNet-V2 matched-frequency [shift of imagenet; test 10,000; 1.26 GB]"
    )


def test_the_page_is_made_of_the_cards_as_they_are() -> None:
    written = (ROOT / "docs" / "datasets.md").read_text()
    assert written == datasets_page.page(), "run python scripts/pages/datasets_page.py"


def test_links_within_the_page_lead_somewhere() -> None:
    page = datasets_page.page()
    anchors = re.findall(r'<a id="([^"]+)">', page)
    assert re.findall(r"\]\(#([^)]+)\)", page) == anchors
    assert len(set(anchors)) == len(cards())
