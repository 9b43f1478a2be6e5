"""Simulate the schedule of a large run on many GPUs, with the groups of jobs that bench would send.

    python benchmarks/scaling.py [--gpus 1,8,64] [--per-job 1] [--seeds 3] [--suites imagenet|all]

The run is the plan of all methods of `mini`, its splits taken to be as large as ImageNet's and
those of its shifts, for three backbones: ViT-B/32, B/16 and L/14. With ``--suites all`` the other
suites follow, one after the other, with the sizes of `OTHERS`. What takes long is counted in
forward passes of a ViT-B/32, as `bench plan` counts it (3 for a training step of an image, 5 with
the text tower); a larger model costs as many times more as it has multiplications. Fits and cells
take the seconds of the options, a job a second more. Where several GPUs share a job
(`--executor ...,processes=N`) it is as many times as fast, which is an assumption, and takes
`--start-seconds` more. Nothing is measured here but the schedule.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bench.api.trainer import epochs_needed
from bench.core.store import block_count
from bench.front.options import config_of
from bench.runs.costs.counts import TUNING, TUNING_BOTH
from bench.runs.execution.grouping import groups_of
from bench.runs.items import FeaturesItem, FitItem, ScaleItem, WeightsItem, WorkItem
from bench.runs.plan import Plan, make_plan
from bench.runs.session import prepare_session

SIZES = {"train": 1_281_167, "val": 10_000, "test": 50_000, "v2": 10_000, "sketch": 50_889}
SIZES |= {"adversarial": 7_500, "rendition": 30_000, "objectnet": 18_574}
"""Images of the splits of ImageNet that those of `mini` stand for."""
OTHERS = {
    "cifar10": (1, 50_000, 10_000, 11_200),
    "entity30": (1, 154_000, 6_000, 6_000),
    "iwildcam": (1, 129_809, 8_154, 42_791),
    "fmow": (1, 76_863, 11_327, 22_108),
    "camelyon17": (1, 302_436, 33_560, 85_054),
    "pacs": (4, 5_995, 1_499, 2_498),
    "office-home": (4, 9_353, 2_338, 3_897),
    "vlcs": (4, 6_437, 1_609, 2_682),
    "terra-incognita": (4, 14_598, 3_650, 6_083),
    "domainnet": (6, 391_050, 97_763, 97_763),
    "cifar100": (1, 50_000, 10_000, 0),
    "dtd": (1, 1_880, 1_880, 0),
    "food101": (1, 75_750, 25_250, 0),
    "sun397": (1, 19_850, 19_850, 0),
    "cars": (1, 8_144, 8_041, 0),
}
"""Partitions; images to train and test on, and of all shifts, of each of them (means).

Counts are those of docs/datasets.md, for Entity-30 120 of ImageNet's classes.
"""
BESIDE = 60_980
"""Images of ImageNet-Hard and -W, whose suites train nothing again: more of the shift `sketch`."""
Fitted = FitItem | ScaleItem
BACKBONES = {"ViT-B/32": 4.4, "ViT-B/16": 17.6, "ViT-L/14": 81.1}
"""Billions of multiplications of a forward pass of the image tower."""


@dataclass(eq=False)
class Simulated:
    """A plan for one backbone, what of it is done, and the blocks that are left of its features.

    `sizes` are the images of the splits that those of the plan stand for.
    """

    plan: Plan
    sizes: Mapping[str, int]
    cost: float
    epochs: int
    waits: dict[str, int] = field(default_factory=dict)
    needed_by: dict[str, list[str]] = field(default_factory=dict)
    ready: dict[str, WorkItem] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left = {i.key: block_count(self.size(i)) for i in self.plan.of(FeaturesItem)}
        for key, item in self.plan.items.items():
            inputs = set(item.inputs)
            self.waits[key] = len(inputs)
            for other in inputs:
                self.needed_by.setdefault(other, []).append(key)
            if not inputs:
                self.ready[key] = item

    def size(self, item: FeaturesItem) -> int:
        """Return the images of the split that the item's stands for."""
        return self.sizes[item.split.name.rpartition("/")[2]]

    def end(self, keys: Iterable[str]) -> None:
        """Take note that items are done."""
        for key in keys:
            for other in self.needed_by.get(key, ()):
                self.waits[other] -= 1
                if not self.waits[other]:
                    self.ready[other] = self.plan.items[other]

    def work(self, key: str) -> float:
        """Return an item's forward passes of a ViT-B/32."""
        item = self.plan.items[key]
        if isinstance(item, FeaturesItem):
            return self.size(item) * self.cost
        trainer = getattr(getattr(item, "recipe", None), "trainer", None)
        if not isinstance(item, WeightsItem) or trainer is None or not trainer.tunes_encoder:
            return 0.0
        epochs = epochs_needed(trainer, [None]) and self.epochs
        steps = TUNING_BOTH if trainer.tunes_text else TUNING
        return self.sizes["train"] * epochs * steps * self.cost


