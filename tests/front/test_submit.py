"""``bench submit``: what is refused, what is written, and that it tells nothing of anybody."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Result, assert_refused, bench, contents
from places import ROOT

from bench.api.registry import find_dataset
from bench.checks.submission import submission_faults
from bench.core.records import MissingCell, read_records, records_text
from bench.front.submit import submission_remarks, write_submission

FILES = {"config.json", "id-ood.svg", "records.jsonl", "report.html", "report.md", "samples"}
COMMAND = ("run", "--suite", "micro", "--methods", "linear", "--seeds", "0,1", "--shifts", "v2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A run of `micro`, which is taken for a suite that counts, and its cache."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find_dataset("micro"), "notes", ())
        done = bench(*COMMAND, "--cache-dir", folder / "cache", "--out", folder / "mine")
        assert done.code == 0, done.err
        yield folder / "mine", folder / "cache"


@pytest.fixture
def mine(finished: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the run, which a test may change."""
    return Path(shutil.copytree(finished[0], tmp_path / "mine"))


def submit(run: Path, finished: tuple[Path, Path]) -> Result:
    where = ("--to", run.parent / "results" / "new", "--cache-dir", finished[1])
    return bench("submit", run, *where)


def assert_refusal(run: Path, *words: str) -> None:
    """Assert that something speaks against a run, in one line that holds all `words`."""
    faults = submission_faults(run)
    assert any(all(word in fault for word in words) for fault in faults), faults
    assert all(len(fault) < 500 and "\n" not in fault for fault in faults)


def test_a_finished_run_becomes_a_folder_that_the_gate_passes(
    finished: tuple[Path, Path], mine: Path, tmp_path: Path
) -> None:
    result = submit(mine, finished)
    assert result.code == 0, result
    to = tmp_path / "results" / "new"
    assert {path.name for path in to.iterdir()} == FILES
    assert f"bench check {to} --against samples" in result.out
    assert "git switch -c results-new" in result.out
    gate = bench("check", to, "--against", "samples")
    assert gate.code == 0 and gate.out.startswith("1 folder: complete")
    assert bench("check", to, "--cache-dir", finished[1]).code == 0  # and all is recomputed
    assert_refused(submit(mine, finished), "exists: choose another name with --to")


def test_what_a_killed_process_left_is_not_taken_for_a_folder(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "to" / ".new-elsewhere-1-0123456789ab").mkdir(parents=True)
    write_submission(mine, tmp_path / "to")
    assert {path.name for path in (tmp_path / "to").glob("[!.]*")} == FILES


