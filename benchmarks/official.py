"""Run the same job by the scripts of wise-ft and VRF and by bench; compare cost and answers.

    python benchmarks/official.py --official DIR [--images 1000] [--model ViT-B-32-quickgelu]

DIR has the user's checkouts of mlfoundations/wise-ft (58b7a4b) and BeierZhu/VRF (de9647d);
docs/parity.md has the commands. The job: zero-shot, the fine-tuned end and WiSE-FT at 11 alphas on
ImageNet and its five shifts, OSE, and VRF, from a pair of classifiers in wise-ft's format. By the
official codes these are four commands, those of their READMEs: `wise_ft.py`, `baselines.py` (OSE),
`knn_distance.py` and `main.py` (VRF). By bench they are two, `bench import` and `bench run`, under
the official protocol, so that all choices are the same.

--images is the number of training images; the six test sets are in proportion to their true sizes.
VRF's script takes the k-th neighbour with k = 1000 |V| / N, so fewer than 1,000 have no k-th. See
`official_job/data.py` for what data and classifiers are made of, and `official_job/script.py` for
what is stood in for on the official side, none of which costs it time.

Every command is a process of its own with one thread. Printed are its user and system CPU seconds,
with imports and worker processes, and its wall seconds. bench runs twice in each precision: by
default alpha is chosen on ImageNet, and only that one is evaluated on the shifts; with --curves all
11 are evaluated everywhere, as by `wise_ft.py`. The answers are compared with those of the scripts.
In fp32 they must be the same, else the exit code is 1. The official codes have no bf16; there at
most 2% of the images may be classified otherwise.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT), str(ROOT / "scripts")]

from official_job import answers
from official_job.sizes import OWN, SIZES, sizes
from parity_cases.official import Checkout, checkouts

from bench.core.errors import BenchError, InputError

COMMITS = {"wise-ft": "58b7a4b", "VRF": "de9647d"}
JOB = Path(__file__).parent / "official_job"
ALPHAS = tuple(i / 10 for i in range(11))
BOTH = ("fp32", "bf16")
SHIFTS = ("v2", "sketch", "a", "r", "objectnet")
KINDS = {"official": (), "bench": ("--no-curves",), "bench with curves": ("--curves",)}
"""The sides, and the options of bench's."""
DISTANT = 1e-4
"""The most that squared distances may differ by in fp32."""
OTHERWISE = 0.02
"""The share of images that bf16 may classify otherwise."""


