"""Measure the post-hoc part of a run of ImageNet's size, on synthetic outputs, with `bench score`.

    python benchmarks/full_size.py FOLDER [--scale 1.0] [--methods ose,vrf]

FOLDER takes about 8 GB at scale 1: features and logits of two models on 1,281,167 training images,
a selection split of 10,000 and six test sets of ImageNet's sizes. They are written once and used
again. Printed are the CPU seconds and the peak memory of the command, and for comparison those of
reading the same files once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES, WIDTH, ROWS = 1000, 512, 4096
TRAIN, SELECTION = 1_281_167, 10_000
TESTS = {
    "test": 50_000,
    "v2": 10_000,
    "sketch": 50_889,
    "a": 7_500,
    "r": 30_000,
    "objectnet": 18_574,
}
Blocks = Callable[[int, int], NDArray[np.float16]]


def blocks_of(size: int, seed: int, gain: float) -> dict[str, tuple[tuple[int, ...], Blocks]]:
    """Return {array name: (shape, function of a block's rows)} of one split.

    Features are noise around the direction of their class, logits those of two noisy heads, which
    are right for 65% and 80% of the training set. So V has about 360,000 samples.
    """
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, WIDTH), dtype=np.float32)

    def features(start: int, stop: int) -> NDArray[np.float16]:
        own = np.random.default_rng((seed, start))
        labels = np.arange(start, stop) % CLASSES
        noise = own.standard_normal((stop - start, WIDTH), dtype=np.float32)
        return (gain * centres[labels] + 3 * noise).astype(np.float16)

    def logits(strength: float, key: int) -> Blocks:
        def of(start: int, stop: int) -> NDArray[np.float16]:
            own = np.random.default_rng((seed, start, key))
            noise = own.standard_normal((stop - start, CLASSES), dtype=np.float32)
            noise[np.arange(stop - start), np.arange(start, stop) % CLASSES] += strength
            return (2 * noise).astype(np.float16)

        return of

    wide, narrow = (size, CLASSES), (size, WIDTH)
    return {
        "tuned.features": (narrow, features),
        "clip.logits": (wide, logits(3.65, 1)),
        "tuned.logits": (wide, logits(3.18 * gain, 2)),
    }


def write(path: Path, size: int, seed: int, gain: float) -> None:
    """Write one split as a safetensors file, block by block."""
    arrays = blocks_of(size, seed, gain)
    labels = np.arange(size, dtype=np.int64) % CLASSES
    header: dict[str, object] = {
        "labels": {"dtype": "I64", "shape": [size], "data_offsets": [0, labels.nbytes]}
    }
    end = labels.nbytes
    for name, (shape, _) in arrays.items():
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(labels.tobytes())
        for _, block in arrays.values():
            for start in range(0, size, ROWS):
                file.write(block(start, min(size, start + ROWS)).tobytes())
    unfinished.replace(path)


def prepare(folder: Path, scale: float) -> None:
    """Write what is missing of the outputs folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": TRAIN, "selection": SELECTION} | TESTS
    for seed, (name, size) in enumerate(sizes.items()):
        path = folder / f"{name}.safetensors"
        if not path.exists():
            gain = 1.3 if name in ("train", "selection", "test") else 0.8
            write(path, max(2 * CLASSES, round(scale * size)), seed, gain)
    named = {name: {"file": f"{name}.safetensors"} for name in sizes}
    shifts = {name: named[name] for name in TESTS if name != "test"}
    (folder / "outputs.yaml").write_text(
        json.dumps(
            {"name": "full-size", "classes": CLASSES}
            | {"models": {"zero-shot": "clip", "e2e-ft": "tuned"}}
            | {name: named[name] for name in ("train", "selection", "test")}
            | {"shifts": shifts}
        )
    )


def measured(command: list[str], log: Path) -> Iterator[float]:
    """Run a command and yield its seconds, CPU seconds and largest memory in GB.

    Pages of files, which the system can drop at any time, are not counted as memory.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    largest = 0
    with log.open("w") as said:
        running = subprocess.Popen(command, stdout=said, stderr=said)
        while running.poll() is None:
            with suppress(OSError):
                largest = max(largest, anonymous(running.pid))
            time.sleep(0.02)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if running.returncode:
        raise SystemExit(log.read_text()[-2000:])
    yield seconds
    yield after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    yield largest / 1e9


def anonymous(process: int) -> int:
    """Return the bytes of a process's memory that are no file's, as Linux counts them."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


READ = """
import sys
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        while file.read(2**24):
            pass
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--methods", default="ose,vrf")
    options = parser.parse_args()
    prepare(options.folder, options.scale)
    files = sorted(options.folder.glob("*.safetensors"))
    out, cache = options.folder / "run", options.folder / "cache"
    for earlier in (out, cache):
        shutil.rmtree(earlier, ignore_errors=True)
    score = [sys.executable, "-m", "bench", "score", "--outputs", str(options.folder)]
    score += ["--methods", options.methods, "--out", str(out), "--cache-dir", str(cache)]
    commands = {
        "read the files": [sys.executable, "-c", READ, *map(str, files)],
        "bench score": score,
    }
    size = sum(file.stat().st_size for file in files) / 1e9
    print(f"{os.cpu_count()} cores; {size:.1f} GB of outputs")
    print("| command | seconds | CPU seconds | peak memory, GB |\n|---|--:|--:|--:|", flush=True)
    for name, command in commands.items():
        seconds, cpu, memory = measured(command, options.folder / "log")
        print(f"| {name} | {seconds:.0f} | {cpu:.0f} | {memory:.2f} |", flush=True)


if __name__ == "__main__":
    main()