def test_nothing_private_is_in_any_file(
    finished: tuple[Path, Path], mine: Path, tmp_path: Path
) -> None:
    assert str(finished[1]) in (mine / "places.json").read_text()  # which is not taken
    assert submit(mine, finished).code == 0
    files = [path for path in (tmp_path / "results" / "new").rglob("*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    places = {str(tmp_path), str(finished[1]), str(Path.home()), str(Path.cwd())} - {"/", "/root"}
    assert [place for place in places if place.encode() in content] == []
    names = [name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 5]
    assert [name for name in names if name.encode() in content] == []
    assert b"places.json" not in content


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("cannot read /home/ada/secret/cat.png", "an absolute path"),
        ("see ~/runs/one", "an absolute path"),
        ("see ~ada/runs", "an absolute path"),
        ("see </home/ada/cat.png>", "an absolute path"),
        ("cannot read `/home/ada/cat.png`", "an absolute path"),
        ("cannot open file:///data/cat.png", "an absolute path"),
        ("no space left in /scratch", "an absolute path"),
        (r"cannot read \\server\ada", "an absolute path"),
        (r"cannot read C:\Users\ada", "an absolute path"),
        ("cannot reach s3://lab-bench/cache", "an address of a store"),
        ("ask ada@lab.example.org", "an e-mail address"),
        ("refused with AKIAIOSFODNN7EXAMPLE", "a credential"),
        ("refused https://ada:hunter2@host", "a credential"),
        ("refused github_pat_11ABCDEFG0123456789abcdef", "a credential"),
        ("refused eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc", "a credential"),
        ("no memory on node-17", "the name of this machine or of its user"),
        ("no answer to ada@gpu", "the name of this machine or of its user"),
    ],
)
def test_private_texts_are_named(
    mine: Path, text: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node-17")
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    assert submission_faults(mine) == ()
    list_missing(mine, text)
    assert_refusal(mine, "missing.jsonl holds", what)


def test_usual_words_are_not_taken_for_names(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "linear")
    monkeypatch.setattr("getpass.getuser", lambda: "bench")
    usual = "5 / 7 images, 1/2 of them at https://example.org/a/b and and/or v2/test"
    list_missing(mine, f"{usual}, +/-0.5/1, ~5/6")
    assert submission_faults(mine) == ()


def list_missing(run: Path, reason: str) -> None:
    """Take the ECE of a row on a set from a run, and list it as missing."""
    records = read_records(run / "records.jsonl")
    gone = next(r for r in records if (r.metric, r.kind, r.method) == ("ece", "cell", "linear"))
    (run / "records.jsonl").write_text(records_text(r for r in records if r != gone))
    fields = {k: v for k, v in dict(gone).items() if k in MissingCell.model_fields}
    absent = MissingCell(**fields, reason=reason, lacking=("ece",))
    (run / "missing.jsonl").write_text(absent.model_dump_json() + "\n")


def test_only_the_samples_that_the_run_lists_are_taken(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("PRIVATE")
    (mine / "samples" / "notes.txt").write_text("cannot read /home/ada/cat.png")
    (mine / "samples" / "link").symlink_to(tmp_path / "key")
    to = tmp_path / "results" / "new"
    write_submission(mine, to)
    listed = {path.name for path in (mine / "samples").iterdir()} - {"notes.txt", "link"}
    assert {path.name for path in (to / "samples").iterdir()} == listed
    assert bench("check", to, "--against", "samples").code == 0


@pytest.mark.parametrize("name", ["places.json", "samples/notes.txt", "more/samples"])
def test_the_gate_names_files_that_results_do_not_need(
    mine: Path, tmp_path: Path, name: str
) -> None:
    to = tmp_path / "results" / "new"
    write_submission(mine, to)
    (to / name).parent.mkdir(exist_ok=True)
    (to / name).write_text('{"cache_dir": "/home/ada"}')
    result = bench("check", to, "--against", "samples")
    assert result.code == 3 and name.split("/s")[0] in result.out


def test_missing_cells_are_taken_if_they_are_listed(mine: Path, tmp_path: Path) -> None:
    list_missing(mine, "the training diverged")
    assert submission_faults(mine) == ()
    to = tmp_path / "results" / "new"
    write_submission(mine, to)
    assert {path.name for path in to.iterdir()} == FILES | {"missing.jsonl"}
    assert bench("check", to, "--against", "samples").code == 0


def test_a_row_without_a_seed_or_a_set_is_refused(mine: Path) -> None:
    records = read_records(mine / "records.jsonl")
    kept = [r for r in records if (r.method, r.seed, r.shift) != ("linear", 1, "v2")]
    (mine / "records.jsonl").write_text(records_text(kept))
    assert_refusal(mine, "neither measured nor listed in missing.jsonl: linear on v2, seed 1")


def test_marks_protocols_and_origins_are_refused(mine: Path) -> None:
    records = read_records(mine / "records.jsonl")

    def changed(**update: object) -> None:
        found = [record.model_copy(update=update) for record in records]
        (mine / "records.jsonl").write_text(records_text(found))

    changed(notes=("limit=40",))
    assert_refusal(mine, "marked as not reportable: limit=40")
    changed(protocol="clean, ece_bins 20")
    assert_refusal(mine, "protocol 'clean, ece_bins 20'", "expected clean or official")
    changed(protocol="clean, rule max-val")
    assert submission_faults(mine) == ()
    nothing = {"versions": {}, "hardware": {}}
    for environment in (nothing, {"versions": ["bench"]}, "unknown", None):
        changed(provenance={"key": "0", "environment": environment})
        assert_refusal(mine, "with which version of bench")
        assert_refusal(mine, "with which hardware")
        assert list(submission_remarks(mine)) == []


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("suite", ["pets.yaml"], "suite pets.yaml is not one of bench"),
        ("plugin", ["mine.py"], "the run used a plugin of your own (--plugin)"),
        ("templates", "mine.txt", "a file of templates of your own (--templates)"),
    ],
)
def test_what_nobody_can_repeat_is_refused(
    mine: Path, option: str, value: object, words: str
) -> None:
    config = json.loads((mine / "config.json").read_text())
    (mine / "config.json").write_text(json.dumps(config | {option: value}))
    assert_refusal(mine, words)


