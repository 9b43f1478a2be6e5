"""The command line: bad input of every kind, help, lists, and what scripts rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import Result, assert_refused, bench
from PIL import Image

from bench.core.records import records_text

MICRO = ("run", "--suite", "micro")
TINY_SUITE = """
name: pets
classes: [cat, dog]
templates: ["a photo of a {}."]
train: {folder: train}
selection: {folder: val}
test: {folder: test}
model: tiny
pretrained: embedded
"""


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a new folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def refused(*arguments: object, words: tuple[str, ...] = (), code: int = 2) -> None:
    """The run is refused and leaves no output."""
    result = bench(*arguments, "--out", "out")
    assert_refused(result, *words, code=code)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "mikro"], ["unknown suite 'mikro'", "did you mean 'micro'?", "mini"]),
        (
            ["--methods", "wise_ft"],
            ["unknown method 'wise_ft'", "did you mean 'wise-ft'?", "bench list methods"],
        ),
        (["--methods", "vrf:e2e"], ["unknown method 'e2e'", "did you mean 'e2e-ft'?"]),
        (["--methods", "vrf:ose"], ["'ose' is an ensemble and cannot be a base"]),
        (["--methods", "zero-shot:e2e-ft"], ["'zero-shot' takes no base"]),
        (["--methods", ""], ["--methods", "at least one"]),
        (["--shifts", "v3"], ["unknown shift of micro 'v3'", "did you mean 'v2'?", "sketch"]),
        (["--shifts", "all,v2"], ["--shifts", "not both"]),
        (["--model", "ViT-B-23"], ["unknown model 'ViT-B-23'", "and 1", "bench list models"]),
        (["--model", "ViT-B-32"], ["--model ViT-B-32 needs --pretrained", "openai, laion400m"]),
        (["--model", "ViT-S-32"], ["--model ViT-S-32 needs --pretrained", "checkpoint file"]),
        (["--set", "model.like=openai"], ["--set model.like", "checkpoint file", "embedded"]),
        (["--set", "model.likes=x"], ["unknown field of --set model 'likes'", "'like'"]),
        (["--set", "model.image_size=big"], ["model.image_size=big", "integer"]),
        (["--model", "ViT-B-23", "--pretrained", "x"], ["unknown model", "did you mean 'ViT-B-"]),
        (["--model", "ViT-B-32", "--pretrained", "no.pt"], ["--pretrained no.pt", "no such"]),
        (["--pretrained", "openai"], ["--pretrained openai", "'embedded'"]),
        (["--select", "best"], ["unknown selection rule 'best'", "max-val", "within-1pt"]),
        (["--precision", "fp16"], ["--precision fp16", "fp32", "bf16"]),
        (["--device", "gpu"], ["--device gpu", "cuda"]),
        (["--seeds", ""], ["--seeds", "at least one"]),
        (["--seeds", "0,-1"], ["--seeds -1"]),
        (["--seeds", "0,one"], ["--seeds", "one", "separated by commas"]),
        (["--seeds", "1,1"], ["--seeds", "listed twice"]),
        (["--data", "nowhere"], ["data folder nowhere does not exist", "--data"]),
        (["--config", "nowhere.yaml"], ["--config nowhere.yaml", "No such file"]),
        (["--set", "e2e-ft.lr"], ["--set e2e-ft.lr", "METHOD.PARAM=VALUE"]),
        (["--set", "ece_bins=20"], ["--set ece_bins=20", "protocol.ece_bins=20"]),
        (["--set", "protocl.ece_bins=20"], ["did you mean 'protocol'?"]),
        (["--set", "vrf.a_grid=0.5"], ["vrf.a_grid=0.5", "a list, such as [0.1, 0.2]"]),
        (["--set", "e2e-ft.rl=1"], ["unknown hyper-parameter of e2e-ft 'rl'", "'lr'", "epochs"]),
        (["--set", "e2e-ft.lr=fast"], ["e2e-ft.lr=fast", "number"]),
        (["--set", "e2e-ft.lr=-1"], ["e2e-ft.lr=-1", "greater than 0"]),
        (["--set", "e2e-ft.epochs=0"], ["e2e-ft.epochs=0", "greater than or equal to 1"]),
        (["--set", "e2e_ft.lr=1"], ["unknown method 'e2e_ft'", "did you mean 'e2e-ft'?"]),
        (["--methods", "vrf", "--set", "ose.alphas=[2]"], ["ose.alphas=[2]", "less than"]),
        (["--methods", "vrf", "--set", "ose.alpha=1"], ["hyper-parameter of ose", "'alphas'"]),
        (["--cache-dir", "/proc/bench"], ["cache folder /proc/bench is not writable"]),
        (["--no-such-option"], ["No such option"]),
        (["surplus"], ["unexpected extra argument", "surplus"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_names_and_values(arguments: list[str], words: list[str]) -> None:
    refused(*MICRO, *arguments, words=tuple(words))
    assert not Path("cache").exists()


@pytest.mark.parametrize("command", ["plan", "run"])
def test_settings_of_methods_that_are_not_run_are_said(command: str) -> None:
    settings = ("--set", "linear.lr=1", "--set", "zero-shot.x=1"), ("--set", "linear.lr=1")
    refused(command, *MICRO[1:], "--methods", "zero-shot", *settings[0], words=("zero-shot",))
    asked = ("--methods", "zero-shot", "--shifts", "v2", "--limit", "8")
    done = bench(command, *MICRO[1:], *asked, *settings[1], "--cache-dir", "cache")
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("--set")]
    assert "--set linear: changes nothing" in line and "methods of this run are zero-shot" in line
    assert "--set" not in bench(command, *MICRO[1:], *asked, "--cache-dir", "cache").err


@pytest.mark.parametrize(
    "option", ["train-batch-size", "eval-batch-size", "micro-batch", "workers", "limit", "seeds"]
)
@pytest.mark.parametrize("value", ["-1", "x", "1.5", "", "nan", "0"])
def test_wrong_numbers(option: str, value: str) -> None:
    if value == "0" and option in ("workers", "seeds"):
        return
    refused(*MICRO, f"--{option}", value, words=(f"--{option}",))


@pytest.mark.parametrize("option", ["--out", "--cache-dir"])
def test_a_file_in_the_way(option: str) -> None:
    Path("file").write_text("mine")
    for path in ("file", "file/below"):
        assert_refused(bench(*MICRO, option, path), path, "file is a file")
    assert Path("file").read_text() == "mine"
    assert [p.name for p in Path().iterdir()] == ["file"]


def test_unwritable_output() -> None:
    assert_refused(bench(*MICRO, "--out", "/proc/bench"), "output folder /proc/bench")


@pytest.mark.parametrize("arguments", [["list", "method"], ["show", "vfr"], ["report", "no-run"]])
def test_other_commands_refuse_too(arguments: list[str]) -> None:
    assert_refused(bench(*arguments), arguments[1])


def test_reports_of_several_runs_need_a_place() -> None:
    assert_refused(bench("report", "a", "b"), "--out")


def test_damaged_records_are_named() -> None:
    Path("run").mkdir()
    Path("run/records.jsonl").write_text("{}\n")
    assert_refused(bench("report", "run"), "records.jsonl:1")
    Path("run/records.jsonl").write_text("")
    assert_refused(bench("report", "run"), "records.jsonl is empty")
    Path("run/records.jsonl").write_text(records_text([]))
    Path("run/missing.jsonl").write_text("[]\n")
    assert_refused(bench("report", "run"), "missing.jsonl")


def test_a_run_file_is_named() -> None:
    Path("run.yaml").write_text("methods: vrf\nsuit: micro\n")
    refused("run", "--config", "run.yaml", words=("option in run.yaml 'suit'", "'suite'"))


# Suite files


def pets(**sizes: int) -> None:
    """A suite file with class folders of 4 images each (or as told)."""
    Path("pets.yaml").write_text(TINY_SUITE)
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label in ("cat", "dog"):
            folder = Path(split, label)
            folder.mkdir(parents=True)
            for i in range(sizes.get(f"{split}_{label}", 4)):
                pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")


def test_an_own_suite_runs() -> None:
    pets()
    result = bench("run", "--suite", "pets.yaml", "--methods", "zero-shot", "--out", "out")
    assert result.code == 0, result.err
    assert "Zero-shot" in result.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ("cannot read pets.yaml",)),
        ("", ("pets.yaml", "mapping")),
        ("name: [", ("pets.yaml", "YAML")),
        (TINY_SUITE.replace("train:", "trane:"), ("pets.yaml", "'trane'", "'train'")),
        (TINY_SUITE + "defaults: {e2e-ft: {rl: 1}}\n", ("suite pets", "'rl'", "'lr'")),
        (TINY_SUITE + "defaults: {e2eft: {lr: 1}}\n", ("suite pets", "'e2eft'", "'e2e-ft'")),
        (TINY_SUITE.replace("pets", "mini", 1), ("'mini'", "choose another")),
    ],
)
def test_bad_suite_files(text: str | None, words: tuple[str, ...]) -> None:
    pets()
    Path("pets.yaml").unlink()
    if text is not None:
        Path("pets.yaml").write_text(text)
    refused("run", "--suite", "pets.yaml", words=words)


def test_bad_class_folders() -> None:
    pets(train_dog=0)
    refused("run", "--suite", "pets.yaml", words=("train/dog has no images",))
    Path("train/dog").rmdir()
    refused("run", "--suite", "pets.yaml", words=("folders and the classes differ", "dog"))
    for folder in ("dog", "emu"):
        Path("train", folder).mkdir()
        Image.new("RGB", (8, 8)).save(Path("train", folder, "0.png"))
    refused("run", "--suite", "pets.yaml", words=("folders and the classes differ", "emu"))


def test_two_suites_of_one_name() -> None:
    pets()
    other = TINY_SUITE.replace("a photo", "a sketch")
    Path("other.yaml").write_text(other)
    refused("run", "--suite", "pets.yaml,other.yaml", words=("two different suites", "'pets'"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image(workers: int) -> None:
    pets()
    Path("test/dog/2.png").write_bytes(b"no image")
    command = ("run", "--suite", "pets.yaml", "--methods", "zero-shot", "--workers", workers)
    words = ("cannot read image", "test/dog/2.png", "replace or remove")
    refused(*command, words=words, code=4)


# Models


def test_a_wrong_tag() -> None:
    command = (*MICRO, "--model", "ViT-B-32", "--pretrained", "openia")
    refused(*command, words=("pretrained tag of ViT-B-32 'openia'", "did you mean 'openai'?"))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_checkpoint_of_another_shape(suffix: str) -> None:
    import torch
    from safetensors.torch import save_file

    path, weights = Path(f"weights{suffix}"), {"visual.proj": torch.zeros(3, 3)}
    torch.save(weights, path) if suffix == ".pt" else save_file(weights, path)
    command = (*MICRO, "--limit", "4", "--model", "ViT-S-32-alt", "--pretrained", path)
    refused(*command, words=(str(path), "does not fit model ViT-S-32-alt"))


def test_a_checkpoint_that_is_none() -> None:
    Path("weights.pt").write_bytes(b"no checkpoint")
    command = (*MICRO, "--limit", "4", "--model", "ViT-S-32-alt", "--pretrained", "weights.pt")
    refused(*command, words=("weights.pt",))


def test_a_device_that_is_not_here() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("CUDA is here")
    refused(*MICRO, "--device", "cuda:7", words=("--device cuda:7", "not available"))


@pytest.mark.slow
def test_no_network() -> None:
    """One line, and not after minutes of retries. Names that do not resolve stand for none."""
    environment = os.environ | {"HF_ENDPOINT": "https://none.invalid", "HF_HOME": "none"}
    environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "")
    command = (*MICRO, "--model", "ViT-B-32", "--pretrained", "openai", "--out", "out")
    started = time.monotonic()
    result = python("-m", "bench", *command, env=environment)
    assert_refused(result, "ViT-B-32/openai could not be downloaded", "--pretrained")
    assert not Path("out").exists()
    assert time.monotonic() - started < 120


# What scripts and people rely on


def python(*arguments: object, env: dict[str, str] | None = None) -> Result:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    return Result(done.returncode, done.stdout, done.stderr)


def test_help_is_fast() -> None:
    started = time.monotonic()
    assert python("-m", "bench", "--help").code == 0
    assert time.monotonic() - started < 2  # 0.1 s on an idle machine
    code = (
        "import sys; from bench.cli.main import exit_code; exit_code(['run', '--help']); "
        "unwanted = ('torch', 'numpy', 'pydantic', 'rich', 'yaml', 'altair'); "
        "print([m for m in unwanted if m in sys.modules])"
    )
    assert python("-c", code).out.endswith("[]\n")


@pytest.mark.parametrize("command", ["plan", "list", "show", "report", "check", "compare"])
def test_help_of_commands(command: str) -> None:
    result = bench(command, "--help")
    assert result.code == 0
    assert "Usage:" in result.out


def test_no_arguments_show_help() -> None:
    assert "Examples:" in bench().out


def test_plan_needs_no_torch_and_writes_nothing() -> None:
    code = (
        "import sys; from bench.cli.main import exit_code; "
        "code = exit_code(['plan', '--suite', 'micro', '--json']); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    result = python("-c", code)
    assert result.code == 0, result.err
    assert not list(Path().iterdir())
    planned = json.loads(result.out)
    (study,) = planned["studies"]
    assert study["suite"] == "micro"
    assert study["trainings"] == 1
    assert study["undecided"] == ["ose:e2e-ft", "vrf:e2e-ft", "wise-ft:e2e-ft"]
    assert study["forwards"] == sum(s["forwards"] for s in study["splits"])
    estimate = planned["estimate"]
    assert estimate["basis"] == "another machine"
    assert 0 < estimate["low"] < estimate["seconds"] < estimate["high"]


def test_dry_run_is_plan() -> None:
    plan, dry = bench("plan", "--suite", "micro"), bench(*MICRO, "--dry-run")
    assert plan == dry
    assert plan.code == 0
    assert "training runs: 1" in plan.out
    assert "by rates of another machine" in plan.out
    assert not list(Path().iterdir())


def test_the_time_of_another_model_is_a_guess() -> None:
    Path("weights.pt").write_bytes(b"never opened")
    result = bench("plan", "--suite", "micro", "--model", "ViT-B-32", "--pretrained", "weights.pt")
    assert result.code == 0, result.err
    assert "a guess: this model was not timed here yet" in result.out


def test_the_card_of_a_suite_file() -> None:
    pets()
    assert json.loads(bench("show", "pets.yaml", "--json").out)["title"] == "pets"
    card = json.loads(bench("show", "e2e-ft", "--suite", "pets.yaml", "--json").out)
    assert card["defaults of pets.yaml"] == {}
    assert_refused(bench("show", "none.yaml"), "none.yaml")


def test_all_means_all_own_suites() -> None:
    planned = json.loads(bench("plan", "--suite", "available,micro,mini", "--json").out)
    assert [s["suite"] for s in planned["studies"]] == ["mini", "micro"]


def test_debug_shows_the_traceback() -> None:
    result = bench(*MICRO, "--methods", "none", "--debug")
    assert result.code == 2
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("bench: unknown method 'none'")


def test_internal_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("bench.runs.study.config.load_config", broken)
    result = bench(*MICRO)
    assert result.code == 1
    assert result.err == (
        "bench: internal error (--debug shows the traceback): RuntimeError: first second\n"
    )


def test_nobody_reads_on() -> None:
    """``bench list | head -1``."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "list"], stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_other_packages_warn_in_debug_only() -> None:
    """No warning of torch, PIL or numpy comes before an error, and ours write no escapes."""
    code = (
        "import logging, sys, warnings; from bench.cli import main; "
        "main._set_up_logging(debug=sys.argv[1:] == ['debug']); "
        "warnings.warn('Palette images', UserWarning); "
        "logging.getLogger('bench').warning('a%s.png', chr(27) + '[31m')"
    )
    assert python("-c", code).err == "bench: a\\x1b[31m.png\n"
    assert "Palette images" in python("-c", code, "debug").err
