"""Every command and every Python block of the documents is run, or at least parsed: see PARSED."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import reading_figures
from commands import Finished, Result, bench
from document_blocks import Reader, arguments_of, blocks, commands_of, parse
from places import ROOT

from bench.api import registry

DOCS = ROOT / "docs"
FOLLOWED = [
    *(
        page
        for part in ("tutorials", "how-to", "explanation")
        for page in (DOCS / part).glob("*.md")
    )
]
"""Pages that a reader works through from top to bottom, as these tests do."""
OTHERS = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *(page for page in sorted(DOCS.glob("*.md")) if page not in FOLLOWED),
]
"""Pages whose commands stand alone."""
PARSED: Mapping[str, str] = {
    r"^(python3 -m venv|\. \.venv/|pip install) ?": "installs or activates",
    r"^bench run .*--model ViT-B": "downloads released weights; tests/models has random ones",
    r"--executor (slurm|ray)": "needs a cluster; tests/front/test_executors.py runs them",
    r"s3://": "needs a bucket; tests/core/store tests one",
    r"^torchrun|--suite imagenet": "needs GPUs and ImageNet; its plan is tested below",
    r"--open$": "opens a browser",
    r"local-dir:my-clip": "a folder of the reader's; tests/models/test_sources.py reads several",
}
"""Commands that are parsed and not carried out: what tells them, and why."""


REGISTERED = ("_METHODS", "_DATASETS", "_PLUGINS")
"""What the registry knows, also of files: a copy of a known one would register nothing."""


def reason(command: str) -> str | None:
    """Why a command is not carried out, if it is not."""
    return next((why for what, why in PARSED.items() if re.search(what, command)), None)


def test_every_reason_is_needed() -> None:
    commands = [command for page in FOLLOWED for _, command in commands_of(page)]
    for what in PARSED:
        assert any(re.search(what, command) for command in commands), what


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a new folder, with a cache of its own; forget what plugins of a page register."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    registry.methods(), registry.datasets()
    for known in REGISTERED:
        monkeypatch.setattr(registry, known, dict(getattr(registry, known)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_a_page_can_be_followed(page: Path, mini: Finished, tmp_path: Path) -> None:
    shutil.copytree(mini.cache, tmp_path / "cache", copy_function=os.link)
    Reader(reason).read(page)


NOT_CARRIED_OUT: Mapping[str, str] = {
    r"bench data download": "downloads",
    r"bench import": "needs released checkpoints; tests/runs/test_import.py makes some",
    r"s3://": "needs a bucket; tests/core/store tests one",
    r"--imported|ft\.safetensors|surer|unsure": "needs what the line above it made",
    r"RUN1|report\.md|TABLE\.md|HEAD~1|published:|golden:": "checks others' files: tests/checks",
    r"bench status": "needs jobs of a cluster; the tutorial of clusters has some",
    r"bench check results/runs": "needs that run",
    r" \[--": "a synopsis",
    r"bench data synthetic": "copies all data sets, as the fixture does whose copies are read here",
    r"--outputs": "followed below, with a folder of outputs",
    r"bench reproduce .*(DIR|tiny|-shot|released)$": "computes; test_rehearsal.py does, too",
    r"bench submit|--against samples": "needs that run; tests/front/test_submit.py has some",
    r"results/runs/\*": "shows the reader's own runs; tests/report/test_board_data.py has some",
    r"local-dir:mine|--beside|bench export": "run by tests/front/test_exchange_page.py",
}
"""Commands that stand alone and are parsed only: what tells them, and why."""
STAND_INS: Mapping[str, str] = {
    r"\b(RUN|OLD|NEW)\b": "RUN",
    r"(?<= )(DIR|~/data|/\w[\w/]*)(?= |$)": "DATA",
    r" --(out|executor|cache-dir|tracker) \S+": "",
    r"^(\.venv/bin/)?bench run\b": "bench plan",
    r"^(torchrun|accelerate launch) .*-m bench run\b": "bench plan",
    r"\bmy-method\b": "surer",
    r"docs/examples/cifar10\.yaml --data DATA": "my.yaml",
}
"""What stands for the names of examples. Of runs, the plan is made."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_commands_that_stand_alone_can_be_carried_out(
    own: Finished, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(own.cache))
    (tmp_path / "RUN").symlink_to(own.out)
    (tmp_path / "DATA").symlink_to(synthetic)
    write_examples(tmp_path)
    unused = set(NOT_CARRIED_OUT)
    failed: dict[str, str] = {}
    done: dict[tuple[str, ...], Result] = {}
    for page in OTHERS:
        for line, command in commands_of(page):
            if arguments_of(command) is None:
                continue
            if found := {what for what in NOT_CARRIED_OUT if re.search(what, command)}:
                unused -= found
                continue
            meant = command
            for what, stand_in in STAND_INS.items():
                meant = re.sub(what, stand_in, meant)
            arguments = tuple(arguments_of(meant) or ())
            result = done.get(arguments) or bench(*arguments)
            done[arguments] = result
            if result.code:
                failed[f"{page.name}:{line}: {command}"] = result.err
    assert failed == {}, "\n".join(f"{k}: {v}" for k, v in failed.items())
    assert not unused