@dataclass
class Side:
    """What one side's commands cost, {command: (CPU seconds, wall seconds)}, and its answers."""

    costs: dict[str, tuple[float, float]] = field(default_factory=dict)
    found: answers.Answers = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        """CPU seconds of all commands."""
        return sum(cpu for cpu, _ in self.costs.values())

    @property
    def wall(self) -> float:
        """Wall seconds of all commands."""
        return sum(wall for _, wall in self.costs.values())

    def run(self, name: str, command: Sequence[object], folder: Path) -> str:
        """Run a command in `folder`, print and keep its cost, and return what it printed.

        Raises InputError with the end of what it printed if it fails.
        """
        log = folder / "log.txt"
        path = os.pathsep.join([str(ROOT), str(JOB.parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        started = time.perf_counter()
        with log.open("w") as file:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall, printed = time.perf_counter() - started, log.read_text(errors="replace")
        if process.returncode:
            raise InputError(f"{name} failed: {' '.join(printed[-300:].split())}")
        self.costs[name] = cpu, _ = used.ru_utime + used.ru_stime, wall
        print(f"  {name}: {cpu:.1f} CPU s, {wall:.1f} s", flush=True)
        return printed


def official(
    found: dict[str, Checkout], made: Path, folder: Path, precision: str, workers: str
) -> Side:
    """Run the four scripts."""
    side = Side()
    common = (f"--load={made}/zeroshot.pt,{made}/finetuned.pt", f"--data-location={made}/data")

    def script(repository: str, name: str, *options: object) -> str:
        how = (found[repository].path, name, precision, workers)
        start = (sys.executable, JOB / "script.py", *how)
        return side.run(f"{repository} {name}", (*start, *common, *options), folder)

    sets = ",".join(answers.NAMES)
    script(
        *("wise-ft", "wise_ft.py", f"--eval-datasets={sets}", "--results-db=results.jsonl"),
        *("--save=merged", "--alpha", *ALPHAS),
    )
    printed = script("VRF", "baselines.py")
    script("VRF", "knn_distance.py")
    side.found = answers.of_wise_ft(folder / "results.jsonl") | answers.of_baselines(printed)
    side.found |= answers.of_vrf(script("VRF", "main.py"))
    return side


def bench(made: Path, folder: Path, model: str, precision: str, *options: str) -> Side:
    """Import the pair and run the job."""
    side, data = Side(), ("--data", made / "data", "--suite", "imagenet", "--cache-dir", "cache")
    shutil.copytree(made / "seed", folder / "cache")
    start = (JOB / "own_models.py",) if model in OWN else ("-m", "bench")
    pair = (made / "zeroshot.pt", made / "finetuned.pt")
    backbone = ("--model", model, "--pretrained", made / "clip.safetensors")
    side.run(
        "bench import",
        (sys.executable, *start, "import", "wise-ft", *pair, "--name", "pair", *backbone, *data),
        folder,
    )
    alphas = ",".join(f"{alpha:g}" for alpha in ALPHAS)
    methods = ("--methods", "wise-ft,ose,vrf", "--set", f"wise-ft.alphas=[{alphas}]")
    rules = ("--protocol", "official", "--allow-incomplete", "--shifts", ",".join(SHIFTS))
    run = ("run", "--imported", "pair", *methods, *rules, "--precision", precision, "--out", "run")
    side.run("bench run", (sys.executable, *start, *run, *data, *options), folder)
    side.found = answers.of_bench(folder / "run")
    return side


def passes(counts: dict[str, int]) -> tuple[int, int, int]:
    """Return the numbers of images that models forward: officially, by default, with curves."""
    train, test = counts["train"], sum(counts.values()) - counts["train"]
    others, alphas = test - counts["val"], len(ALPHAS)
    theirs = alphas * test + 2 * (test + train) + 9 * counts["val"] + others
    return theirs, alphas * counts["val"] + 3 * others + 2 * train, alphas * test + 2 * train


def differences(
    theirs: Side, ours: Side, counts: dict[str, int], precision: str, everywhere: bool
) -> bool:
    """Print how the answers differ; return whether they are as equal as they must be.

    `everywhere` says whether ours have all alphas on all sets; else only the chosen one is there.
    """
    sizes = {shift: counts[shift] for shift in SHIFTS} | {"id": counts["val"]}
    compared = dict(answers.other_images(theirs.found, ours.found, sizes))
    needed = {c for c in theirs.found if everywhere or " " not in c.method}
    missing = sorted(needed - compared.keys())
    images, other = sum(sizes[cell.shift] for cell in compared), sum(compared.values())
    print(f"  {len(compared)} accuracies of {len(theirs.found)} compared; {other} of {images} "
          "images count otherwise", flush=True)  # fmt: skip
    for cell, count in compared.items():
        if count:
            print(f"    {cell.method} on {cell.shift}: {count}")
    for cell in missing:
        print(f"    {cell.method} on {cell.shift}: bench has none")
    return not missing and other <= (OTHERWISE * images if precision == "bf16" else 0)


def checked(folder: Path) -> dict[str, Checkout]:
    """Return the two checkouts. Raises InputError if one is missing or of another commit."""
    found = checkouts(folder)
    for name, commit in COMMITS.items():
        if name not in found:
            raise InputError(f"--official {folder}: no checkout of {name}; see docs/parity.md")
        if not found[name].commit.startswith(commit):
            raise InputError(
                f"{found[name].path} is at {found[name].commit[:7]}, expected {commit}"
            )
    return found


def compare(options: argparse.Namespace, work: Path) -> int:
    """Make the data, run both sides in both precisions, print the table; return the exit code."""
    found = checked(options.official)
    made = work / "made"
    made.mkdir()
    places = (found["wise-ft"].path, found["VRF"].path, made, options.images, options.model)
    print(
        Side().run("preparation", (sys.executable, JOB / "data.py", *places), made).splitlines()[-1]
    )
    counts = sizes(options.images)
    print(f"{platform.machine()}, {os.cpu_count()} cores; {options.model}; images: {counts}")
    sides: dict[tuple[str, str], Side] = {}
    fine = True
    for precision in options.precision:
        print(f"{precision}:", flush=True)
        for who in KINDS:
            folder = work / f"{precision}-{who.replace(' ', '-')}"
            folder.mkdir()
            if who == "official":
                side = official(found, made, folder, precision, options.workers)
                reference, (distances,) = side, (folder / "cache").glob("*_knn.npz")
                shutil.rmtree(folder / "merged")  # 11 checkpoints
            else:
                side = bench(made, folder, options.model, precision, *KINDS[who])
                fine &= differences(reference, side, counts, precision, "--curves" in KINDS[who])
                error = answers.distance_error(distances, folder / "cache")
                print(f"  squared distances differ by at most {error:.1e}")
                fine &= precision == "bf16" or error < DISTANT  # V differs with few answers
                shutil.rmtree(folder)
            sides[precision, who] = side
    table(sides)
    for name, those in (("here", counts), ("at the true sizes", SIZES)):
        theirs, default, curves = passes(those)
        fewer = f"{default:,} (1/{theirs / default:.2f}), with curves {curves:,}"
        print(
            f"images forwarded {name}: official {theirs:,}; bench {fewer} (1/{theirs / curves:.2f})"
        )
    if not fine:
        print("the answers differ: what they cost says nothing")
    return 0 if fine else 1


def table(sides: dict[tuple[str, str], Side]) -> None:
    """Print the cost of all sides, and ratios to the official ones."""
    first, _ = next(iter(sides))
    last = f"official in {first} / this"
    print(f"\n| precision | side | CPU s | wall s | official / this | {last} |")
    print("|---|---|--:|--:|--:|--:|")
    for (precision, who), side in sides.items():
        ratios = (sides[of, "official"].cpu / side.cpu for of in (precision, first))
        numbers = (f"{side.cpu:.1f}", f"{side.wall:.1f}", *(f"{ratio:.2f}" for ratio in ratios))
        print(f"| {' | '.join((precision, who, *numbers))} |")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--official", type=Path, required=True, help="folder of the checkouts")
    parser.add_argument("--images", type=int, default=1000, help="training images, at least 1000")
    parser.add_argument("--model", default="ViT-B-32-quickgelu", help="a ViT with QuickGELU")
    parser.add_argument("--precision", nargs="+", choices=BOTH, default=BOTH)
    parser.add_argument("--workers", default="own", help="processes of the official loaders")
    options = parser.parse_args(argv)
    try:
        if options.images < 1000:
            raise InputError(f"--images {options.images}: VRF's script needs at least 1000")
        with tempfile.TemporaryDirectory() as work:
            return compare(options, Path(work))
    except BenchError as error:
        print(f"official: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