def suites_of(names: str) -> list[tuple[int, dict[str, int]]]:
    """Return (partitions, images of each split) of ImageNet, or of all suites."""
    if names == "imagenet":
        return [(1, SIZES)]
    found = [(1, SIZES | {"sketch": SIZES["sketch"] + BESIDE})]
    for partitions, train, test, shifts in OTHERS.values():
        own = {"train": train, "val": min(10_000, train // 10), "test": test}
        each = dict.fromkeys(SIZES.keys() - own.keys(), shifts // (len(SIZES) - len(own)))
        found.append((partitions, own | each))
    return found


def simulate(
    runs: list[Simulated], gpus: int, rate: float, seconds: Mapping[str, float]
) -> tuple[float, float]:
    """Return the seconds until all is done, and the share of them that the GPUs were busy."""
    now, busy, number = 0.0, 0.0, 0
    flying: list[tuple[float, int, Simulated, tuple[str, ...]]] = []
    while True:
        free = gpus - len(flying)
        jobs = [
            (run, tuple(item.key for item in group))
            for run in runs
            if free and run.ready
            for group in groups_of(list(run.ready.values()), run.left, free, 4)
        ]
        work = {job: max(job[0].work(key) for key in job[1]) for job in set(jobs)}
        jobs = sorted(jobs, key=lambda job: -work[job])[:free]
        for run, keys in jobs:
            item, shares = run.plan.items[keys[0]], jobs.count((run, keys))
            if isinstance(item, FeaturesItem):
                takes = sum(map(run.work, keys)) / rate / shares
            elif isinstance(item, WeightsItem):
                takes = work[run, keys] / rate
            else:
                takes = len(keys) * seconds["fit" if isinstance(item, Fitted) else "cell"]
            takes += seconds["job"]
            busy += takes
            number += 1
            heapq.heappush(flying, (now + takes, number, run, keys))
        for run, keys in jobs:
            for key in keys:
                run.ready.pop(key, None)
        if not flying:
            return now, busy / max(now, 1e-9) / gpus
        now, _, run, keys = heapq.heappop(flying)
        if not any(other is run and same == keys for _, _, other, same in flying):
            run.end(keys)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", default="1,8,64")
    parser.add_argument("--per-job", type=int, default=1, help="GPUs that share a job")
    parser.add_argument("--start-seconds", type=float, default=30.0)
    parser.add_argument("--suites", choices=["imagenet", "all"], default="imagenet")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images-per-second", type=float, default=1000.0)
    parser.add_argument("--fit-seconds", type=float, default=20.0)
    parser.add_argument("--cell-seconds", type=float, default=0.2)
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    of = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        options = {"methods": "all", "seeds": list(range(of.seeds)), "cache_dir": cache}
        session = prepare_session(config_of({**options, "out": f"{cache}/out"}))
        plan = make_plan(session.studies[0], lambda key: None)
    names, suites = of.backbones.split(","), suites_of(of.suites)
    costs = [BACKBONES[name] / BACKBONES["ViT-B/32"] for name in names]
    start = of.start_seconds if of.per_job > 1 else 0.0
    seconds = {"fit": of.fit_seconds, "cell": of.cell_seconds, "job": 1.0 + start}

    def runs_of(sizes: Mapping[str, int]) -> list[Simulated]:
        return [Simulated(plan, sizes, cost, of.epochs) for cost in costs]

    made = {getattr(item, "made_by", key): key for key, item in plan.items.items()}
    work = [
        (count, run.work(key))
        for count, sizes in suites
        for run in runs_of(sizes)
        for key in made.values()
    ]
    count = sum(count for count, _ in suites)
    items = count * len(names) * len(plan.items)
    print(f"{', '.join(names)}, {of.seeds} seeds, suites and partitions: {count}; {items:,} items")
    print(
        f"{sum(n * one for n, one in work) / 1e9:.1f} billion forward passes of a ViT-B/32, "
        f"{max(one for _, one in work) / 1e9:.2f} in the longest training; "
        f"{of.images_per_second:.0f} a second and GPU"
    )
    print("| GPUs | hours | GPU hours | busy |\n|--:|--:|--:|--:|")
    for gpus in map(int, of.gpus.split(",")):
        rate, took, used = of.images_per_second * of.per_job, 0.0, 0.0
        for partitions, sizes in suites:
            each, busy = simulate(runs_of(sizes), gpus // of.per_job, rate, seconds)
            took += partitions * each
            used += partitions * each * busy
        hours, share = took / 3600, 100 * used / took
        print(f"| {gpus} | {hours:.1f} | {hours * gpus:.0f} | {share:.0f}% |", flush=True)


if __name__ == "__main__":
    main()