@pytest.mark.parametrize("kind", ["my_package.Linear", "plug@c22d838a1490.Geometric"])
def test_rows_of_plugin_packages_are_refused(mine: Path, kind: str) -> None:
    """The configuration names plugin files alone."""
    records = read_records(mine / "records.jsonl")
    own = [
        r.model_copy(update={"provenance": {**r.provenance, "method": {"part": {"type": kind}}}})
        if r.method == "linear"
        else r
        for r in records
    ]
    (mine / "records.jsonl").write_text(records_text(own))
    assert_refusal(mine, f"row linear is computed by {kind}")
    assert not any("e-mail" in fault for fault in submission_faults(mine))


def test_numbers_that_do_not_follow_are_refused(
    finished: tuple[Path, Path], mine: Path, tmp_path: Path
) -> None:
    records = read_records(mine / "records.jsonl")
    raised = [
        r.model_copy(update={"value": r.value + 0.01}) if r.metric == "ece" else r for r in records
    ]
    (mine / "records.jsonl").write_text(records_text(raised))
    assert_refusal(mine, "numbers do not follow from samples/, such as ece of")
    # The NLL does not follow from samples: it is recomputed from the store.
    other = [
        r.model_copy(update={"value": r.value - 0.5}) if r.metric == "nll" else r for r in records
    ]
    (mine / "records.jsonl").write_text(records_text(other))
    assert submission_faults(mine) == ()
    result = submit(mine, finished)
    assert result.code == 2 and "refused: " in result.out and "nll" in result.out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("params", [3, ["bins"], {"bins": 0}, {"bins": "15"}, {"mine": 15}])
def test_an_ece_with_parameters_that_there_are_not_follows_from_nothing(
    mine: Path, params: object
) -> None:
    records = read_records(mine / "records.jsonl")
    odd = [
        r.model_copy(update={"provenance": {**r.provenance, "metric": {"params": params}}})
        if r.metric == "ece"
        else r
        for r in records
    ]
    (mine / "records.jsonl").write_text(records_text(odd))
    assert_refusal(mine, "numbers do not follow from samples/, such as ece of")


def test_samples_and_reports_belong_to_a_folder(mine: Path) -> None:
    report = mine / "report.md"
    report.write_text(report.read_text().replace("Zero-shot", "Zero shot", 1))
    result = bench("check", mine, "--against", "samples")
    assert result.code == 3 and "report.md" in result.out
    report.unlink()
    assert "report.md is missing" in bench("check", mine, "--against", "samples").out
    next((mine / "samples").glob("*.safetensors")).unlink()
    assert_refusal(mine, "samples")


def test_a_committed_folder_is_what_would_be_written(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "statistics.md").touch()
    (tmp_path / "bench" / "report").mkdir(parents=True)
    to = tmp_path / "results" / "mini"
    write_submission(ROOT / "results" / "mini", to)
    committed = ROOT / "results" / "mini"
    assert contents(to) == contents(committed)
