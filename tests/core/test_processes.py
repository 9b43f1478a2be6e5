"""Two processes under torchrun on the CPU, in place of two GPUs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import SAME_BENCH, SMALL, Finished, bench
from PIL import Image

from bench.core.records import Record, read_records

# On the CPU, `accelerate launch --num_processes 2` starts one process, without a word.
ON_THE_CPU = SAME_BENCH | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def launch(*command: object) -> tuple[int, str, str]:
    """Return exit code, output and errors of a command that runs in two processes."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    start += ["--standalone", *map(str, command)]
    done = subprocess.run(
        start, capture_output=True, text=True, check=False, timeout=300, env=ON_THE_CPU
    )
    return done.returncode, done.stdout, done.stderr


def cells(path: Path) -> dict[tuple[str, str], Record]:
    return {
        (r.method, r.shift): r
        for r in read_records(path / "records.jsonl")
        if r.kind == "cell" and r.metric == "top1"
    }


@pytest.mark.slow
def test_two_processes_fill_one_leaderboard(small: Finished, tmp_path: Path) -> None:
    """Zero-shot equals one process bit for bit; training runs differ only by the order of sums."""
    arguments = [*SMALL, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "run"]
    code, _, errors = launch("-m", "bench", *arguments)
    assert code == 0, errors
    alone, together = cells(small.out), cells(tmp_path / "run")
    assert alone.keys() == together.keys()
    for place, record in alone.items():
        if place[0] == "zero-shot":
            assert together[place].value == record.value
        else:
            assert together[place].value == pytest.approx(record.value, abs=0.1)
    made = {p.name for p in (tmp_path / "cache").glob("features/*/*")}
    assert made and made <= {p.name for p in small.cache.glob("features/*/*")}
    code, _, errors = launch("-m", "bench", *arguments)
    assert code == 0 and "nothing" in errors


GATHER = """
import sys
import torch
from accelerate import Accelerator
from bench.models.training.losses import contrastive_loss
from bench.models.training.gradients import _gathered

accelerator = Accelerator(cpu=True)
rank, ranks = accelerator.process_index, accelerator.num_processes
torch.manual_seed(0)
x, y = torch.randn(8, 5, dtype=torch.float64), torch.randn(8, 4, dtype=torch.float64)
towers = torch.nn.ModuleList([torch.nn.Linear(5, 3), torch.nn.Linear(4, 3)]).double()
scale = torch.tensor(2.0, dtype=torch.float64)
whole = contrastive_loss(towers[0](x), towers[1](y), scale)
expected = torch.autograd.grad(whole, list(towers.parameters()))

class Both(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.towers = towers
    def forward(self, a, b):
        return self.towers[0](a), self.towers[1](b)

both = accelerator.prepare_model(Both(), device_placement=False)
parts = both(x[rank::ranks], y[rank::ranks])
loss = contrastive_loss(*map(_gathered, parts), _gathered(scale))
accelerator.backward(loss)
torch.testing.assert_close(loss, whole)
for parameter, gradient in zip(towers.parameters(), expected):
    torch.testing.assert_close(parameter.grad, gradient)
assert ranks == 2
print(f"equal on rank {rank}\\n", end="")
"""


@pytest.mark.slow
def test_negatives_of_all_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    """The contrastive loss over gathered embeddings equals that of the whole batch."""
    script = tmp_path / "gather.py"
    script.write_text(GATHER)
    code, said, errors = launch(script)
    assert code == 0, errors
    assert "equal on rank 0" in said and "equal on rank 1" in said


PARTS = """
import copy, sys
from dataclasses import dataclass, replace
from pathlib import Path
import torch
from accelerate import Accelerator
from bench.api.registry import methods
from bench.core.store import Store
from bench.models.clip import identify_backbone, load_clip
from bench.models.training.loop import Training
from bench.models.training.networks import DualEncoder

ranks, folder = Accelerator(cpu=True).num_processes, Path(sys.argv[1])
clip = load_clip(identify_backbone("tiny", "embedded", folder)).model
pixels = torch.randn((16, 3, 32, 32), generator=torch.Generator().manual_seed(0))
prompts = torch.zeros((3, 1, 16), dtype=torch.long)
prompts[:, 0, :3] = torch.tensor([[1, 2, 40], [3, 4, 40], [5, 6, 40]])

@dataclass(frozen=True)
class Images:
    min_area: float = 0.9
    flip: bool = False
    def __getitem__(self, item):
        return pixels[item[1]], item[1] % 3, 0

trainer = replace(methods()["carot"]().trainer, optimizer="sgd", lr=0.01, batch_size=8, epochs=2)
trainer = replace(trainer, weight_decay=0.0, warmup=0, period=2)
training = Training(
    build=lambda _: DualEncoder(copy.deepcopy(clip), prompts), images=Images(),
    stored=lambda split: None, size=16, classes=3, seed=0, key="key",
    store=Store(folder / f"store-{ranks}"), device=torch.device("cpu"), workers=0,
    progress=lambda done, total: None, micro_batch=1 if ranks == 2 else None,
)
found = trainer.train(training)
if ranks == 1:
    torch.save(found, folder / "whole.pt")
else:
    for name, tensor in torch.load(folder / "whole.pt").items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
    print("equal\\n", end="")
"""


@pytest.mark.slow
def test_parts_of_batches_in_two_processes_have_the_negatives_and_penalties_of_one(
    tmp_path: Path,
) -> None:
    script = tmp_path / "parts.py"
    script.write_text(PARTS)
    alone = [sys.executable, str(script), str(tmp_path)]
    subprocess.run(alone, check=True, env=ON_THE_CPU, timeout=300)
    code, said, errors = launch(script, tmp_path)
    assert code == 0, errors
    assert said.count("equal") == 2


@pytest.mark.slow
def test_two_processes_train_towers_heads_and_fishers(small: Finished, tmp_path: Path) -> None:
    arguments = [
        *("run", "--suite", "micro", "--limit", "40", "--shifts", "v2", "--no-curves"),
        *("--methods", "linear,linear-lbfgs,lp-ft,flyp,carot,fisher"),
        *("--set", "fisher.samples=10"),
        *(f"--set={m}.epochs=1" for m in ("e2e-ft", "lp-ft", "flyp", "carot")),
    ]
    paths = ["--cache-dir", tmp_path / "two", "--out", tmp_path / "run"]
    code, _, errors = launch("-m", "bench", *arguments, *paths)
    assert code == 0, errors
    result = bench(*arguments, "--cache-dir", tmp_path / "one", "--out", tmp_path / "alone")
    assert result.code == 0, result.err
    alone, together = cells(tmp_path / "alone"), cells(tmp_path / "run")
    assert alone.keys() == together.keys()
    for place, record in alone.items():
        assert together[place].value == pytest.approx(record.value, abs=0.15), place


@pytest.mark.slow
@pytest.mark.parametrize("method", ["e2e-ft", "fisher", "linear"])
def test_what_one_process_cannot_read_ends_both(method: str, tmp_path: Path) -> None:
    """A damaged image in one process's part ends the run; neither process waits for ever."""
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
    options = ["--methods", method, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "out"]
    code, _, errors = launch("-m", "bench", "run", "--suite", suite, *options)
    assert code != 0
    assert "train3.png" in errors