def write_examples(folder: Path) -> None:
    """The files that commands of the documents name."""
    reader = Reader(reason)
    for block in blocks(DOCS / "tutorials" / "your-model.md"):
        if (block.language == "python" and "savez" in block.text) or block.title == "tones.yaml":
            reader.follow(block)
    (folder / "my.yaml").write_text((folder / "tones.yaml").read_text())
    shutil.copyfile(ROOT / "tests" / "plugin" / "example_method.py", folder / "my_method.py")
    (folder / "models.csv").write_text(
        "model,source,id,v2,objectnet\n"
        + "".join(f"m{i},me,{50 + i},{40 + i},{30 + i}\n" for i in range(4))
    )


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_commands_that_stand_alone_are_those_of_bench(page: Path) -> None:
    shutil.copyfile(ROOT / "tests" / "plugin" / "example_method.py", "my_method.py")
    for line, command in commands_of(page):
        arguments = arguments_of(command)
        if arguments is not None:
            try:
                parse(arguments)
            except Exception as error:
                raise AssertionError(f"{page.name}:{line}: {command}: {error}") from error


ELSEWHERE: Mapping[str, str] = {
    "python.md": "tests/repository/test_examples.py",
    "estimators.md": "tests/repository/test_docs.py",
    "new-method.md": "tests/testing/test_plugin.py",
}
"""Pages whose Python is run by other tests."""
COMPILED: Mapping[str, str] = {"mini.md": "the program of a notebook, which takes minutes"}
"""Pages of docs/notebook whose Python is only compiled, and why."""


def python_of(page: Path) -> list[str]:
    return [block.text for block in blocks(page) if block.language == "python"]


def test_all_python_of_the_documents_is_run() -> None:
    others = {page for page in DOCS.rglob("*.md") if python_of(page)} - set(FOLLOWED)
    named = {DOCS / name for name in (*ELSEWHERE, "outputs.md", "records.md")}
    assert others == named | {DOCS / "notebook" / name for name in COMPILED}
    for name in COMPILED:
        for text in python_of(DOCS / "notebook" / name):
            compile(text, name, "exec")


@pytest.mark.parametrize("name", ["outputs", "records"])
def test_the_python_of_a_page_runs(name: str) -> None:
    for text in python_of(DOCS / f"{name}.md"):
        exec(compile(text, name, "exec"), {})
    if name == "outputs":
        result = bench("score", "--outputs", "outputs")
        assert result.code == 0, result.err


def texts_of(folder: Path) -> dict[str, list[str]]:
    """The texts of figures, since another version of the library may draw other bytes."""
    files = folder.glob("*.svg")
    return {path.name: re.findall(r">([^<]+)<", path.read_text(encoding="utf-8")) for path in files}


def test_the_figures_of_the_reports_tutorial_are_those_of_the_program(tmp_path: Path) -> None:
    reading_figures.draw(tmp_path)
    assert texts_of(tmp_path) == texts_of(reading_figures.FOLDER)
