"""Runs with their store on S3: the same records, from several machines, and what ends them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from buckets import S3, remote_files
from commands import SAME_BENCH, Result, assert_refused, bench, contents, start

from bench.api.recipe_parts import weights_key
from bench.core.errors import DataError, InputError
from bench.core.store.bucket import Bucket
from bench.runs.study.imported import (
    ImportedFile,
    ImportedPair,
    check_import_name,
    read_import,
    write_import,
)

TINY = ("run", "--suite", "micro", "--methods", "zero-shot", "--limit", "20", "--shifts", "v2")


TRAINED = ("run", "--suite", "micro", "--methods", "wise-ft", "--limit", "20", "--shifts", "v2",
           "--set", "e2e-ft.epochs=1")  # fmt: skip
"""Runs of a second and of a few."""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`TRAINED` with its store in a folder."""
    folder = tmp_path_factory.mktemp("here")
    result = bench(*TRAINED, "--cache-dir", folder / "cache", "--out", folder / "run")
    assert result.code == 0, result.err
    return folder / "run"


def on(monkeypatch: pytest.MonkeyPatch, s3: S3, machine: str, *command: object) -> Result:
    """Run a command on a machine, which is to say with another folder of copies."""
    monkeypatch.setenv("BENCH_CACHE", str(s3.folder / machine))
    s3.clear()
    return bench(*command, "--cache-dir", s3.address())


