"""Files that others wrote are opened, and their text is parsed, within budgets."""

from __future__ import annotations

import io
import os
import pickle
import socket
import threading
import tracemalloc
from pathlib import Path

import pytest
from hostile import JSON, PICKLES, YAML, damaged, documents, readable_or_refused, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.core.foreign import files as module
from bench.core.foreign.documents import DocumentError, parse_json, parse_yaml, read_json
from bench.core.foreign.expansion import check_expansion
from bench.core.foreign.files import open_regular, read_bounded, reading_form, text_of
from bench.core.foreign.opcodes import check_opcodes
from bench.core.records import read_missing, read_records, records_text
from bench.core.trainings import read_trainings
from bench.testing.fakes import fake_records


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def bound(path: Path) -> Path:
    socket.socket(socket.AF_UNIX).bind(str(path))
    return path


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (pipe, "it is a pipe"),
        (bound, "No such device"),
        (lambda path: path.symlink_to("/dev/zero") or path, "it is a device"),
        (lambda path: path.mkdir() or path, "directory"),
        (lambda path: path.symlink_to(path) or path, "symbolic links"),
        (lambda path: path / "no\0name", "no file can have this name"),
    ],
)
def test_what_is_no_regular_file_is_named(make, what: str, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)  # paths of sockets are short
    path = make(Path("file"))
    with pytest.raises(OSError, match=what):
        open_regular(path)
    refused(lambda: text_of(path), "cannot read file", what)


def test_a_pipe_with_a_writer_is_not_read(tmp_path: Path) -> None:
    path = pipe(tmp_path / "a.png")
    writer = threading.Thread(target=lambda: os.close(os.open(path, os.O_RDWR)))
    writer.start()
    with pytest.raises(OSError, match="it is a pipe"):
        open_regular(path)
    writer.join()


def test_text_has_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"12345")
    assert text_of(path, most=5) == "12345"
    refused(lambda: text_of(path, most=4), "more than 4 bytes, the most that are read")
    monkeypatch.setattr(module.os, "fstat", lambda number: os.stat_result((0o100644, *[0] * 9)))
    with pytest.raises(OSError, match="more than 4 bytes"):  # where sizes are not to be trusted
        read_bounded(path, most=4)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(50 * 2**30)
    refused(lambda: read_json(path), "has more than 33.6 MB")


@pytest.mark.parametrize("content", [b"a\0b", "ab".encode("utf-16"), b"\xff"])
def test_text_is_utf8_without_zeros(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    refused(lambda: text_of(tmp_path / "a.txt"), "save it as UTF-8")


def test_line_ends_are_those_of_python(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert text_of(tmp_path / "a.txt") == "a\nb\nc\n"


@pytest.mark.parametrize("error", [OverflowError("inf"), KeyError("k" * 9000), IndexError()])
def test_unexpected_content_is_one_line(error: Exception) -> None:
    def call() -> None:
        with reading_form("a.json", "a list"):
            raise error

    refused(call, "a.json: expected a list")


@pytest.mark.parametrize("name", YAML)
def test_yaml_bombs(name: str) -> None:
    text, said = YAML[name]
    with pytest.raises(DocumentError) as caught:
        parse_yaml(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", JSON)
def test_json_bombs(name: str) -> None:
    text, said = JSON[name]
    with pytest.raises(DocumentError) as caught:
        parse_json(text)
    assert said in str(caught.value)


def test_plain_documents_are_as_they_were() -> None:
    assert parse_yaml("a: &a [1, 0x10, 1.5, yes, 2001-01-01]\nb: *a")["b"][:4] == [
        1, 16, 1.5, True,
    ]  # fmt: skip
    assert parse_yaml("") is None
    assert parse_yaml("<<: {a: 1}\nb: 2") == {"a": 1, "b": 2}
    deep: object = "leaf"
    for _ in range(60):
        deep = [deep]
    assert parse_json(str(deep).replace("'", '"')) == deep
    assert parse_json('"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize("name", PICKLES)
def test_pickle_bombs(name: str) -> None:
    if name not in ("shared lists", "other code"):  # which the readers refuse themselves
        with pytest.raises(pickle.UnpicklingError):
            check_opcodes(io.BytesIO(PICKLES[name][0]))


@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=40),
       st.integers(0, 5))  # fmt: skip
@settings(max_examples=50)
def test_any_plain_pickle_is_followed_to_its_end(value: object, protocol: int) -> None:
    shared = {"one": value, "two": [value, (value, (3, 4))], (1, (2, "a")): {5}}
    for data in (shared, [shared, shared]):
        file = io.BytesIO(pickle.dumps(data, protocol) + b"rest")
        check_opcodes(file)
        assert file.read() == b"rest"


def test_the_bytes_of_a_pickle_are_passed_over() -> None:
    """Those of a checkpoint are hundreds of megabytes; their text would be four times as long."""
    size = 4_000_000
    file = io.BytesIO(pickle.dumps([bytes(size)]))
    tracemalloc.start()
    check_opcodes(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * size


def test_expansion_is_free_up_to_a_size() -> None:
    check_expansion(1, 2**28, "a.npz")
    check_expansion(2**30, 200 * 2**30, "a.npz")
    with pytest.raises(InputError, match=r"a\.npz unpacks from 6 MB to 6 GB, more than 200 times"):
        check_expansion(6_000_000, 6_000_000_000, "a.npz")


VALID = records_text(fake_records()).encode()


@given(damaged(VALID) | documents())
@settings(max_examples=40)
def test_damaged_records_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name, read in (
        ("records.jsonl", read_records),
        ("missing.jsonl", read_missing),
        ("trainings.jsonl", lambda path: read_trainings(path.parent)),
    ):
        path = folder / name
        path.write_bytes(data)
        readable_or_refused(lambda path=path, read=read: read(path))  # type: ignore[misc]


@given(damaged(b'{"a": &b [1, 2.5, "c"], "d": *b}') | documents())
def test_any_document_is_parsed_or_refused(data: bytes) -> None:
    text = data.decode("latin1")
    for parse in (parse_json, parse_yaml):
        try:
            parse(text)
        except DocumentError as error:
            assert "\n" not in str(error)
            assert len(str(error)) <= 300
