"""The programs that measure on a GPU and in training run on a CPU, in small."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from places import ROOT


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu as module

    return module


CPU = torch.device("cpu")


def test_the_gpu_program_measures_towers_trainings_and_neighbours(
    gpu: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    failures = gpu.Failures()
    gpu.forward("tiny-vit", CPU, gpu.SMALL)
    gpu.training("tiny-vit", CPU, gpu.SMALL, failures)
    gpu.neighbours(CPU, gpu.SMALL)
    lines = capsys.readouterr().out.splitlines()
    begins = ["forward", "forward", "training", "memory", "training", "memory", "neighbour"]
    assert [line.split()[0] for line in lines] == begins
    assert not failures and "repeated bit for bit: yes" in lines[2]


def test_the_gpu_program_notices_other_bits(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, failures, noise = gpu.bench_training, gpu.Failures(), itertools.count()

    def noisy(*given: object, **options: object) -> dict[str, torch.Tensor]:
        return {n: t + next(noise) for n, t in train(*given, **options).items()}

    monkeypatch.setattr(gpu, "bench_training", noisy)
    gpu.training("tiny-vit", CPU, gpu.SMALL, failures)
    assert failures == [
        f"training tiny-vit {precision}: a second one gave other bits"
        for precision in ("fp32", "bf16")
    ]


@pytest.mark.slow
def test_the_gpu_program_runs_a_golden_run(
    gpu: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    failures = gpu.Failures()
    gpu.golden(CPU, gpu.SMALL, failures)
    assert not failures and "golden micro on cpu: reproduced" in capsys.readouterr().out


def test_the_training_program_compares_with_bare_loops(
    gpu: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import training

    monkeypatch.setattr(sys, "argv", ["x", "--batch", "4", "--steps", "2", "--repeats", "1"])
    training.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[3:5]] == ["preloaded", "JPEG"]
    assert lines[-1].startswith("a checkpoint: ")


@pytest.mark.slow
def test_the_page_on_tables_has_the_costs_that_the_program_prints(
    synthetic: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import table_costs

    monkeypatch.setattr(table_costs.common, "smoke_defaults", table_costs.common.smoke_defaults)
    monkeypatch.setattr(sys, "argv", ["x", "--copies", str(synthetic)])
    table_costs.main()
    plans = capsys.readouterr().out.split("\n\n")[:-1]
    page = (ROOT / "docs" / "reproduce.md").read_text()
    rows = re.findall(r"^\| `[\w-]+`, (ViT\S+) \| (.*); (.*) \| (.*); (.*) \|$", page, re.MULTILINE)
    assert len(rows) == len(plans) == 4
    for (model, *cells), plan in zip(rows, plans, strict=True):
        lines = plan.strip().splitlines()
        work, space = lines[2::3][::2], lines[3::3][::2]  # without the clean run between
        assert lines[0].endswith(f"{model}/openai")
        for cell, line in zip(cells, (work[0], space[0], work[1], space[1]), strict=True):
            assert all(part in line for part in cell.split(", "))
