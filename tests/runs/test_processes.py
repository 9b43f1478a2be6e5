"""One run in two processes on the CPU, in place of two GPUs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import SAME_BENCH, Finished, bench, start
from PIL import Image
from same_weights import assert_same_weights

from bench.core.records import Record, read_records

SIZES = [
    f"--set={m}.{s}" for m in ("e2e-ft", "carot", "odd") for s in ("epochs=2", "batch_size=13")
]
"""Of 40 images, the fourth batch has one, of which the second process gets nothing."""

RUN = ("run", "--suite", "micro", "--limit", "40", "--shifts", "v2", "--no-curves", *SIZES)

PLUGIN = '''
"""A method with a contrastive loss; what $ODD says happens to one process at one of its steps."""
import os, signal
from dataclasses import dataclass, field
from typing import ClassVar

from bench.api.registry import method
from bench.core.store import Store
from bench.methods.flyp import FinetuneLikePretrain
from bench.models.devices import group
from bench.models.training import checkpoints
from bench.models.training.trainers import ContrastiveTrainer

what, rank, at = os.environ.get("ODD", "nothing,-1,0").split(",")
group.GRACE, checkpoints.CHECKPOINT_SECONDS, checkpoints.CHECKPOINT_SHARE = 1.0, 0.0, 1e9

def full(self, kind, key, *more):
    raise OSError(28, "No space left on device", f"{kind}/{key}")

@dataclass(frozen=True)
class Odd(ContrastiveTrainer):
    kind: ClassVar[str] = "Odd"

    def loss(self, embeddings, step):
        if os.environ.get("RANK") == rank and step == int(at):
            if what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "raises":
                raise RuntimeError("an odd one")
            if what == "full":
                Store.write = full
        return super().loss(embeddings, step)

@method
@dataclass(frozen=True)
class OddMethod(FinetuneLikePretrain):
    kind: ClassVar[str] = "OddMethod"
    name: ClassVar[str] = "odd"
    trainer: Odd = field(default=Odd(lr=1e-4, warmup=0))
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "odd.py"
    path.write_text(PLUGIN)
    return path


PATIENCE = 300
"""Seconds after which a run hangs; one takes ten, on a machine without other work."""

ENVIRONMENT = SAME_BENCH | {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}
"""What `accelerate config` may have set must not change a number."""


def torchrun(*arguments: object) -> tuple[int, str]:
    """Return the exit code and the errors of a command line in two processes of torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command = [*launcher, "--standalone", "-m", "bench", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=ENVIRONMENT
    )
    return done.returncode, done.stderr


def two(*arguments: object, odd: str = "nothing,-1,0") -> list[tuple[int, str]]:
    """Return exit code and errors of both processes without a launcher, which would end them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    running = []
    for rank in range(2):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        env = ENVIRONMENT | {name: str(value) for name, value in place.items()} | {"ODD": odd}
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        one = subprocess.Popen(command, text=True, env=env | {"OMP_NUM_THREADS": "1"}, **pipes)
        running.append(one)
    try:
        said = [process.communicate(timeout=PATIENCE)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, text) for process, text in zip(running, said, strict=True)]


def cells(path: Path) -> dict[tuple[str, str], Record]:
    return {
        (r.method, r.shift): r
        for r in read_records(path / "records.jsonl")
        if r.kind == "cell" and r.metric == "top1"
    }


@pytest.fixture(scope="module")
def alone(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The run in one process."""
    folder = tmp_path_factory.mktemp("alone")
    command = (*RUN, "--plugin", str(plugin), "--set", "fisher.samples=10")
    command += ("--methods", "zero-shot,linear-lbfgs,carot,odd,fisher")
    cache, out = folder / "cache", folder / "run"
    process = start(*command, "--cache-dir", cache, "--out", out)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return Finished(cache, out, command)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(alone: Finished, tmp_path: Path) -> None:
    """After one was killed, too, and partly in parts of batches."""
    cache, out = tmp_path / "cache", tmp_path / "run"
    arguments = [*alone.command, "--cache-dir", cache, "--out", out]
    (first, said), (second, nothing) = two(*arguments, odd="killed,1,5")
    assert (first, second, nothing) == (1, -9, "")
    assert said.splitlines()[-1].startswith("bench: process 1: gone"), said
    code, errors = torchrun(*arguments, "--micro-batch", "3")
    assert code == 0, errors
    assert errors.count("to do:") == errors.count("training goes on after step") == 1
    expected, found = cells(alone.out), cells(out)
    assert {place: r.value for place, r in found.items()} == {
        place: r.value for place, r in expected.items()
    }
    assert_same_weights(alone.cache, cache, at_least=5)
    features = {p.name for p in cache.glob("features/*/*")}
    assert features == {p.name for p in alone.cache.glob("features/*/*")}


def odd_run(alone: Finished, folder: Path, odd: str) -> list[tuple[int, str]]:
    names = list(alone.command)
    names[names.index("--methods") + 1] = "odd"
    return two(*names, "--cache-dir", folder / "cache", "--out", folder / "run", odd=odd)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("raises,1,2", "bench: process 1: RuntimeError: an odd one"),
        ("full,0,2", "No space left on device"),
    ],
)
def test_a_failure_of_one_process_in_a_step_ends_both(
    odd: str, message: str, alone: Finished, tmp_path: Path
) -> None:
    (first, said), (second, nothing) = odd_run(alone, tmp_path, odd)
    assert (first, second, nothing) == (1, 1, "")
    assert said.splitlines()[-1].startswith("bench: ") and message in said.splitlines()[-1]


@pytest.mark.slow
def test_an_image_that_one_process_cannot_read_ends_both(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for role in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / role / name
            folder.mkdir(parents=True)
            for i in range(8):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{role}{i}.png")
    broken = tmp_path / "train" / "dog" / "train3.png"
    broken.write_bytes(broken.read_bytes()[:200])
    suite = tmp_path / "pets.yaml"
    suite.write_text(
        "name: pets\nclasses: [cat, dog]\ntemplates: ['a photo of a {}.']\nmodel: tiny\n"
        "pretrained: embedded\ntrain: {folder: train}\ntest: {folder: test}\n"
    )
    options = ["--methods", "e2e-ft", "--cache-dir", tmp_path / "cache", "--out", tmp_path / "out"]
    (first, said), (second, nothing) = two("run", "--suite", suite, *options)
    assert (first, second, nothing) == (4, 4, "")
    assert "train3.png" in said.splitlines()[-1]


@pytest.mark.parametrize("device", ["cuda:1"])
def test_processes_do_not_share_a_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    result = bench("run", "--device", device, "--out", os.devnull)
    assert result.code == 2 and "cannot share one device" in result.err