@pytest.mark.slow
def test_a_run_is_the_same_from_a_bucket_and_another_machine_has_nothing_to_do(
    s3: S3, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outs = [s3.folder / f"run-{number}" for number in range(3)]
    result = on(monkeypatch, s3, "one", *TRAINED, "--out", outs[0], "--executor", "local:1")
    assert result.code == 0, result.err
    assert contents_of_run(outs[0]) == contents(here)
    # Another machine: the plan, and a run with nothing to compute.
    plan = on(monkeypatch, s3, "two", "plan", *TRAINED[1:])
    assert "to do: nothing" in plan.out
    kinds = {"weights", "features", "fits", "cells", "samples", "sets", "trainings", "models"}
    assert s3.counts()["LIST"] <= len(kinds) + 1
    result = on(monkeypatch, s3, "three", *TRAINED, "--out", outs[1])
    assert result.code == 0, result.err
    counts = s3.counts()
    assert contents(outs[1]) == contents(here)
    objects = s3.objects()
    assert {name.partition("/")[0] for name in objects} == kinds
    assert counts["LIST"] <= len(kinds) + 1 and counts["PUT"] == 2  # whether it may write
    small = [n for n in objects if not n.startswith("features/")]  # each is read once at most
    assert counts["GET"] <= len(small)
    # A bucket that may only be read is enough to check the run.
    deny_writing(s3)
    checked = on(monkeypatch, s3, "four", "check", outs[1], "--resample", "0.1")
    assert checked.code == 0 and "no difference" in checked.out, checked
    assert not {"PUT", "DELETE"} & s3.counts().keys()
    places = json.loads((outs[1] / "places.json").read_text())
    assert places["cache_dir"] == s3.address()
    refused = on(monkeypatch, s3, "four", *TRAINED, "--out", outs[2])
    assert_refused(refused, s3.address(), "may not write")


def contents_of_run(folder: Path) -> dict[str, bytes]:
    """The files of a run without what its workers wrote."""
    return {n: data for n, data in contents(folder).items() if not n.startswith("jobs")}


def deny_writing(s3: S3) -> None:
    rule = {"Effect": "Deny", "Principal": "*", "Action": ["s3:PutObject", "s3:DeleteObject"],
            "Resource": f"arn:aws:s3:::{s3.bucket}/*"}  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    s3.system.call_s3("put_bucket_policy", Bucket=s3.bucket, Policy=policy)


@pytest.mark.slow
def test_two_machines_at_once_share_the_work(
    s3: S3, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = []
    for name in ("one", "two"):
        monkeypatch.setenv("BENCH_CACHE", str(s3.folder / name))
        command = (*TRAINED, "--cache-dir", s3.address(), "--out", s3.folder / f"run-{name}")
        running.append(start(*command, env={**SAME_BENCH, **os.environ}))
    for process in running:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    for name in ("one", "two"):
        assert contents(s3.folder / f"run-{name}") == contents(here)
    features = [n for m, n in s3.asked if m == "PUT" and "/features/" in n]
    weights = [n for m, n in s3.asked if m == "PUT" and "/weights/" in n]
    assert len(features) == len(set(features)) and len(weights) == len(set(weights))
    assert not s3.names("claims/")


@pytest.mark.slow
def test_a_killed_run_is_gone_on_with_by_another_machine(
    s3: S3, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(s3.folder / "one"))
    command = (*TRAINED, "--cache-dir", s3.address(), "--out", s3.folder / "killed")
    process = start(*command, env={**SAME_BENCH, **os.environ})
    while not (done := s3.names("features/")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    result = on(monkeypatch, s3, "two", *TRAINED, "--out", s3.folder / "run")
    assert result.code == 0, result.err
    assert contents(s3.folder / "run") == contents(here)
    again = {name.partition("/")[2] for method, name in s3.asked if method == "PUT"}
    assert done and not done & again


def test_a_network_that_fails_ends_a_run_in_one_line_and_the_next_goes_on(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, sent = Bucket.put, list[str]()

    def failing(bucket: Bucket, name: str, data: bytes, *, patient: bool = True) -> str:
        sent.append(name)
        if len(sent) > 4:
            raise DataError(f"{bucket.url(name)}: cannot write after 5 tries")
        return put(bucket, name, data, patient=patient)

    with monkeypatch.context() as broken:
        broken.setattr(Bucket, "put", failing)
        result = on(monkeypatch, s3, "one", *TINY, "--out", s3.folder / "run")
    assert result.code == 4 and s3.address() in result.err and "Traceback" not in result.err
    stored = s3.names() - s3.names("claims/")
    assert stored == {name for name in sent[1:4] if not name.startswith("claims/")} != set()
    result = on(monkeypatch, s3, "one", *TINY, "--out", s3.folder / "run")
    assert result.code == 0, result.err
    again = {name.partition("/")[2] for method, name in s3.asked if method == "PUT"}
    assert not again & stored
    # A damaged object is computed again, with the same records.
    pack = min(s3.names("cells/"))
    s3.system.pipe_file(f"{s3.address()}/{pack}", b"{}")
    result = on(monkeypatch, s3, "two", *TINY, "--out", s3.folder / "again")
    assert result.code == 0, result.err
    assert contents(s3.folder / "again") == contents(s3.folder / "run")
    # What `bench cache` says of it.
    listed = json.loads(on(monkeypatch, s3, "two", "cache", "ls", "--json").out)
    assert listed["cache"] == s3.address()
    assert {"weights", "features", "cells"} < {kind["kind"] for kind in listed["kinds"]}
    assert on(monkeypatch, s3, "two", "cache", "verify").code == 0
    s3.system.pipe_file(f"{s3.address()}/{pack}", b"{}")
    damaged = on(monkeypatch, s3, "two", "cache", "verify")
    assert damaged.code == 4 and f"{s3.address()}/{pack}" in damaged.out
    assert on(monkeypatch, s3, "two", "cache", "verify", "--remove").code == 0
    assert pack not in s3.names()
    refused = on(monkeypatch, s3, "two", "cache", "gc")
    assert_refused(refused, s3.address(), "lifecycle rule", "copies")


def test_stores_that_cannot_be_used_are_refused_in_one_line(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ("--out", s3.folder / "run")
    absent = bench(*TINY, *out, "--cache-dir", "s3://no-such-bucket/x")
    assert_refused(absent, "s3://no-such-bucket/x", "there is no such bucket")
    assert_refused(bench(*TINY, *out, "--cache-dir", "s3://"), "--cache-dir", "s3://BUCKET/PREFIX")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    down = bench(*TINY, *out, "--cache-dir", s3.address())
    assert_refused(down, s3.address(), "check the network", code=4)
    assert not (s3.folder / "run").exists()


def pair(name: str = "released", digest: str = "1f0c") -> ImportedPair:
    files = (ImportedFile(file=f"{kind}.pt", digest=f"{kind}{digest}") for kind in "ab")
    return ImportedPair(
        name=name,
        model="ViT-B-32",
        pretrained="openai",
        backbone_digest="tag:x",
        classes=("cat", "dog"),
        normalize=True,
        trained_on="pets",
        unseen=(),
        shares_encoder=True,
        zero_shot=next(files),
        tuned=next(files),
    )  # type: ignore[arg-type]


def test_imports_are_known_on_all_machines(s3: S3) -> None:
    one, other = s3.store("one"), s3.store("other")
    made = pair()
    write_import(one, made)
    with pytest.raises(InputError, match="its weights are gone"):
        read_import(other, "released")
    for recipe in (made.untouched(made.backbone), made.fine_tuned(made.backbone)):
        one.write_arrays("weights", weights_key(recipe), {})
    other.files.forget()
    assert read_import(other, "released") == made
    check_import_name(other, made)
    with pytest.raises(InputError, match="--name released is taken"):
        check_import_name(other, pair(digest="2e1d"))
    assert remote_files(other).names(other.root / "imports") == {"released.json"}
